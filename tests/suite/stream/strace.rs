//! What it costs: two system calls for each echo on a steady connection, in an event loop a share of a wait more, and none
//! while idle. Counted by strace(1) on the
//! whole family; where it is missing or may not attach, the tests say so and are skipped.

use std::{
    collections::HashSet,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::harness::{Client, Echod, eventually, has_io_uring, proc, skipped};

const ECHOES: usize = 1000;

/// Whatever is limited, a message costs the same.
const LIMITS: &str = "idle-timeout = \"1h\"\nmax-lifetime = \"2h\"\nmax-bytes = \"1GB\"";

const LOOPS: [&str; 4] = ["select", "poll", "epoll", "edge"];

/// Markers as strace prints them; as long as the echoes, and never their content.
pub(crate) const BEGIN: &[u8] = b"BEGIN-COUNTING-HERE";
pub(crate) const END: &[u8] = b"STOP-COUNTING-THERE";

#[test]
fn two_calls_for_each_echo() {
    for protocol in [("tcp", "127.0.0.1:0"), ("unix", "it.sock")] {
        for mode in ["iterative", "threading", "forking"] {
            for workers in ["", "workers = 2", LIMITS] {
                if mode == "iterative" && workers == "workers = 2" {
                    continue;
                }
                let daemon = start(protocol, mode, workers);
                let Some(calls) = calls_for_echoes(&daemon) else { return };
                let count = |name: &str| calls.iter().filter(|call| call.contains(name)).count();
                let context = format!("{protocol:?} {mode} {workers}: {:?}", &calls[..calls.len().min(10)]);
                // The call that receives END lies between the markers as well, hence one more.
                assert_eq!(calls.len(), 2 * ECHOES + 1, "{context}");
                assert_eq!(count("recv") + count("read("), ECHOES + 1, "{context}");
                assert_eq!(count("send") + count("write("), ECHOES, "{context}");
            }
        }
    }
}

/// An event loop waits for each, as long as there is only one that could be ready.
#[test]
fn a_wait_and_two_calls_for_each_echo_in_an_event_loop() {
    for protocol in [("tcp", "127.0.0.1:0"), ("unix", "it.sock")] {
        for (mode, limits) in LOOPS.into_iter().flat_map(|mode| [(mode, ""), (mode, LIMITS)]) {
            let daemon = start_loop(protocol, mode, limits);
            let Some(calls) = calls_for_echoes(&daemon) else { return };
            let count = |name: &str| calls.iter().filter(|call| call.contains(name)).count();
            let context = format!("{protocol:?} {mode}: {:?}", &calls[..calls.len().min(10)]);
            assert_eq!(count("send"), ECHOES, "{context}");
            // Two are made before END is sent: one waits for it, one receives it.
            let expected = 3 * ECHOES + 2;
            if protocol.0 == "unix" && mode == "edge" {
                // There only EAGAIN is the end, an edge may tell of the room that a peer made by reading, and the next
                // message may come before the wait.
                assert!((2 * ECHOES..=5 * ECHOES).contains(&calls.len()), "{context}");
            } else {
                assert_eq!(count("recv"), ECHOES + 1, "{context}");
                assert_eq!(calls.len(), expected, "{context}");
            }
        }
    }
}

/// One wait tells of many that are ready.
#[test]
fn busy_connections_share_a_wait() {
    const CLIENTS: usize = 50;
    const ROUNDS: usize = 40;
    for protocol in [("tcp", "127.0.0.1:0"), ("unix", "it.sock")] {
        for mode in LOOPS {
            let daemon = start_loop(protocol, mode, "");
            let marker = daemon.client("it");
            let clients = (0..CLIENTS).map(|_| daemon.client("it")).collect::<Vec<_>>();
            clients.iter().for_each(|client| client.echo(b"connected"));
            let Some(strace) = Strace::attach(&daemon) else { return };
            settle(&marker);
            marker.echo(BEGIN);
            for _ in 0..ROUNDS {
                clients.iter().for_each(|client| client.send(b"hello world\n"));
                clients.iter().for_each(|client| assert_eq!(client.receive(12), b"hello world\n"));
            }
            marker.echo(END);
            let calls = strace.calls_between(&daemon);
            let each = calls.len() as f64 / (CLIENTS * ROUNDS) as f64;
            // On a unix socket a short receive is not the last one: an edge is drained to EAGAIN.
            let drain = if protocol.0 == "unix" && mode == "edge" { 1.0 } else { 0.0 };
            assert!((2.0..=2.3 + drain).contains(&each), "{protocol:?} {mode}: {each} calls for each echo");
        }
    }
}

/// The client that waits for a place is let in only when the descriptor of the one that has left is closed.
#[test]
fn a_place_is_free_after_its_descriptor() {
    for mode in LOOPS {
        let daemon = start_loop(("tcp", "127.0.0.1:0"), mode, "max-connections = 2");
        let (marker, leaves) = (daemon.client("it"), daemon.client("it"));
        [&marker, &leaves].iter().for_each(|client| client.echo(b"served"));
        let waits = daemon.client("it");
        waits.send(b"waiting");
        let Some(strace) = Strace::attach(&daemon) else { return };
        settle(&marker);
        marker.echo(BEGIN);
        drop(leaves);
        assert_eq!(waits.receive(7), b"waiting");
        marker.echo(END);
        let calls = strace.calls_between(&daemon);
        let first = |what: &str| calls.iter().position(|call| call.contains(what));
        // An eventfd tells the loop that there is a place.
        let (closed, told) = (first("close("), first("\\1\\0\\0\\0\\0\\0\\0\\0"));
        assert!(closed.is_some() && closed < told, "{mode}: {calls:#?}");
    }
}

/// A ring carries the bytes itself: what is left is the wait, which also submits the answers.
#[test]
fn a_ring_needs_a_call_for_many_echoes() {
    if !has_io_uring() {
        return;
    }
    const CLIENTS: usize = 50;
    const ROUNDS: usize = 40;
    for (protocol, address) in [("tcp", "127.0.0.1:0"), ("unix", "it.sock")] {
        // What a ring sends no call tells of; the markers go by another listener.
        let daemon = Echod::start(&format!(
            "[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\nmode = \"io-uring\"\n\
             [[listener]]\nname = \"marker\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\nmode = \"threading\"\n"
        ));
        let marker = daemon.client("marker");
        let clients = (0..CLIENTS).map(|_| daemon.client("it")).collect::<Vec<_>>();
        clients.iter().for_each(|client| client.echo(b"connected"));
        let Some(strace) = Strace::attach(&daemon) else { return };
        settle(&marker);
        clients.iter().for_each(|client| client.echo(b"settled"));
        marker.echo(BEGIN);
        for _ in 0..ROUNDS {
            // All that the ring finds when it looks.
            daemon.signal(Signal::SIGSTOP);
            clients.iter().for_each(|client| client.send(b"hello world\n"));
            daemon.signal(Signal::SIGCONT);
            clients.iter().for_each(|client| assert_eq!(client.receive(12), b"hello world\n"));
        }
        marker.echo(END);
        let calls = strace.calls_between(&daemon);
        let entered: Vec<&String> = calls.iter().filter(|call| call.contains("io_uring_enter")).collect();
        let each = entered.len() as f64 / (CLIENTS * ROUNDS) as f64;
        assert!(each <= 0.2, "{protocol}: {each} calls for each echo");
        // The thread of the ring makes no other call; those of the others were interrupted.
        let (thread, _) = entered[0].split_once(' ').unwrap();
        let others = calls.iter().filter(|call| call.starts_with(thread) && !call.contains("io_uring_enter"));
        assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new(), "{protocol}");
    }
}

/// With everything there is at once: every protocol and mode, a connection in each, and a silence.
#[test]
fn none_while_idle() {
    let mut toml = String::new();
    for mode in ["iterative", "threading", "forking", "io-uring"].into_iter().chain(LOOPS) {
        for (protocol, address) in [
            ("tcp", "127.0.0.1:0".to_owned()),
            ("udp", "127.0.0.1:0".to_owned()),
            ("unix", format!("{mode}.sock")),
            ("unix-datagram", format!("{mode}-d.sock")),
        ] {
            toml += &format!(
                "[[listener]]\nname = \"{protocol}-{mode}\"\nprotocol = \"{protocol}\"\n\
                 address = \"{address}\"\n{}\n",
                keys(mode)
            );
        }
    }
    let daemon = Echod::start(&toml);
    let streams = ["tcp-iterative", "tcp-threading", "tcp-forking", "unix-forking"].map(str::to_owned);
    let looped =
        LOOPS.iter().chain(&["io-uring"]).flat_map(|mode| [format!("tcp-{mode}"), format!("unix-{mode}")]);
    let clients = streams.into_iter().chain(looped).map(|name| daemon.client(&name)).collect::<Vec<_>>();
    clients.iter().for_each(|client| client.echo(b"connected"));
    for name in ["udp-iterative", "udp-threading", "udp-forking", "unix-datagram-forking", "udp-select"] {
        daemon.client(name).echo(b"x");
    }
    let Some(strace) = Strace::attach(&daemon) else { return };
    clients.iter().for_each(settle);
    // Once more, for the calls of the others to be made.
    settle(&clients[1]);
    clients[1].echo(BEGIN);
    assert!(clients[1].hears_nothing_for(Duration::from_secs(2)));
    clients[1].echo(END);
    let calls = strace.calls_between(&daemon);
    // The one call waited all the time, and received END.
    assert_eq!(calls.len(), 1, "{calls:?}");
}

/// The calls that the echoes of one client take; `None` where they cannot be seen.
fn calls_for_echoes(daemon: &Echod) -> Option<Vec<String>> {
    let client = daemon.client("it");
    client.echo(b"connected");
    let strace = Strace::attach(daemon)?;
    settle(&client);
    client.echo(BEGIN);
    (0..ECHOES).for_each(|_| client.echo(b"hello world\n"));
    client.echo(END);
    Some(strace.calls_between(daemon))
}

fn start((protocol, address): (&str, &str), mode: &str, workers: &str) -> Echod {
    Echod::start(&format!(
        "[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\nmode = \"{mode}\"\n{workers}\n"
    ))
}

fn start_loop((protocol, address): (&str, &str), mode: &str, more: &str) -> Echod {
    Echod::start(&format!(
        "[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\n{}\n{more}\n",
        keys(mode)
    ))
}

/// Edge-triggered epoll counts as a mode of its own here.
fn keys(mode: &str) -> String {
    let (mode, trigger) = if mode == "edge" { ("epoll", "trigger = \"edge\"") } else { (mode, "") };
    format!("mode = \"{mode}\"\n{trigger}")
}

/// Attaching interrupts every call, and what a new connection brings about may take a moment: lets it all pass.
pub(crate) fn settle(client: &Client) {
    (0..20).for_each(|_| client.echo(b"settle"));
    assert!(client.hears_nothing_for(Duration::from_millis(200)));
    (0..20).for_each(|_| client.echo(b"settle"));
}

/// An strace attached to a daemon and its family.
pub(crate) struct Strace {
    child: Child,
    output: PathBuf,
}

impl Strace {
    /// Attaches; `None`, with a loud word, where that is impossible.
    pub(crate) fn attach(daemon: &Echod) -> Option<Self> {
        Self::attach_with(daemon, &[])
    }

    /// As [`Strace::attach`], and the first of these calls in each thread fails.
    pub(crate) fn failing(daemon: &Echod, call: &str, error: &str) -> Option<Self> {
        Self::attach_with(daemon, &["-e", &format!("inject={call}:error={error}:when=1")])
    }

    /// As [`Strace::attach`], and so many of these calls fail in each thread, one after the other. (Where one fails while strace
    /// detaches the thread is told that the call does not exist: it should be over by then.)
    pub(crate) fn failing_times(daemon: &Echod, call: &str, error: &str, times: u32) -> Option<Self> {
        Self::attach_with(daemon, &["-e", &format!("inject={call}:error={error}:when=1..{times}")])
    }

    /// As [`Strace::attach`], and all of these calls fail.
    pub(crate) fn always_failing(daemon: &Echod, call: &str, error: &str) -> Option<Self> {
        Self::attach_with(daemon, &["-e", &format!("inject={call}:error={error}")])
    }

    fn attach_with(daemon: &Echod, options: &[&str]) -> Option<Self> {
        let output = daemon.path("strace.out");
        let errors = daemon.path("strace.err");
        let group = daemon.group();
        let mut command = Command::new("strace");
        command.args(["-f", "-s", "64"]).args(options).arg("-o").arg(&output);
        for pid in &group {
            command.args(["-p", &pid.to_string()]);
        }
        let started = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors).unwrap())
            .spawn();
        let Ok(child) = started else {
            skipped("strace is not installed, no system call was counted");
            return None;
        };
        let mut strace = Self { child, output };
        let attached = eventually("strace to attach", || {
            let said = fs::read_to_string(&errors).unwrap();
            let attached = said.lines().filter(|line| line.contains(" attached")).count() >= group.len();
            let ended = strace.child.try_wait().unwrap().is_some();
            (attached || ended).then_some(!ended)
        });
        if !attached {
            skipped(format_args!("strace may not attach: {}", fs::read_to_string(&errors).unwrap()));
            return None;
        }
        // Attached is not traced yet: a thread is when it was stopped and its call begun anew.
        assert!(group.iter().all(|pid| proc::status(*pid, "TracerPid").is_some_and(|tracer| tracer != "0")));
        Some(strace)
    }

    /// Detaches, and lists the calls after the one that sent [`BEGIN`], before the one that sent [`END`].
    pub(crate) fn calls_between(self, daemon: &Echod) -> Vec<String> {
        let text = self.text();
        let is_sent = |line: &str, marker: &[u8]| {
            let marker = std::str::from_utf8(marker).unwrap();
            (line.contains("send") || line.contains("write")) && line.contains(marker)
        };
        let begin = text.lines().position(|line| is_sent(line, BEGIN));
        let end = text.lines().position(|line| is_sent(line, END));
        let (Some(begin), Some(end)) = (begin, end) else {
            panic!("no markers in what strace wrote:\n{}\n{text}", daemon.log());
        };
        let mut stopped = HashSet::new();
        let mut is_call = |line: &str| {
            let (thread, _) = line.split_once(' ').unwrap_or((line, ""));
            // A call that another line interrupts has two: its beginning counts. Signals and exits are no calls. Nor is one that
            // is made anew because the machine has stopped its thread for a moment.
            let is_begun = !["resumed>", " --- ", " +++ "].iter().any(|no| line.contains(no));
            let is_new = is_begun && !stopped.remove(thread);
            if line.contains("= ? ERESTART") || line.contains("= -1 EINTR") {
                stopped.insert(thread.to_owned());
            }
            is_new
        };
        let calls = text.lines().enumerate().filter(|(_, line)| is_call(line));
        calls.filter(|(at, _)| (begin + 1..end).contains(at)).map(|(_, line)| line.to_owned()).collect()
    }

    /// Detaches; what it wrote.
    pub(crate) fn text(mut self) -> String {
        self.end();
        fs::read_to_string(&self.output).unwrap()
    }

    fn end(&mut self) {
        // strace detaches on SIGTERM, and lets those go that it traced.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        self.end();
    }
}
