//! What every test needs: a daemon of its own, clients with deadlines, and a look into `/proc`.

mod client;
mod counters;
mod daemon;
mod launch;
mod manager;
pub(crate) mod netns;
mod patient;
pub(crate) mod plain;
mod port;
pub(crate) mod proc;
mod toml;

use std::{
    collections::BTreeSet,
    fmt::Display,
    io::Write,
    net::{Ipv6Addr, UdpSocket},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

pub(crate) use client::{Client, Endpoint, LONG, LONGEST_RECORD, MIB, pattern};
pub(crate) use daemon::{Echod, events_in};
#[cfg(any(feature = "client", feature = "observe"))]
pub(crate) use launch::BINARY;
pub(crate) use launch::{Finished, Launch, fitted, is_locked_in};
pub(crate) use manager::Manager;
pub(crate) use patient::{Patient, uninterrupted};
pub(crate) use port::port_of_nobody;
pub(crate) use toml::{it, listener};

/// How long anything may take before a test gives up: far more than it ever needs, so that only a hang meets it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `probe` again and again until it has an answer. The one place in the suite that sleeps.
///
/// # Panics
/// Says `what` was awaited when there is no answer within [`PATIENCE`].
pub(crate) fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    poll(probe).unwrap_or_else(|| panic!("waited {PATIENCE:?} in vain for {what}"))
}

/// As [`eventually`], for those who have something to do before they panic.
pub(crate) fn poll<T>(mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    loop {
        let answer = probe();
        if answer.is_some() || Instant::now() > deadline {
            return answer;
        }
        thread::sleep(pause);
        // What takes long is asked for less often, and leaves the processors to the daemons.
        pause = (pause * 2).min(Duration::from_millis(16));
    }
}

/// Says why something is not tested here: once for each reason, and past the test runner, which keeps back what a test prints
/// by macros unless it fails. With `ECHOD_STRICT` in the environment a test that cannot be made has failed.
#[track_caller]
pub(crate) fn skipped(why: impl Display) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let why = why.to_string();
    let thread = thread::current();
    let line = format!("SKIPPED {}: {why}\n", thread.name().unwrap_or("in a namespace"));
    assert!(std::env::var_os("ECHOD_STRICT").is_none(), "{line}");
    if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(why) {
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// Python, which passes descriptors, if it is there: the interpreter itself, because what a user has in its place to choose
/// one of several takes ten times as long to start, some hundred times in a run.
pub(crate) fn python() -> Option<&'static str> {
    static PATH: LazyLock<Option<String>> = LazyLock::new(|| {
        let mut ask = Command::new("python3");
        ask.args(["-c", "import sys; print(sys.executable, end='')"]).stdin(Stdio::null());
        let output = ask.output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok().filter(|path| !path.is_empty())
    });
    PATH.as_deref()
}

/// Whether Python can be run; says what was `not_done` where it cannot.
pub(crate) fn has_python(not_done: &str) -> bool {
    if python().is_none() {
        skipped(format_args!("python3 is not installed, {not_done}"));
    }
    python().is_some()
}

/// A test of each of these functions for each kind of socket, so that they do not wait for each other.
macro_rules! for_each_protocol {
    ($($name:ident)*) => {$(
        mod $name {
            #[test] fn tcp() { super::$name("tcp") }
            #[test] fn udp() { super::$name("udp") }
            #[test] fn unix() { super::$name("unix") }
            #[test] fn unix_seqpacket() { super::$name("unix-seqpacket") }
            #[test] fn unix_datagram() { super::$name("unix-datagram") }
        }
    )*};
}
pub(crate) use for_each_protocol;

/// The same for those that have ports.
macro_rules! for_each_inet_protocol {
    ($($name:ident)*) => {$(
        mod $name {
            #[test] fn tcp() { super::$name("tcp") }
            #[test] fn udp() { super::$name("udp") }
        }
    )*};
}
pub(crate) use for_each_inet_protocol;

/// The same for streams.
macro_rules! for_each_stream {
    ($($name:ident)*) => {$(
        mod $name {
            #[test] fn tcp() { super::$name("tcp") }
            #[test] fn unix() { super::$name("unix") }
            #[test] fn unix_seqpacket() { super::$name("unix-seqpacket") }
        }
    )*};
}
pub(crate) use for_each_stream;

/// Whether this machine has IPv6; says that it is left out where it has not: in containers it is switched off more often than not.
pub(crate) fn has_ipv6() -> bool {
    static HAS: LazyLock<bool> = LazyLock::new(|| {
        let bound = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0));
        if let Err(error) = &bound {
            skipped(format_args!("this machine has no IPv6 ({error}), nothing was tested over it"));
        }
        bound.is_ok()
    });
    *HAS
}

/// Whether the kernel, or the container that this runs in, lets anybody use io_uring; says so where it does not.
pub(crate) fn has_io_uring() -> bool {
    static HAS: LazyLock<bool> = LazyLock::new(|| {
        let ring = echod::sys::ring::Ring::new();
        if let Err(error) = &ring {
            skipped(format_args!("there is no io_uring here ({error}), mode epoll is tested in its place"));
        }
        ring.is_ok()
    });
    *HAS
}

/// Whether there is what a mode needs; says so where there is not.
pub(crate) fn has_mode(mode: &str) -> bool {
    mode != "io-uring" || has_io_uring()
}

/// Whether this is root; says so where it is not.
pub(crate) fn is_root() -> bool {
    let is = nix::unistd::geteuid().is_root();
    if !is {
        skipped("root is needed to give it up");
    }
    is
}

/// Whether an address of this family can be had; says so where it cannot.
pub(crate) fn can_be_had(address: &str) -> bool {
    !address.starts_with("[::") || has_ipv6()
}

/// Another loopback address than 127.0.0.1, of IPv6 where there is IPv6, as it stands before a port.
pub(crate) fn other_loopback() -> &'static str {
    if has_ipv6() { "[::1]" } else { "127.0.0.9" }
}

/// Whether the daemon can have mounts of its own; says that there were none, and what was `not_done`, where it cannot.
pub(crate) fn may_mount(not_done: &str) -> bool {
    let tried = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    let may = tried.is_ok_and(|status| status.success());
    if !may {
        skipped(format_args!("no mount namespace can be made here (root is needed), {not_done}"));
    }
    may
}

/// Ends the threads of a test that look at it, also when the test fails.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A process that ends with its test, also when that fails.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
