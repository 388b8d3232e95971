//! A log that nobody reads: the daemon serves and ends as if it were not there, and says later how much is missing.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::mpsc::{Receiver, channel},
    thread,
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    pty::openpty,
    sys::termios::{FlowArg, SetArg, cfmakeraw, tcflow, tcgetattr, tcsetattr},
    unistd::pipe,
};

use crate::{
    harness::{Client, Echod, Launch, PATIENCE, Patient, can_be_had, eventually, has_mode, it, may_mount},
    matrix::{Combination, classes},
};

/// Standard error is what the test has passed as standard input.
const SWAP: &str = "exec \"$0\" \"$@\" 2>&0 </dev/null";

/// In hexadecimal, so many of these are more than the daemon and the target keep.
const MESSAGE: [u8; 250] = [7; 250];
const MESSAGES: usize = 450;

fn combinations() -> Vec<Combination> {
    let cell = |mode, workers, (protocol, address)| Combination { protocol, address, mode, workers };
    let (tcp, udp) = (("tcp", "127.0.0.1:0"), ("udp", "127.0.0.1:0"));
    let mut cells = classes();
    for mode in ["select", "poll", "epoll", "edge", "io-uring"] {
        cells.extend([cell(mode, "", tcp), cell(mode, "", udp)]);
    }
    cells.extend([
        cell("threading", "2", tcp),
        cell("forking", "2", tcp),
        cell("forking", "\"per-request\"", udp),
        cell("epoll", "2", tcp),
        cell("epoll", "", ("unix", "it.sock")),
    ]);
    cells.retain(|cell| has_mode(cell.mode) && can_be_had(cell.address));
    cells
}

fn launch(cell: &Combination, stderr: OwnedFd) -> Echod {
    // Told if the test fails: the log is not.
    println!("{cell:?}");
    let is_limited = matches!(cell.protocol, "tcp" | "unix") && cell.mode != "iterative";
    let limit = if is_limited { "max-connections = 8\n" } else { "" };
    let toml = format!("{}payload = \"hex\"\n{limit}", cell.listener("it"));
    Launch::new().config(&toml).stdin(stderr).shell(SWAP).start()
}

/// A pipe that holds as little as a pipe can.
fn small_pipe() -> (File, OwnedFd) {
    let (reader, writer) = pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    (File::from(reader), writer)
}

/// Serves more clients than the log has room for, beside one that stays; returns how many lines they leave.
fn serve_many(daemon: &Echod, cell: &Combination) -> usize {
    let is_stream = matches!(cell.protocol, "tcp" | "unix");
    let stays = (!is_stream || cell.capacity(8) > 1).then(|| daemon.client("it"));
    let mut lines = 0;
    let mut echo = |client: &Client| {
        client.echo(&MESSAGE);
        lines += 1;
    };
    stays.iter().for_each(&mut echo);
    for _ in 0..MESSAGES {
        match &stays {
            Some(client) if !is_stream => echo(client),
            _ => echo(&daemon.client("it")),
        }
    }
    stays.iter().for_each(&mut echo);
    let holds = stays.is_some();
    drop(stays);
    // Each connection leaves another line.
    if is_stream { lines + MESSAGES + usize::from(holds) } else { lines }
}

/// The lines that arrive at `log`, to the end of the daemon.
fn read(log: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(log).lines() {
            // A terminal ends with an error.
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

fn wait_for(lines: &Receiver<String>, wanted: &str) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    while !seen.last().is_some_and(|line| line.contains(wanted)) {
        let line = lines.recv_timeout(PATIENCE);
        seen.push(
            line.unwrap_or_else(|_| panic!("no {wanted:?} in {} lines: {:?}", seen.len(), seen.last())),
        );
    }
    seen
}

/// How many lines of clients there are, those that were lost included.
fn count(lines: &[String]) -> usize {
    let lost = |line: &String| {
        let (_, what) = line.split_once("the log had no room: ")?;
        what.split(' ').next()?.parse::<usize>().ok()
    };
    let of_client = |line: &&String| line.contains("wrote 250 bytes") || line.contains("closed after");
    let whole = |line: &str| line.ends_with("07") || line.ends_with("peer closed") || line.len() < 400;
    assert!(lines.iter().all(|line| whole(line)), "a torn line");
    lines.iter().filter(of_client).count() + lines.iter().filter_map(lost).sum::<usize>()
}

#[test]
fn a_pipe_that_nobody_reads_stops_neither_clients_nor_the_end() {
    for cell in combinations() {
        let (log, writer) = small_pipe();
        let mut daemon = launch(&cell, writer);
        serve_many(&daemon, &cell);
        daemon.stop();
        drop(log);
    }
}

#[test]
fn a_reader_that_comes_late_is_told_how_much_is_missing() {
    for cell in combinations() {
        let (log, writer) = small_pipe();
        let mut daemon = launch(&cell, writer);
        let expected = serve_many(&daemon, &cell);
        // Nothing more is logged: what was kept, and that others were lost, comes by itself.
        let lines = read(log);
        let (mut told, mut lost) = (0, false);
        while told < expected {
            let line = lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("{told} of {expected} lines"));
            lost |= line.contains("the log had no room: ");
            told += count(&[line]);
        }
        assert_eq!(told, expected);
        // Each process of a pool keeps some.
        assert!(lost || (cell.mode, cell.protocol == "tcp") == ("forking", false));
        daemon.stop();
        assert!(lines.iter().any(|line| line.contains("all listeners have ended")));
    }
}

/// As systemd gives it.
#[test]
fn a_stream_socket_that_nobody_reads_stops_nobody() {
    for mode in ["threading", "forking", "epoll", "io-uring"].into_iter().filter(|mode| has_mode(mode)) {
        let cell = Combination { protocol: "tcp", address: "127.0.0.1:0", mode, workers: "" };
        let (log, writer) = UnixStream::pair().unwrap();
        let mut daemon = launch(&cell, writer.into());
        let expected = serve_many(&daemon, &cell) + serve_many(&daemon, &cell);
        let lines = read(log);
        let mut seen = wait_for(&lines, "the log had no room: ");
        daemon.stop();
        seen.extend(lines);
        assert_eq!(count(&seen), expected, "{mode}");
    }
}

/// Ctrl-S.
#[test]
fn a_terminal_that_is_stopped_stops_nobody() {
    for mode in ["threading", "forking", "epoll"] {
        let cell = Combination { protocol: "tcp", address: "127.0.0.1:0", mode, workers: "" };
        let terminal = openpty(None, None).unwrap();
        let mut settings = tcgetattr(&terminal.slave).unwrap();
        cfmakeraw(&mut settings);
        tcsetattr(&terminal.slave, SetArg::TCSANOW, &settings).unwrap();
        let mut daemon = launch(&cell, terminal.slave.try_clone().unwrap());
        tcflow(&terminal.slave, FlowArg::TCOOFF).unwrap();
        serve_many(&daemon, &cell);
        let lines = read(File::from(terminal.master));
        tcflow(&terminal.slave, FlowArg::TCOON).unwrap();
        wait_for(&lines, "the log had no room: ");
        daemon.stop();
    }
}

/// The pipe of a container belongs to another user, who does not let it be opened again: then each write must not wait.
#[test]
fn a_pipe_that_cannot_be_opened_again_stops_nobody() {
    if !may_mount("a pipe was opened again everywhere") {
        return;
    }
    let script = "exec unshare --mount sh -ec '
        mount -t tmpfs none /proc/self/fd 2>/dev/null || mount -t tmpfs none /proc
        exec \"$0\" \"$@\" 2>&0 </dev/null' \"$0\" \"$@\"";
    let toml = it("mode = \"epoll\"\npayload = \"hex\"");
    let cell = Combination { protocol: "tcp", address: "127.0.0.1:0", mode: "epoll", workers: "" };
    let (log, writer) = small_pipe();
    let mut daemon = Launch::new().config(&toml).stdin(writer).shell(script).start();
    let expected = serve_many(&daemon, &cell);
    let lines = read(log);
    let mut seen = wait_for(&lines, "the log had no room: ");
    daemon.stop();
    seen.extend(lines);
    assert_eq!(count(&seen), expected);
}

/// What fits into memory is not lost, and its order stays.
#[test]
fn lines_are_kept_for_a_slow_reader() {
    for mode in ["iterative", "threading", "epoll", "io-uring"].into_iter().filter(|mode| has_mode(mode)) {
        let cell = Combination { protocol: "tcp", address: "127.0.0.1:0", mode, workers: "" };
        let (log, writer) = small_pipe();
        let mut daemon = launch(&cell, writer);
        let client = daemon.client("it");
        for n in 0..150_u8 {
            client.echo(&[n; 100]);
        }
        let lines = read(log);
        let last = format!(": {}", "95 ".repeat(100).trim_end());
        let seen = wait_for(&lines, &last);
        let numbers = seen.iter().filter_map(|line| Some(line.split_once(" bytes: ")?.1[..2].to_owned()));
        let expected = (0..150_u8).map(|n| format!("{n:02x}"));
        assert_eq!(numbers.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{mode}");
        drop(client);
        daemon.stop();
        let rest: Vec<_> = lines.iter().collect();
        assert!(rest.iter().any(|line| line.contains("all listeners have ended")), "{rest:?}");
    }
}

/// Who has noticed that nobody reads gives the log another target; what is lost by that is told there.
#[test]
fn another_target_takes_over_from_one_that_is_full() {
    for mode in ["forking", "epoll"] {
        // In the sandbox no other target could be opened.
        let daemon = "[daemon]\nsandbox = \"off\"\n";
        let listener = it(&format!("mode = \"{mode}\"\npayload = \"hex\""));
        let toml = |log: &str| format!("{daemon}[log]\n{log}\n{listener}");
        let (log, writer) = small_pipe();
        let mut daemon = Launch::new().config(&toml("")).stdin(writer).shell(SWAP).start();
        let client = daemon.client("it");
        (0..100).for_each(|_| client.echo(&MESSAGE));
        fs::write(daemon.path("echod.toml"), toml("target = \"file\"\nfile = \"log\"")).unwrap();
        daemon.signal(nix::sys::signal::Signal::SIGHUP);
        let read = || fs::read_to_string(daemon.path("log")).unwrap_or_default();
        eventually("the reload in the new log", || read().contains("reloaded: ").then_some(()));
        if mode == "epoll" {
            eventually("what was lost", || read().contains("the log had no room: ").then_some(()));
        }
        drop(client);
        daemon.client("it").echo(b"on and on");
        daemon.stop();
        drop(log);
    }
}

/// In a mount namespace of its own, because the address of the daemon is fixed.
const SYSLOG: &str = "exec unshare --mount sh -ec '
    mkdir dev; for each in null log; do touch dev/$each; done
    mount --bind /dev/null dev/null; mount --bind syslog dev/log; mount --rbind dev /dev
    exec \"$0\" \"$@\"' \"$0\" \"$@\"";

/// A log daemon that is there and does nothing, as one that is stopped.
#[test]
fn a_syslog_daemon_that_does_not_read_stops_nobody() {
    if !may_mount("nothing was sent to syslog") {
        return;
    }
    for mode in ["threading", "forking", "epoll"] {
        let cell = Combination { protocol: "tcp", address: "127.0.0.1:0", mode, workers: "" };
        let toml = format!("[log]\ntarget = \"syslog\"\n{}payload = \"hex\"\n", cell.listener("it"));
        let launch = Launch::new().config(&toml).shell(SYSLOG);
        let syslog = Patient::unix(&launch.dir().join("syslog"));
        let mut daemon = launch.start();
        let expected = serve_many(&daemon, &cell);
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n) = syslog.recv(&mut buffer) {
                let line = String::from_utf8_lossy(&buffer[..n]).into_owned();
                let is_last = line.contains("all listeners have ended");
                if sender.send(line).is_err() || is_last {
                    break;
                }
            }
        });
        let mut seen = wait_for(&lines, "the log had no room: ");
        daemon.stop();
        seen.extend(lines);
        assert_eq!(count(&seen), expected, "{mode}");
    }
}

/// What others have open, too, is not made non-blocking for them.
#[test]
fn the_pipe_stays_as_it_was_for_others() {
    let (_log, writer) = small_pipe();
    let other = writer.try_clone().unwrap();
    let mut daemon = Launch::new().config(&it("")).stdin(writer).shell(SWAP).start();
    daemon.client("it").echo(b"hello");
    let flags = fcntl(other.as_fd(), FcntlArg::F_GETFL).unwrap();
    assert_eq!(flags & nix::fcntl::OFlag::O_NONBLOCK.bits(), 0);
    daemon.stop();
}
