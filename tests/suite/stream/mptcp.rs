//! Connections of MPTCP: the kernel counts them, in a network of the test's own.

use std::{fs, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::{
    Client, Echod, Endpoint, Launch, PATIENCE, can_be_had, has_mode, has_python,
    netns::{in_namespace, sh},
    pattern, skipped, uninterrupted,
};

const MODES: [&str; 7] = ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"];

fn client(to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::MPTCP)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    uninterrupted(|| socket.connect(&to.into())).unwrap();
    socket
}

fn echo(socket: &Socket) {
    let sent = pattern(40_000);
    std::io::Write::write_all(&mut &*socket, sent).unwrap();
    let mut received = vec![0; sent.len()];
    std::io::Read::read_exact(&mut &*socket, &mut received).unwrap();
    assert!(received == sent);
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(uninterrupted(|| std::io::Read::read(&mut &*socket, &mut received)).unwrap(), 0);
}

/// How many connections of MPTCP were accepted in this network.
fn accepted() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("MPTcpExt: "));
    let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "MPCapableACKRX").unwrap();
    numbers.split(' ').nth(at).unwrap().parse().unwrap()
}

/// Runs `test` where the kernel has MPTCP.
fn with_mptcp(test: impl FnOnce() + Send + 'static) {
    in_namespace("true", || match Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)) {
        Ok(_) => test(),
        Err(error) => skipped(format_args!("there is no MPTCP here ({error})")),
    });
}

fn toml(mode: &str, address: &str, keys: &str) -> String {
    format!(
        "[[listener]]\nname = \"it\"\nprotocol = \"tcp\"\naddress = \"{address}\"\nmode = \"{mode}\"\n{keys}\n"
    )
}

#[test]
fn clients_with_and_without_it_are_served_by_every_mode_and_reloaded() {
    with_mptcp(|| {
        for mode in MODES.into_iter().filter(|mode| has_mode(mode)) {
            for (bound, asked) in [("127.0.0.1", "127.0.0.1"), ("[::]", "127.0.0.1"), ("[::]", "::1")] {
                if !can_be_had(bound) {
                    continue;
                }
                let mut daemon = Echod::start(&toml(mode, &format!("{bound}:7001"), "mptcp = true"));
                let to = SocketAddr::new(asked.parse().unwrap(), 7001);
                let before = accepted();
                echo(&client(to));
                Client::connect(&Endpoint::Tcp(to)).echo(b"hello");
                assert_eq!(accepted(), before + 1, "{mode} {bound} {asked}");
                // Options of the socket are set and taken back.
                for keys in
                    ["mptcp = true\nreceive-buffer = 65536\nkeepalive = \"60s\"", "mptcp = true\nbacklog = 9"]
                {
                    daemon.reload(&toml(mode, &format!("{bound}:7001"), keys));
                    echo(&client(to));
                }
                assert_eq!(accepted(), before + 3, "{mode} {bound} {asked}\n{}", daemon.log());
                // It is bound anew as one of TCP, and once more.
                daemon.reload(&toml(mode, &format!("{bound}:7001"), ""));
                echo(&client(to));
                assert_eq!(accepted(), before + 3, "{mode} {bound} {asked}\n{}", daemon.log());
                daemon.reload(&toml(mode, &format!("{bound}:7001"), "mptcp = true"));
                echo(&client(to));
                assert_eq!(accepted(), before + 4, "{mode} {bound} {asked}\n{}", daemon.log());
                assert!(!daemon.log().contains("mptcp"), "{}", daemon.log());
                daemon.stop();
            }
        }
    });
}

/// Without MPTCP there is a warning, and TCP.
#[test]
fn where_there_is_none_tcp_takes_its_place() {
    with_mptcp(|| {
        if let Err(told) = sh("echo 0 > /proc/sys/net/mptcp/enabled") {
            return skipped(told);
        }
        let toml = toml("epoll", "127.0.0.1:7001", "mptcp = true");
        let mut daemon = Echod::start(&toml);
        let warning =
            "listener \"it\": tcp://127.0.0.1:7001 is served over TCP alone: this kernel has no MPTCP";
        assert!(daemon.log().contains(warning), "{}", daemon.log());
        daemon.client("it").echo(b"hello");
        // The socket stays: there is no better one.
        daemon.reload(&(toml.clone() + "backlog = 5\n"));
        daemon.client("it").echo(b"hello");
        sh("echo 1 > /proc/sys/net/mptcp/enabled").unwrap();
        daemon.reload(&toml);
        let before = accepted();
        echo(&client(([127, 0, 0, 1], 7001).into()));
        assert_eq!(accepted(), before + 1, "{}", daemon.log());
        daemon.stop();
    });
}

/// A socket unit decides for itself.
#[test]
fn a_passed_socket_is_taken_as_it_is() {
    if !has_python("no socket was passed") {
        return;
    }
    with_mptcp(|| {
        // A port for each: what a connection leaves behind may keep it for a while.
        for (port, protocol, key, warned) in [
            (7001, Some(Protocol::MPTCP), "", false),
            (7002, Some(Protocol::MPTCP), "mptcp = true", false),
            (7003, None, "mptcp = true", true),
        ] {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let socket = Socket::new(Domain::IPV4, Type::STREAM, protocol).unwrap();
            socket.bind(&address.into()).unwrap();
            socket.listen(9).unwrap();
            let before = accepted();
            let mut daemon =
                Launch::new().config(&toml("epoll", &address.to_string(), key)).pass("it", &socket).start();
            echo(&client(address));
            assert_eq!(accepted() - before, u64::from(protocol.is_some()), "{key}");
            assert_eq!(daemon.log().contains("SocketProtocol=mptcp"), warned, "{}", daemon.log());
            daemon.stop();
        }
    });
}
