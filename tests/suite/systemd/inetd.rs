//! One client on standard input, as inetd and socket units with `Accept=yes` have it.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use socket2::Socket;

use crate::harness::{Client, Endpoint, Killed, LONG, Launch, eventually, pattern, skipped, uninterrupted};

/// Two ends of a TCP connection.
fn connection() -> (Client, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = Client::connect(&Endpoint::Tcp(listener.local_addr().unwrap()));
    (ours, listener.accept().unwrap().0.into())
}

fn talk(
    mut ours: impl std::io::Read + std::io::Write,
    args: &[&str],
    theirs: OwnedFd,
    request: &[u8],
) -> Vec<u8> {
    let launch = Launch::new().args(&["--inetd"]).args(args).stdin(theirs);
    thread::scope(|scope| {
        let daemon = scope.spawn(|| launch.run());
        ours.write_all(request).unwrap();
        let mut answer = vec![0; request.len()];
        ours.read_exact(&mut answer).unwrap();
        drop(ours);
        let ended = daemon.join().unwrap();
        ended.expect(0, &["peer closed"]);
        answer
    })
}

#[test]
fn a_connection_is_served_to_its_end() {
    let (ours, theirs) = connection();
    let request = pattern(100_000);
    // Less than what both ends can hold, so that nobody waits for the other.
    assert!(talk(ours.socket, &[], theirs, request) == request);
    let (ours, theirs) = UnixStream::pair().unwrap();
    assert_eq!(talk(ours, &["--service", "upper"], theirs.into(), b"hello"), b"HELLO");
}

#[test]
fn urgent_bytes_stay_in_their_place() {
    let (tcp, theirs) = connection();
    let (unix, other) = UnixStream::pair().unwrap();
    for (ours, theirs) in [(tcp.socket, theirs), (Socket::from(unix), other.into())] {
        let launch = Launch::new().args(&["--inetd"]).stdin(theirs);
        thread::scope(|scope| {
            let daemon = scope.spawn(|| launch.run());
            assert_eq!(uninterrupted(|| ours.send(b"ab")).unwrap(), 2);
            // Who is served knows no urgent data yet.
            (&ours).read_exact(&mut [0; 2]).unwrap();
            let is_there = uninterrupted(|| ours.send_out_of_band(b"\xf2")).is_ok();
            assert_eq!(uninterrupted(|| ours.send(b"cd")).unwrap(), 2);
            ours.shutdown(Shutdown::Write).unwrap();
            let mut rest = Vec::new();
            (&ours).read_to_end(&mut rest).unwrap();
            assert_eq!(rest, if is_there { &b"\xf2cd"[..] } else { b"cd" });
            daemon.join().unwrap().expect(0, &[]);
        });
    }
}

#[test]
fn waiting_datagrams_are_answered() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = Client::connect(&Endpoint::Udp(server.local_addr().unwrap()));
    client.send(b"one");
    client.send(b"two");
    let launch = Launch::new().args(&["--inetd", "--service", "upper"]);
    launch.stdin(server.into()).run().expect(0, &[]);
    assert_eq!([client.receive(0), client.receive(0)], [b"ONE", b"TWO"]);
}

/// inetd makes standard error the client, too: nothing of the log may reach it.
#[test]
fn the_client_does_not_see_the_log() {
    let (ours, theirs) = connection();
    let mut child = Command::new(env!("CARGO_BIN_EXE_echod"))
        .args(["--inetd", "-vv"])
        .stdin(Stdio::from(theirs.try_clone().unwrap()))
        .stdout(Stdio::from(theirs.try_clone().unwrap()))
        .stderr(Stdio::from(theirs))
        .spawn()
        .unwrap();
    ours.send(b"hello");
    ours.half_close();
    assert_eq!(ours.rest(), b"hello");
    assert!(child.wait().unwrap().success());
}

/// There is no supervisor that would cut it.
#[test]
fn a_client_that_does_not_read_is_cut_when_the_time_to_drain_is_over() {
    let (ours, theirs) = connection();
    let child = Command::new(env!("CARGO_BIN_EXE_echod"))
        .arg("--inetd")
        .stdin(Stdio::from(theirs))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    // Until nothing fits any more.
    ours.flood(pattern(LONG));
    kill(Pid::from_raw(child.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let ended = eventually("the end of its process", || child.0.try_wait().unwrap());
    assert!(ended.success());
    let mut log = String::new();
    std::io::Read::read_to_string(&mut child.0.stderr.take().unwrap(), &mut log).unwrap();
    assert!(log.contains("bytes out: drain-timeout"), "{log}");
    drop(ours);
}

#[test]
fn what_is_no_client_is_refused() {
    let run = |stdin: OwnedFd| Launch::new().args(&["--inetd"]).stdin(stdin).run();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    run(listener.into()).expect(64, &["it listens; start echod with `--config`"]);
    Launch::new().args(&["--inetd", "--service", "ehco"]).run().expect(64, &["ehco", "echo"]);
    Launch::new().args(&["--service", "echo"]).run().expect(64, &["--inetd"]);
    Launch::new().args(&["--inetd", "--check"]).run().expect(64, &["cannot be used with"]);
}

fn on_pipes(args: &[&str]) -> Killed {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echod"));
    command.arg("--inetd").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Killed(command.spawn().unwrap())
}

/// Its end, and what it has logged.
fn end(mut process: Killed) -> (Option<i32>, String) {
    let mut log = String::new();
    process.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    (process.0.wait().unwrap().code(), log)
}

/// Far more than pipes and sockets hold, so both directions move at once; and the rest after the end of the request.
#[test]
fn a_client_on_pipes_is_served_to_its_end() {
    let mut process = on_pipes(&["--service", "upper"]);
    let (mut request, mut answer) = (process.0.stdin.take().unwrap(), process.0.stdout.take().unwrap());
    request.write_all(b"hello").unwrap();
    let mut first = [0; 5];
    answer.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HELLO");
    let sent = pattern(LONG);
    let received = thread::scope(|scope| {
        let sender = scope.spawn(move || request.write_all(sent).unwrap());
        let mut received = Vec::new();
        answer.read_to_end(&mut received).unwrap();
        sender.join().unwrap();
        received
    });
    assert!(received == pattern(LONG).to_ascii_uppercase());
    let (code, log) = end(process);
    assert!(code == Some(0) && log.contains("peer closed"), "{code:?} {log}");
}

/// The process that carries its bytes is echod itself, and is not what asked.
#[test]
fn a_client_on_pipes_has_no_process() {
    let mut process = on_pipes(&["--service", "whoami"]);
    drop(process.0.stdin.take());
    let mut line = String::new();
    process.0.stdout.take().unwrap().read_to_string(&mut line).unwrap();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&told["service"], told.get("process"), told.get("peer")),
        (&"whoami".into(), None, None),
        "{line}"
    );
    let (code, log) = end(process);
    assert!(code == Some(0) && log.contains(" closed") && !log.contains("pid "), "{log}");
    // Of a socket the process at its other end is told.
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(b"x").unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    let ended = Launch::new().args(&["--inetd"]).stdin(theirs.into()).run();
    ended.expect(0, &[&format!("pid {}", std::process::id())]);
}

#[test]
fn files_are_echoed_and_an_empty_request_ends_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("request");
    std::fs::write(&path, "one\ntwo\n").unwrap();
    let run = |path: &std::path::Path, args: &[&str]| {
        let stdin = std::fs::File::open(path).unwrap();
        Launch::new().args(&["--inetd"]).args(args).stdin(stdin.into()).run()
    };
    let echoed = run(&path, &[]);
    echoed.expect(0, &[]);
    assert_eq!(echoed.stdout, "one\ntwo\n");
    run("/dev/null".as_ref(), &[]).expect(0, &[]);
    // A service that sends of its own accord does so.
    let quoted = run("/dev/null".as_ref(), &["--service", "qotd"]);
    quoted.expect(0, &[]);
    assert_eq!(quoted.stdout, "What you hear is what you said.\r\n");
    run(dir.path(), &[]).expect(66, &["cannot read standard input: Is a directory"]);
}

/// A reader that has seen enough is no fault, and an output that cannot be written is one.
#[test]
fn the_end_of_the_reader_is_the_end() {
    let mut process = on_pipes(&["--service", "chargen"]);
    let mut answer = process.0.stdout.take().unwrap();
    answer.read_exact(&mut [0; 100_000]).unwrap();
    drop(answer);
    // What it would still be asked does not matter.
    assert_eq!(end(process).0, Some(0));
    let read_only = std::fs::File::open("/dev/null").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_echod"));
    command
        .args(["--inetd", "--service", "qotd"])
        .stdin(Stdio::null())
        .stdout(read_only)
        .stderr(Stdio::piped());
    let (code, log) = end(Killed(command.spawn().unwrap()));
    assert!(code == Some(74) && log.contains("cannot write to standard output"), "{code:?} {log}");
}

/// The exit code is one that the help and the reference tell.
#[test]
fn an_output_without_room_is_told_with_its_exit_code() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_echod"));
    command.args(["--inetd", "--service", "qotd"]).stdin(Stdio::null()).stdout(full).stderr(Stdio::piped());
    let (code, log) = end(Killed(command.spawn().unwrap()));
    assert!(code == Some(74) && log.contains("cannot write to standard output"), "{code:?} {log}");
    let help = Launch::new().args(&["--help"]).run().stdout;
    assert!(help.contains("\n  74  --inetd: standard output cannot be written\n"), "{help}");
}

#[test]
fn a_signal_ends_a_client_on_pipes() {
    let mut process = on_pipes(&[]);
    process.0.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    process.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    kill(Pid::from_raw(process.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let mut rest = Vec::new();
    process.0.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    assert_eq!(end(process).0, Some(0));
}

/// Whoever passes pipes may have made them non-blocking.
#[test]
fn pipes_that_do_not_block_are_waited_for() {
    let flags = nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK;
    let (ours, theirs) = nix::unistd::pipe2(flags).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_echod"));
    command.arg("--inetd").stdin(ours).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Killed(command.spawn().unwrap());
    drop(command);
    let mut request = std::fs::File::from(theirs);
    for text in [b"one", b"two"] {
        request.write_all(text).unwrap();
        let mut answer = [0; 3];
        process.0.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
        assert_eq!(&answer, text);
    }
    drop(request);
    assert_eq!(end(process).0, Some(0));
}

/// The real thing, as far as it goes without a booted system.
#[test]
fn systemd_socket_activate_starts_one_for_each_connection() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it.sock");
    let started = Command::new("systemd-socket-activate")
        .args(["--accept", "--inetd", "-l"])
        .arg(&path)
        .args([env!("CARGO_BIN_EXE_echod"), "--inetd", "--service", "upper"])
        .stderr(Stdio::null())
        .spawn();
    let Ok(process) = started else {
        skipped("systemd-socket-activate is not installed");
        return;
    };
    let _process = Killed(process);
    // The file is there a moment before anybody listens.
    eventually("the socket", || UnixStream::connect(&path).ok());
    let clients: Vec<_> = (0..3).map(|_| Client::connect(&Endpoint::Unix(path.clone()))).collect();
    clients.iter().for_each(|client| assert_eq!(client.ask(b"hello"), b"HELLO"));
}
