//! What is lost later: a worker, a listener, the process of one.

use std::{fs, io};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    harness::{Client, Echod, Launch, Manager, eventually, fitted, has_io_uring, listener, poll, proc},
    stream::strace::Strace,
};

const PROTOCOLS: [&str; 5] = ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"];

/// Every event loop, with the call that it waits by.
pub(super) const LOOPS: [(&str, &str, &str); 5] = [
    ("select", "", "?select,?pselect6"),
    ("poll", "", "?poll,?ppoll"),
    ("epoll", "", "?epoll_wait,?epoll_pwait"),
    ("epoll", "trigger = \"edge\"", "?epoll_wait,?epoll_pwait"),
    ("io-uring", "", "io_uring_enter"),
];

/// `workers` loops for each mode that there is, beside another listener.
pub(super) fn loops(workers: usize) -> impl Iterator<Item = (String, &'static str)> {
    let there = LOOPS.into_iter().filter(|(mode, ..)| *mode != "io-uring" || has_io_uring());
    there.map(move |(mode, more, call)| (format!("mode = \"{mode}\"\nworkers = {workers}\n{more}"), call))
}

/// A test of this function for each loop: a worker fails for good only after some seconds.
macro_rules! for_each_loop {
    ($name:ident: $($protocol:literal [$($test:ident $number:literal)*])*) => {
        mod $name {$($(
            #[test]
            fn $test() {
                // The last one is not there where io_uring is denied.
                super::loops(2).skip($number).take(1).for_each(|(keys, call)| super::$name($protocol, &keys, call));
            }
        )*)*}
    };
}

/// A worker that fails is started again: no client is given to a socket that nobody reads.
#[test]
fn a_loop_that_fails_is_started_again() {
    for protocol in PROTOCOLS {
        for (keys, call) in loops(3) {
            let mut daemon = Echod::start(&listener("it", protocol, &keys));
            let counters = daemon.counters();
            let before = daemon.client("it");
            before.echo(b"before");
            let Some(strace) = Strace::failing(&daemon, call, "EBADF") else { return };
            // A worker takes its connections with it.
            let is_served = |_: &usize| {
                let client = daemon.client("it");
                let sent = client.try_send(b"whichever worker it is for").is_ok();
                match client.read(&mut [0; 64]) {
                    Ok(length) => sent && length > 0,
                    Err(error) => {
                        assert_ne!(
                            error.kind(),
                            io::ErrorKind::WouldBlock,
                            "a client hangs: {}",
                            daemon.log()
                        );
                        false
                    }
                }
            };
            let served = (0..40).filter(is_served).count();
            assert!(served >= 37, "{protocol} {keys}: {served} were served");
            daemon.wait_log(|line| line.contains(" WARN ") && line.contains("a worker was lost: "));
            drop(strace);
            daemon.client("it").echo(b"after");
            drop(before);
            daemon.stop();
            if ["tcp", "unix"].contains(&protocol) {
                let totals = counters.totals();
                assert_eq!(totals.ended.values().sum::<u64>(), totals.served, "{totals:?}");
            }
        }
    }
}

for_each_loop! { a_listener_that_fails_leaves_the_others_alone:
    "tcp" [select 0 poll 1 epoll 2 edge 3 io_uring 4]
    "udp" [udp_epoll 2 udp_edge 3]
    "unix" [unix_epoll 2 unix_edge 3]
}

/// A listener whose workers fail for good is stopped aloud, and takes no other one with it; a reload tries again.
fn a_listener_that_fails_leaves_the_others_alone(protocol: &str, keys: &str, call: &str) {
    let toml = listener("it", protocol, keys) + &listener("other", "tcp", "mode = \"threading\"");
    let manager = Manager::new();
    let mut daemon = Launch::new().config(&toml).env("NOTIFY_SOCKET", &manager.name).start();
    let other = daemon.client("other");
    other.echo(b"other");
    let Some(strace) = Strace::always_failing(&daemon, call, "EBADF") else { return };
    let connect = |_| Client::try_connect(&daemon.endpoint("it")).ok();
    let visitors: Vec<_> = (0..if protocol == "udp" { 1 } else { 20 }).filter_map(connect).collect();
    // Loops that are waiting have to be woken, perhaps more than once. (Many datagrams at once would be waited for by
    // another call.)
    let told = poll(|| {
        visitors.iter().for_each(|visitor| _ = visitor.try_send(b"hello"));
        let is_told = |line: &str| line.contains(" ERROR ") && line.contains("not served any more");
        daemon.log().lines().any(is_told).then_some(())
    });
    daemon.or_log(told, "a word of the failure");
    eventually("the state", || (manager.next() == "STATUS=serving 1 listener, 1 failed").then_some(()));
    if protocol != "udp" {
        daemon.endpoint("it").wait_refused();
    }
    other.echo(b"still served");
    daemon.client("other").echo(b"and others");
    drop((strace, visitors));
    fs::write(daemon.path("echod.toml"), fitted(&toml)).unwrap();
    daemon.read_again();
    daemon.wait_log(|line| line.contains("reloaded: serving 2 listeners") && !line.contains("failed"));
    daemon.stop();
}

for_each_loop! { the_last_listener_that_fails_ends_the_daemon_with_an_error:
    "tcp" [select 0 poll 1 epoll 2 edge 3 io_uring 4]
}

/// With the last listener that fails the daemon ends, and not as if it had succeeded.
fn the_last_listener_that_fails_ends_the_daemon_with_an_error(protocol: &str, keys: &str, call: &str) {
    let mut daemon = Echod::start(&listener("it", protocol, keys));
    let Some(strace) = Strace::always_failing(&daemon, call, "EBADF") else { return };
    let _visitors: Vec<_> = (0..20).map(|_| Client::try_connect(&daemon.endpoint("it"))).collect();
    assert_eq!(daemon.wait_exit().code(), Some(69), "{}", daemon.log());
    drop(strace);
}

/// What is left of a listener before a reload may fail without a word to those that have come after it. (A ring stays until the
/// kernel has taken its requests back, which this failure prevents.)
#[test]
fn a_superseded_listener_that_fails_is_logged_and_forgotten() {
    for (keys, call) in loops(1).filter(|(keys, _)| !keys.contains("io-uring")) {
        let mut daemon = Echod::start(&listener("it", "tcp", &keys));
        let old = daemon.client("it");
        old.echo(b"old");
        daemon.reload(&listener("it", "tcp", "mode = \"threading\""));
        let new = daemon.client("it");
        new.echo(b"new");
        let Some(strace) = Strace::always_failing(&daemon, call, "EBADF") else { return };
        // It wakes the loop.
        let _ = old.try_send(b"again");
        while old.read(&mut [0; 64]).is_ok_and(|length| length > 0) {}
        daemon.wait_log(|line| line.contains(" WARN ") && line.contains("before a reload has failed"));
        drop(strace);
        new.echo(b"still served");
        daemon.client("it").echo(b"and others");
        daemon.stop();
    }
}

/// A signal that the daemon did not send is no order: the process of a forking listener is started again.
#[test]
fn a_signal_from_elsewhere_does_not_end_a_forking_listener() {
    for protocol in PROTOCOLS {
        for workers in ["", "workers = 2"] {
            for signal in [Signal::SIGTERM, Signal::SIGUSR2, Signal::SIGKILL] {
                let mut daemon =
                    Echod::start(&listener("it", protocol, &format!("mode = \"forking\"\n{workers}")));
                daemon.client("it").echo(b"before");
                let process = daemon.children();
                kill(Pid::from_raw(process[0]), signal).unwrap();
                daemon.wait_log(|line| line.contains(" WARN ") && line.contains("its process was lost"));
                eventually("another process", || {
                    let now = daemon.children();
                    (now.len() == 1 && now != process && !proc::is_zombie(now[0])).then_some(())
                });
                for _ in 0..4 {
                    daemon.client("it").echo(b"after");
                }
                daemon.stop();
            }
        }
    }
}

/// The end of a process that another generation has superseded is told as well.
#[test]
fn the_loss_of_a_superseded_process_is_told() {
    let forking =
        |service: &str| listener("it", "tcp", &format!("mode = \"forking\"\nservice = \"{service}\""));
    let daemon = Echod::start(&forking("echo"));
    let old = daemon.client("it");
    old.echo(b"old");
    let process = daemon.children()[0];
    daemon.reload(&forking("upper"));
    kill(Pid::from_raw(process), Signal::SIGKILL).unwrap();
    assert!(old.is_ended());
    daemon.wait_log(|line| {
        line.contains(" WARN ") && line.contains("its process was lost") && !line.contains("another one")
    });
    assert_eq!(daemon.client("it").ask(b"new"), b"NEW");
}
