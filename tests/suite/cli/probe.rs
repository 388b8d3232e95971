//! `--probe`: what it says about listeners of every kind, and about those that do not echo.

use std::{
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    os::unix::net::UnixDatagram,
    thread,
};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::harness::{Echod, Endpoint, Finished, Launch, other_loopback};

pub(crate) fn probe(url: &str) -> Finished {
    Launch::new().args(&["--probe", url]).run()
}

/// The URL of a listener, with an absolute path.
pub(crate) fn url(echod: &Echod, name: &str) -> String {
    match echod.endpoint(name) {
        Endpoint::Tcp(address) => format!("tcp://{address}"),
        Endpoint::Udp(address) => format!("udp://{address}"),
        Endpoint::Unix(path) => format!("unix:{}", path.display()).replace('\0', "@"),
        Endpoint::UnixSeqpacket(path) => format!("unix-seqpacket:{}", path.display()).replace('\0', "@"),
        Endpoint::UnixDatagram(path) => format!("unix-datagram:{}", path.display()).replace('\0', "@"),
    }
}

#[track_caller]
fn comes_back(url: &str) {
    let told = probe(url);
    told.expect(0, &[]);
    assert_eq!(told.stderr, "");
    let time = told.stdout.strip_prefix(&format!("{url}: 29 bytes came back after "));
    assert!(time.is_some_and(is_time), "{}", told.stdout);
}

/// As the log tells one: `49.300us`.
fn is_time(line: &str) -> bool {
    let parts =
        line.trim_end().split_once('.').and_then(|(whole, rest)| Some((whole, rest.split_at_checked(3)?)));
    parts.is_some_and(|(whole, (thousandths, unit))| {
        whole.parse::<u64>().is_ok()
            && thousandths.parse::<u64>().is_ok()
            && ["us", "ms", "s"].contains(&unit)
    })
}

#[track_caller]
fn does_not(url: &str, words: &[&str]) {
    let told = probe(url);
    told.expect(69, words);
    assert!(told.stderr.starts_with(&format!("echod: cannot probe {url}: ")), "{}", told.stderr);
    assert_eq!(told.stdout, "");
}

#[test]
fn an_echo_of_any_protocol_and_mode_is_well() {
    let own = format!("@echod-probe-{}", std::process::id());
    let datagram = format!("{own}-datagram");
    for mode in ["iterative", "threading", "forking", "select", "poll", "epoll"] {
        let listeners = [
            ("tcp", "tcp", "127.0.0.1:0"),
            ("udp", "udp", &format!("{}:0", other_loopback())),
            ("unix", "unix", "it.sock"),
            ("unix-seqpacket", "unix-seqpacket", "seqpacket.sock"),
            ("unix-datagram", "unix-datagram", "datagram.sock"),
            ("abstract", "unix", &own),
            ("abstract-datagram", "unix-datagram", &datagram),
        ];
        let listeners = listeners.map(|(name, protocol, address)| {
            format!("[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\nmode = \"{mode}\"\n")
        });
        let echod = Echod::start(&listeners.concat());
        for name in ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram", "abstract", "abstract-datagram"]
        {
            comes_back(&url(&echod, name));
        }
    }
}

/// whoami says who asks. To a datagram it does so only if it is long enough, so a probe that hears nothing sends a longer one.
#[test]
fn whoami_is_well_too() {
    let own = format!("@echod-probe-whoami-{}", std::process::id());
    let echod = Echod::with_args(&[
        "-l",
        "tcp://127.0.0.1:0?name=tcp&service=whoami",
        "-l",
        "udp://127.0.0.1:0?name=udp&service=whoami",
        "-l",
        "unix:it.sock?name=unix&service=whoami",
        "-l",
        &format!("unix-datagram:{own}?name=unix-datagram&service=whoami"),
    ]);
    thread::scope(|scope| {
        for name in ["tcp", "udp", "unix", "unix-datagram"] {
            let url = url(&echod, name);
            scope.spawn(move || {
                let told = probe(&url);
                told.expect(0, &[]);
                let time = told.stdout.strip_prefix(&format!("{url}: whoami answered after "));
                assert!(time.is_some_and(is_time), "{}", told.stdout);
            });
        }
    });
}

/// `localhost` may be [::1] first.
#[test]
fn one_address_of_a_name_is_enough() {
    let echod = Echod::with_args(&["-l", "tcp://127.0.0.1:0?name=it"]);
    let told = probe(&format!("tcp://localhost:{}", echod.port("it")));
    told.expect(0, &[]);
    assert!(told.stdout.starts_with(&format!("tcp://127.0.0.1:{}: ", echod.port("it"))), "{}", told.stdout);
}

#[test]
fn nobody_there_is_told() {
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let urls =
        [format!("tcp://{}", tcp.local_addr().unwrap()), format!("udp://{}", udp.local_addr().unwrap())];
    drop((tcp, udp));
    urls.iter().for_each(|url| does_not(url, &["connection refused; `echod --check` says"]));
    does_not("unix:nothing.sock", &["no such file or directory"]);
    does_not("unix-datagram:@echod-probe-nobody", &["connection refused"]);
}

/// Whoever takes a message and says nothing is given two seconds; all at once here.
/// It may be its own fault: who comes from elsewhere is served.
#[test]
fn whoever_is_refused_is_told_how_to_ask_why() {
    let user = nix::unistd::geteuid();
    let echod = Echod::with_args(&[
        "-l",
        "tcp://127.0.0.1:0?name=tcp&allow=192.0.2.0/24",
        "-l",
        "udp://127.0.0.1:0?name=udp&deny=127.0.0.0/8",
        "-l",
        "unix:it.sock?name=unix&allow-users=4711",
        "-l",
        "tcp://127.0.0.1:0?name=full&max-connections=1&when-full=refuse",
    ]);
    let _there = echod.client("full");
    thread::scope(|scope| {
        for (name, source) in [
            ("tcp", "127.0.0.1".to_owned()),
            ("udp", "127.0.0.1".to_owned()),
            ("unix", user.to_string()),
            ("full", "127.0.0.1".to_owned()),
        ] {
            let url = url(&echod, name);
            let command = format!("refuses you: `echod explain --listener NAME --from {source}`");
            scope.spawn(move || does_not(&url, &[&command]));
        }
    });
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = probe(&format!("tcp://{nobody}"));
    assert!(!told.stderr.contains("explain"), "{}", told.stderr);
}

#[test]
fn silence_is_told() {
    let echod = Echod::with_args(&[
        "-l",
        "tcp://127.0.0.1:0?name=tcp&service=discard",
        "-l",
        "udp://127.0.0.1:0?name=udp&service=discard",
        "-l",
        "unix:it.sock?name=unix&service=discard",
        "-l",
        "unix-seqpacket:records.sock?name=unix-seqpacket&service=discard",
        "-l",
        "unix-datagram:datagram.sock?name=unix-datagram&service=discard",
    ]);
    thread::scope(|scope| {
        for name in ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"] {
            let url = url(&echod, name);
            scope.spawn(move || does_not(&url, &["no answer within 2s; a probe wants an echo"]));
        }
    });
}

#[test]
fn another_answer_is_told() {
    let echod = Echod::with_args(&[
        "-l",
        "tcp://127.0.0.1:0?name=tcp&service=upper",
        "-l",
        "udp://127.0.0.1:0?name=udp&service=upper",
        "-l",
        "unix:it.sock?name=unix&service=chargen",
        "-l",
        "unix-datagram:datagram.sock?name=unix-datagram&service=chargen",
    ]);
    for name in ["tcp", "udp"] {
        does_not(&url(&echod, name), &["it answered \"ECHOD PROBE ", "no service but `echo`"]);
    }
    for name in ["unix", "unix-datagram"] {
        does_not(&url(&echod, name), &["it answered \" !\\\"#$%&\\'()*+", "no service but `echo`"]);
    }
}

/// A datagram is an answer as a whole, even if it begins with the message.
#[test]
fn more_than_was_sent_is_another_answer() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("udp://{}", server.local_addr().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut message = [0; 100];
            let (length, client) = server.recv_from(&mut message).unwrap();
            server.send_to(&message[..length + 1], client).unwrap();
        });
        does_not(&url, &["it answered \"echod probe ", "\\n\\x00\""]);
    });
}

#[test]
fn half_an_answer_is_told() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", server.local_addr().unwrap());
    let half = || {
        let mut client = server.accept().unwrap().0;
        let mut message = [0; 29];
        client.read_exact(&mut message).unwrap();
        client.write_all(&message[..10]).unwrap();
        client
    };
    thread::scope(|scope| {
        // Closed at once, then kept until the probe has lost its patience.
        scope.spawn(|| {
            drop(half());
            let mut client = half();
            assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        });
        does_not(&url, &["closed after 10 bytes of the answer"]);
        does_not(&url, &["only 10 bytes came back within 2s"]);
    });
}

/// A TCP listener with as many clients as it wants does not answer the next; a unix one lets it wait, and says why.
#[test]
fn a_full_queue_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("full.sock");
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    let full = [SockAddr::from(any), SockAddr::unix(&path).unwrap()].map(|address| {
        let socket = || Socket::new(Domain::from(i32::from(address.family())), Type::STREAM, None).unwrap();
        let (server, client) = (socket(), socket());
        server.bind(&address).unwrap();
        server.listen(0).unwrap();
        client.connect(&server.local_addr().unwrap()).unwrap();
        (server, client)
    });
    let port = full[0].0.local_addr().unwrap().as_socket().unwrap().port();
    thread::scope(|scope| {
        scope.spawn(|| does_not(&format!("tcp://127.0.0.1:{port}"), &["no answer within 2s"]));
        does_not(&format!("unix:{}", path.display()), &["its queue was full for 2s"]);
    });
}

#[test]
fn a_file_that_is_no_socket_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "").unwrap();
    does_not(&format!("unix:{}", path.display()), &["connection refused"]);
    let datagram = dir.path().join("datagram.sock");
    let _server = UnixDatagram::bind(&datagram).unwrap();
    does_not(&format!("unix:{}", datagram.display()), &["protocol wrong type for socket"]);
}

#[test]
fn what_cannot_be_asked_is_told() {
    for (url, code, words) in [
        ("tcp://127.0.0.1:0", 64, "a probe goes to one port"),
        ("udp://127.0.0.1:7-9", 64, "a probe goes to one port"),
        ("tcp://127.0.0.1:7?service=upper", 64, "take it out"),
        ("tcpp://127.0.0.1:7", 64, " --> --probe:1:1"),
        ("127.0.0.1", 64, "did you mean `tcp://127.0.0.1:7777`"),
        ("tcp://localhost", 64, "a port is missing"),
        ("udp://[fe80::1]:7", 64, "add the interface"),
    ] {
        probe(url).expect(code, &[words]);
    }
    Launch::new()
        .args(&["--probe", "tcp://127.0.0.1:7", "--check"])
        .run()
        .expect(64, &["cannot be used with"]);
}
