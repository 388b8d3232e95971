//! Sockets that a service manager bound and passed, see sd_listen_fds(3).

use std::{
    fs,
    os::unix::net::{UnixDatagram, UnixListener},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::TempDir;

use crate::{
    harness::{
        Client, Echod, Endpoint, Launch, Over, eventually, for_each_protocol, has_ipv6, has_python, skipped,
    },
    matrix::classes,
};

/// Sockets as a service manager holds them: the daemon is given copies.
pub(crate) struct Unit {
    pub(crate) socket: Socket,
    pub(crate) endpoint: Endpoint,
    dir: TempDir,
}

impl Unit {
    pub(crate) fn new(protocol: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it.sock");
        let (domain, kind, address) = match protocol {
            "tcp" => (Domain::IPV4, Type::STREAM, inet("127.0.0.1:0")),
            "tcp6" => (Domain::IPV6, Type::STREAM, inet("[::1]:0")),
            "udp" => (Domain::IPV4, Type::DGRAM, inet("127.0.0.1:0")),
            "unix" => (Domain::UNIX, Type::STREAM, SockAddr::unix(&path).unwrap()),
            "unix-seqpacket" => (Domain::UNIX, Type::SEQPACKET, SockAddr::unix(&path).unwrap()),
            _ => (Domain::UNIX, Type::DGRAM, SockAddr::unix(&path).unwrap()),
        };
        let socket = Socket::new(domain, kind, None).unwrap();
        socket.bind(&address).unwrap();
        if kind != Type::DGRAM {
            socket.listen(1024).unwrap();
        }
        let bound = socket.local_addr().unwrap();
        let endpoint = match protocol {
            "tcp" | "tcp6" => Endpoint::Tcp(bound.as_socket().unwrap()),
            "udp" => Endpoint::Udp(bound.as_socket().unwrap()),
            "unix" => Endpoint::Unix(path),
            "unix-seqpacket" => Endpoint::UnixSeqpacket(path),
            _ => Endpoint::UnixDatagram(path),
        };
        Self { socket, endpoint, dir }
    }

    /// How the daemon writes its address.
    pub(crate) fn address(&self) -> String {
        match &self.endpoint {
            Endpoint::Tcp(address) | Endpoint::Udp(address) => address.to_string(),
            Endpoint::Unix(path) | Endpoint::UnixSeqpacket(path) | Endpoint::UnixDatagram(path) => {
                path.display().to_string()
            }
        }
    }
}

fn inet(address: &str) -> SockAddr {
    address.parse::<std::net::SocketAddr>().unwrap().into()
}

/// Who cannot pass descriptors says so.
pub(crate) fn can_pass() -> bool {
    has_python("no socket was passed")
}

/// A listener that has the sockets of this name, whatever its address is.
pub(crate) fn named(name: &str, protocol: &str, more: &str) -> String {
    // This one could not be bound.
    let address = if matches!(protocol, "tcp" | "udp") { "203.0.113.7:9" } else { "/nowhere/it.sock" };
    format!("[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\n{more}\n")
}

const MODES: [(&str, &str); 12] = [
    ("iterative", ""),
    ("threading", ""),
    ("threading", "workers = 2"),
    ("forking", ""),
    ("forking", "workers = 2"),
    ("select", ""),
    ("poll", ""),
    ("epoll", ""),
    ("epoll", "workers = 2"),
    ("io-uring", ""),
    ("io-uring", "workers = 2"),
    ("epoll", "trigger = \"edge\""),
];

for_each_protocol! { passed_sockets_are_served_and_stay }

/// Every kind of socket in every mode: served, left as it was at the end, and served again by the next daemon, with who came
/// in between.
fn passed_sockets_are_served_and_stay(protocol: &str) {
    if !can_pass() {
        return;
    }
    for (mode, workers) in MODES {
        let unit = Unit::new(protocol);
        // The address of the file is a public one: who is to be answered there must be said, or it is warned of.
        let allow = if protocol == "udp" { "allow = \"127.0.0.0/8\"" } else { "" };
        let toml = named("it", protocol, &format!("mode = \"{mode}\"\n{workers}\n{allow}"));
        let start = || Launch::new().config(&toml).pass("it", &unit.socket).start();
        let mut first = start();
        assert_eq!(first.announced[0]["address"].as_str().unwrap(), unit.address());
        Client::connect(&unit.endpoint).echo(b"first");
        first.stop();
        // Nobody serves now, and nobody is refused.
        let waiting = Client::connect(&unit.endpoint);
        waiting.send(b"in between");
        let mut second = start();
        assert_eq!(waiting.receive(b"in between".len()), b"in between", "{protocol} {mode} {workers}");
        drop(waiting);
        Client::connect(&unit.endpoint).echo(b"second");
        second.stop();
        second.expect_no_trouble();
        let file = unit.dir.path().join("it.sock");
        assert_eq!(file.exists(), protocol.starts_with("unix"), "{protocol} {mode}");
    }
}

/// A listener has all sockets of its name; one without a name finds its own by the address.
#[test]
fn sockets_are_matched_by_name_and_then_by_address() {
    if !can_pass() || !has_ipv6() {
        return;
    }
    let (v4, v6, by_address, by_path) =
        (Unit::new("tcp"), Unit::new("tcp6"), Unit::new("udp"), Unit::new("unix"));
    let toml = named("both", "tcp", "")
        + &format!(
            "[[listener]]\nname = \"inet\"\nprotocol = \"udp\"\naddress = [\"{}\", \"127.0.0.1:0\"]\n\
             [[listener]]\nname = \"path\"\nprotocol = \"unix\"\naddress = \"{}\"\n",
            by_address.address(),
            by_path.address()
        );
    let launch = Launch::new().config(&toml).pass("both", &v4.socket).pass("other", &by_path.socket);
    let mut daemon = launch.pass("both", &v6.socket).pass("", &by_address.socket).start();
    for unit in [&v4, &v6, &by_address, &by_path] {
        Client::connect(&unit.endpoint).echo(b"hello");
    }
    assert_eq!(daemon.endpoints("both").len(), 2);
    assert_eq!(daemon.endpoints("inet").len(), 2, "what was not passed is bound");
    daemon.endpoints("inet").iter().for_each(|endpoint| Client::connect(endpoint).echo(b"hello"));
    daemon.stop();
    assert!(by_path.dir.path().join("it.sock").exists());
}

#[test]
fn what_nobody_wants_is_told() {
    if !can_pass() {
        return;
    }
    let (wanted, stranger, wrong_kind) = (Unit::new("tcp"), Unit::new("tcp"), Unit::new("udp"));
    let connection = std::os::unix::net::UnixStream::pair().unwrap().0;
    let file = fs::File::open("/dev/null").unwrap();
    let launch = Launch::new().config(&named("it", "tcp", "")).pass("it", &wanted.socket);
    let launch = launch.pass("stranger", &stranger.socket).pass("it", &wrong_kind.socket);
    let mut daemon = launch.pass("connection", &connection).pass("file", &file).start();
    Client::connect(&wanted.endpoint).echo(b"hello");
    for words in [
        format!(
            "nobody serves the passed socket \"stranger\" (tcp://{}), and its clients",
            stranger.address()
        ),
        format!("nobody serves the passed socket \"it\" (udp://{}), and what comes", wrong_kind.address()),
        "closed the passed descriptor \"connection\": it does not listen".to_owned(),
        "closed the passed descriptor \"file\": it is no socket".to_owned(),
    ] {
        daemon.wait_log(|line| line.contains(" WARN ") && line.contains(&words));
    }
    daemon.stop();
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    if !can_pass() {
        return;
    }
    let unit = Unit::new("tcp");
    let launch = Launch::new().config(&named("it", "tcp", "").replace("203.0.113.7:9", "127.0.0.1:0"));
    let mut daemon = launch.pass("it", &unit.socket).meant_for("1").start();
    assert_ne!(daemon.announced[0]["address"].as_str().unwrap(), unit.address());
    daemon.client("it").echo(b"hello");
    daemon.stop();
}

/// A number that is not open is told, and nothing else is taken for it.
#[test]
fn fewer_descriptors_than_announced_are_told() {
    let script = "LISTEN_FDS=2 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let mut daemon = Launch::new().args(&["-l", "tcp://127.0.0.1:0?name=it"]).shell(script).start();
    daemon.wait_log(|line| line.contains("cannot use the passed descriptor"));
    daemon.client("it").echo(b"hello");
    daemon.stop();
}

/// The last request of `max-requests` ends the daemon; its socket goes on.
#[test]
fn an_exhausted_listener_does_not_shut_a_passed_socket_down() {
    if !can_pass() {
        return;
    }
    for class in classes().into_iter().filter(|class| matches!(class.protocol, "tcp" | "unix")) {
        let unit = Unit::new(class.protocol);
        let toml = named("it", class.protocol, &format!("mode = \"{}\"\nmax-requests = 1", class.mode));
        for _ in 0..2 {
            let mut daemon = Launch::new().config(&toml).pass("it", &unit.socket).start();
            Client::connect(&unit.endpoint).echo(b"the only one");
            daemon.expect_success();
        }
        Client::connect(&unit.endpoint);
    }
}

#[test]
fn an_idle_daemon_leaves_and_the_next_client_starts_another() {
    if !can_pass() {
        return;
    }
    let unit = Unit::new("tcp");
    let toml = format!("[daemon]\nexit-idle-time = \"100ms\"\n{}", named("it", "tcp", ""));
    for _ in 0..3 {
        let client = Client::connect(&unit.endpoint);
        let mut daemon = Launch::new().config(&toml).pass("it", &unit.socket).start();
        client.echo(b"on demand");
        drop(client);
        daemon.expect_success();
    }
}

/// Who waits at a socket is somebody, though nobody has looked at him yet.
#[test]
fn nobody_is_left_waiting_by_an_idle_end() {
    let listener =
        "[[listener]]\nname = \"it\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\nmode = \"forking\"\n";
    let mut daemon = Echod::start(&format!("[daemon]\nexit-idle-time = \"2s\"\n{listener}"));
    let process = daemon.children()[0];
    crate::robustness::survival::signal_process(process, Signal::SIGSTOP);
    let client = daemon.client("it");
    assert!(client.hears_nothing_for(Duration::from_secs(3)));
    let log = daemon.log();
    assert!(!log.contains("nothing to do"), "{log}");
    crate::robustness::survival::signal_process(process, Signal::SIGCONT);
    client.echo(b"not idle at all");
    drop(client);
    daemon.expect_success();
}

/// Five restarts while clients keep coming: each connects and is answered, or ended politely by a daemon that stops.
#[test]
fn no_connection_is_refused_across_restarts() {
    if !can_pass() {
        return;
    }
    let unit = Unit::new("tcp");
    let over = AtomicBool::new(false);
    let served = thread::scope(|scope| {
        let _over = Over(&over);
        let load = || {
            let mut served = 0;
            while !over.load(Relaxed) {
                // Panics if it is refused, or if nothing is heard in time.
                let client = Client::connect(&unit.endpoint);
                client.send(b"hello");
                let mut answer = [0; 5];
                match client.read(&mut answer) {
                    Ok(5) => served += 1,
                    // Accepted by a daemon that was told to stop before the request came.
                    Ok(0) => {}
                    other => panic!("{other:?} {answer:?}"),
                }
            }
            served
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        for mode in ["epoll", "threading", "forking", "iterative", "poll"] {
            let toml = named("it", "tcp", &format!("mode = \"{mode}\""));
            let mut daemon = Launch::new().config(&toml).pass("it", &unit.socket).start();
            let before = daemon.state("it")["served"];
            daemon.wait_state("it", |state| state["served"] > before + 20);
            daemon.stop();
        }
        let mut last = Launch::new().config(&named("it", "tcp", "")).pass("it", &unit.socket).start();
        over.store(true, Relaxed);
        let served: u32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        last.stop();
        served
    });
    assert!(served > 100, "only {served} were served");
}

/// The real thing, as far as it goes without a booted system.
#[test]
fn systemd_socket_activate_starts_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("it.sock"), dir.path().join("echod.toml"));
    fs::write(&file, named("it", "unix", "mode = \"threading\"")).unwrap();
    let started = Command::new("systemd-socket-activate")
        .args(["--fdname=it", "-l"])
        .arg(&path)
        .arg(env!("CARGO_BIN_EXE_echod"))
        .arg("--config")
        .arg(&file)
        .current_dir(dir.path())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut process) = started else {
        skipped("systemd-socket-activate is not installed");
        return;
    };
    // Bound, its file is there; but clients are let in only once it listens.
    let first = eventually("the socket", || Client::try_connect(&Endpoint::Unix(path.clone())).ok());
    first.echo(b"the first client starts it");
    drop(first);
    Client::connect(&Endpoint::Unix(path.clone())).echo(b"and is not the last");
    crate::robustness::survival::signal_process(process.id().try_into().unwrap(), Signal::SIGTERM);
    assert!(process.wait().unwrap().success());
    assert!(path.exists());
}

/// What an unrelated daemon of the suite, started without any of this, must not do.
#[test]
fn our_own_sockets_are_still_refused_and_removed() {
    let mut daemon =
        Echod::start("[[listener]]\nname = \"it\"\nprotocol = \"unix\"\naddress = \"it.sock\"\n");
    let path = daemon.path("it.sock");
    assert!(UnixListener::bind(&path).is_err() && UnixDatagram::bind(&path).is_err());
    daemon.stop();
    assert!(!path.exists());
}
