//! `echod top`: the connections of every mode as the kernel has them, on a terminal and for programs.

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::process::CommandExt,
    process::{Command, Output, Stdio},
};

use nix::{
    pty::openpty,
    sys::termios::{LocalFlags, tcgetattr},
};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;

use super::observed;
use crate::harness::{
    BINARY, Client, Echod, LONG, eventually, has_mode, is_root, listener, pattern, skipped,
};

fn top(daemon: &Echod, args: &[&str], uid: Option<u32>) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["top", "--address"]).arg(daemon.path("observe.sock")).args(args).stdin(Stdio::null());
    if let Some(uid) = uid {
        command.uid(uid);
    }
    command.output().unwrap()
}

/// What `top --once` says of a daemon as JSON.
#[track_caller]
fn once(daemon: &Echod) -> Value {
    let output = top(daemon, &["--once", "-i", "100ms", "-n", "1000", "-o", "json"], None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn peer(client: &Client) -> String {
    client.socket.local_addr().unwrap().as_socket().unwrap().to_string()
}

#[test]
fn connections_of_every_mode_are_listed_with_their_bytes() {
    let modes = ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"];
    let modes: Vec<_> = modes.into_iter().filter(|mode| has_mode(mode)).collect();
    let listeners = modes.iter().map(|mode| listener(mode, "tcp", &format!("mode = \"{mode}\"")));
    let daemon = observed(&listeners.collect::<String>());
    let clients: Vec<_> = modes.iter().map(|mode| daemon.client(mode)).collect();
    clients.iter().for_each(|client| client.echo(&[7; 100]));
    let seen = once(&daemon);
    assert_eq!(seen["connections"]["total"], modes.len(), "{seen:#}");
    for (mode, client) in modes.iter().zip(&clients) {
        let listed = seen["connections"]["listed"].as_array().unwrap();
        let it =
            listed.iter().find(|it| it["peer"] == peer(client)).unwrap_or_else(|| panic!("{mode}: {seen:#}"));
        assert_eq!((&it["listener"], &it["received"]), (&Value::from(*mode), &Value::from(100)));
        assert!(it["rtt-us"].as_u64().is_some_and(|rtt| rtt > 0), "{it}");
    }
    drop(clients);
    eventually("an empty list", || (once(&daemon)["connections"]["total"] == 0).then_some(()));
}

#[test]
fn whoever_may_ask_sees_what_ss_sees() {
    let daemon =
        observed(&("socket-mode = \"0666\"\n".to_owned() + &listener("it", "tcp", "mode = \"forking\"")));
    let clients: Vec<_> = (0..5).map(|_| daemon.client("it")).collect();
    clients.iter().for_each(|client| client.echo(b"hello"));
    let mut expected: Vec<_> = clients.iter().map(peer).collect();
    expected.sort();
    let uid = is_root().then_some(65534);
    if uid.is_some() {
        // Another user must reach the socket file.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(daemon.path(""), open).unwrap();
    }
    let output = top(&daemon, &["--once", "-i", "100ms", "-o", "jsonl"], uid);
    let Ok(seen) = serde_json::from_slice::<Value>(&output.stdout) else {
        panic!("{}", String::from_utf8_lossy(&output.stderr));
    };
    let listed = seen["connections"]["listed"].as_array().unwrap();
    let mut peers: Vec<_> = listed.iter().map(|it| it["peer"].as_str().unwrap().to_owned()).collect();
    peers.sort();
    assert_eq!(peers, expected);
    let filter = format!("sport = :{}", daemon.port("it"));
    let Ok(ss) = Command::new("ss").args(["-Htn", "state", "established", &filter]).output() else {
        return skipped("ss is missing, its list is not compared");
    };
    let ss = String::from_utf8_lossy(&ss.stdout).into_owned();
    let mut of_ss: Vec<_> = ss.lines().filter_map(|line| line.split_whitespace().last()).collect();
    of_ss.sort_unstable();
    assert_eq!(of_ss, expected, "{ss}");
}

#[test]
fn a_unix_client_and_one_that_does_not_read_are_told() {
    let local = ["unix", "unix-seqpacket"];
    let listeners = local.map(|protocol| listener(protocol, protocol, "")).concat();
    let daemon = observed(&(listeners + &listener("it", "tcp", "")));
    let clients = local.map(|protocol| daemon.client(protocol));
    clients.iter().for_each(|client| client.echo(b"hello"));
    let deaf = daemon.client("it");
    deaf.flood(pattern(LONG));
    eventually("both of them", || {
        let output = top(&daemon, &["--once", "-i", "600ms", "-o", "json"], None);
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
        let listed = seen["connections"]["listed"].as_array().unwrap();
        let of = |name: &str| listed.iter().find(|it| it["listener"] == name).cloned().unwrap_or_default();
        let are_open = local.iter().all(|name| of(name)["open"] == true);
        (are_open && of("it")["not-reading"] == true).then_some(())
    });
    drop((clients, deaf));
}

#[test]
fn it_draws_on_a_terminal_and_leaves_that_as_it_was() {
    let daemon = observed(&listener("it", "tcp", ""));
    let client = daemon.client("it");
    client.echo(b"hello");
    let pty = openpty(None, None).unwrap();
    let size = |columns, rows| Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&pty.slave, size(100, 30)).unwrap();
    let before = tcgetattr(&pty.slave).unwrap();
    let of_slave = || Stdio::from(pty.slave.try_clone().unwrap());
    let mut child = Command::new(BINARY)
        .args(["top", "-i", "200ms", "--address"])
        .arg(daemon.path("observe.sock"))
        .env("TERM", "xterm")
        .stdin(of_slave())
        .stdout(of_slave())
        .stderr(of_slave())
        .spawn()
        .unwrap();
    let mut terminal = Terminal { master: File::from(pty.master), text: String::new() };
    terminal.wait("q quits, s sorts (by rate)");
    terminal.wait(&peer(&client));
    assert!(!tcgetattr(&pty.slave).unwrap().local_flags.contains(LocalFlags::ECHO));
    terminal.master.write_all(b"s").unwrap();
    terminal.wait("s sorts (by rtt)");
    // A line that no longer fits is cut.
    tcsetwinsize(&terminal.master, size(40, 10)).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGWINCH)
        .unwrap();
    terminal.text.clear();
    terminal.wait("every 200ms   q quits, s sorts (by rtt)\x1b[K");
    terminal.master.write_all(b"q").unwrap();
    terminal.wait("\x1b[?1049l");
    assert!(child.wait().unwrap().success());
    assert!(
        tcgetattr(&pty.slave).unwrap().local_flags == before.local_flags,
        "the terminal is left without echo"
    );
}

/// The other end of a pseudo terminal.
struct Terminal {
    master: File,
    text: String,
}

impl Terminal {
    /// Reads until this has been drawn. The screen renews itself, so that there is always more to read.
    #[track_caller]
    fn wait(&mut self, wanted: &str) {
        let mut bytes = [0; 4096];
        for _ in 0..2000 {
            if self.text.contains(wanted) {
                return;
            }
            let count = loop {
                match self.master.read(&mut bytes) {
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    count => break count.unwrap(),
                }
            };
            self.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        panic!("no {wanted:?} in {:?}", self.text);
    }
}

#[test]
fn without_a_terminal_it_prints_a_block_for_each_look() {
    let daemon = observed(&listener("it", "tcp", ""));
    let mut child = Command::new(BINARY)
        .args(["top", "-i", "100ms", "--address"])
        .arg(daemon.path("observe.sock"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut text = String::new();
    while text.matches("LISTENER").count() < 4 {
        let mut bytes = [0; 1024];
        let count = out.read(&mut bytes).unwrap();
        assert!(count > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    assert!(!text.contains('\x1b'), "{text}");
    // A reader that has seen enough ends it.
    drop(out);
    assert!(child.wait().unwrap().success());
    let wrong = top(&daemon, &["-o", "json"], None);
    assert_eq!(wrong.status.code(), Some(64));
}
