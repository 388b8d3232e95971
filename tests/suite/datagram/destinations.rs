//! Answers leave from the address that was asked, also where the socket was made by somebody else, and where an address is local by
//! a route alone.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsFd,
};

use nix::sys::socket::{TimestampingFlag, setsockopt, sockopt};

use crate::harness::{
    Client, Echod, Endpoint, Launch, Patient, can_be_had, has_mode, has_python,
    netns::{Forger, in_namespace},
};

const MODES: [(&str, &str); 9] = [
    ("iterative", ""),
    ("threading", ""),
    ("forking", ""),
    ("forking", "workers = \"per-request\""),
    ("select", ""),
    ("poll", ""),
    ("epoll", ""),
    ("epoll", "trigger = \"edge\""),
    ("io-uring", ""),
];

/// An interface with a broadcast address.
const NETWORK: &str = "ip link add v0 type veth peer name v1 && ip address add 192.0.2.1/24 brd + dev v0 && \
                       ip link set v0 up";

/// A socket as a service manager makes it, at all addresses.
fn wildcard(address: &str) -> UdpSocket {
    UdpSocket::bind((address.parse::<IpAddr>().unwrap(), 0)).unwrap()
}

fn at(ip: &str, socket: &UdpSocket) -> Endpoint {
    Endpoint::Udp(SocketAddr::new(ip.parse().unwrap(), socket.local_addr().unwrap().port()))
}

/// A daemon that is passed this socket. Its own address is not bound, and a public one: who is to be answered is said.
fn passed(socket: &impl AsFd, mode: &str, more: &str) -> Echod {
    let toml = format!(
        "[[listener]]\nname = \"it\"\nprotocol = \"udp\"\naddress = \"203.0.113.7:9\"\nmode = \"{mode}\"\n{more}\n\
         allow = [\"127.0.0.0/8\", \"::1\", \"192.0.2.0/24\"]\n"
    );
    Launch::new().config(&toml).pass("it", socket).start()
}

/// The kernel notes which address was asked only once somebody wants to know.
#[test]
fn what_waited_in_a_passed_socket_is_answered_from_there() {
    if !has_python("no socket was passed") {
        return;
    }
    for (mode, more) in MODES {
        for (bound, asked) in
            [("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "127.0.0.5"), ("::", "::1"), ("::", "127.0.0.5")]
        {
            if !can_be_had(&format!("[{bound}")) || !has_mode(mode) {
                continue;
            }
            let socket = wildcard(bound);
            // It takes nothing from anywhere else.
            let client = Client::connect(&at(asked, &socket));
            client.send(b"before");
            let mut daemon = passed(&socket, mode, more);
            assert_eq!(client.receive(0), b"before", "{mode} {more} {bound} {asked}");
            client.echo(b"after");
            daemon.stop();
        }
    }
}

#[test]
fn what_was_broadcast_before_the_start_is_not_answered() {
    if !has_python("no socket was passed") {
        return;
    }
    in_namespace(NETWORK, || {
        let socket = wildcard("0.0.0.0");
        let client = Patient::udp("192.0.2.1:0");
        client.set_broadcast(true).unwrap();
        for asked in ["192.0.2.255", "192.0.2.1"] {
            client.send_to(asked.as_bytes(), at(asked, &socket).inet()).unwrap();
        }
        let daemon = passed(&socket, "epoll", "");
        let mut buffer = [0; 16];
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"192.0.2.1");
        daemon.wait_state("it", |state| state["destination-address"] == 1 && state["served"] == 1);
    });
}

/// What a unit asks the kernel to tell of each datagram (`Timestamping=`, `PassPacketInfo=` and the like) cannot be sent with an
/// answer.
#[test]
fn what_else_a_passed_socket_tells_does_not_keep_answers_back() {
    if !has_python("no socket was passed") {
        return;
    }
    for (bound, asked) in [("0.0.0.0", "127.0.0.5"), ("::", "::1"), ("::", "127.0.0.5")] {
        if !can_be_had(&format!("[{bound}")) {
            continue;
        }
        for (mode, more) in MODES.into_iter().filter(|(mode, _)| has_mode(mode)) {
            let socket = wildcard(bound);
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true).unwrap();
            let stamps =
                TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
            setsockopt(&socket, sockopt::Timestamping, &stamps).unwrap();
            setsockopt(&socket, sockopt::RxqOvfl, &1).unwrap();
            setsockopt(&socket, sockopt::Ipv4OrigDstAddr, &true).unwrap();
            let client = Client::connect(&at(asked, &socket));
            client.send(b"before");
            let mut daemon = passed(&socket, mode, more);
            assert_eq!(client.receive(0), b"before", "{mode} {more} {bound} {asked}");
            // Several at once may be answered as one.
            (0..8).for_each(|_| client.send(b"after"));
            (0..8).for_each(|_| assert_eq!(client.receive(0), b"after", "{mode} {more} {bound} {asked}"));
            assert_eq!(daemon.state("it")["errors"], 0);
            daemon.stop();
        }
    }
}

fn inetd(socket: &UdpSocket) {
    let launch = Launch::new().args(&["--inetd"]).stdin(socket.try_clone().unwrap().into());
    launch.run().expect(0, &[]);
}

/// On standard input a socket is under the same rules as one of a listener.
#[test]
fn inetd_answers_from_the_address_that_was_asked() {
    for (bound, asked) in [("0.0.0.0", "127.0.0.5"), ("::", "::1"), ("::", "127.0.0.5")] {
        if !can_be_had(&format!("[{bound}")) {
            continue;
        }
        let socket = wildcard(bound);
        let client = Client::connect(&at(asked, &socket));
        for text in [b"one", b"two"] {
            client.send(text);
            inetd(&socket);
            assert_eq!(client.receive(0), text, "{bound} {asked}");
        }
    }
}

#[test]
fn inetd_does_not_answer_a_broadcast() {
    in_namespace(NETWORK, || {
        let socket = wildcard("0.0.0.0");
        let client = UdpSocket::bind("192.0.2.1:0").unwrap();
        client.set_broadcast(true).unwrap();
        client.set_nonblocking(true).unwrap();
        // The second time it is known beforehand where they were sent to.
        for _ in 0..2 {
            for asked in ["192.0.2.255", "192.0.2.1"] {
                client.send_to(asked.as_bytes(), at(asked, &socket).inet()).unwrap();
            }
            inetd(&socket);
            let mut buffer = [0; 16];
            let length = client.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"192.0.2.1");
            client.recv(&mut buffer).unwrap_err();
        }
    });
}

/// Whole networks, as load balancers have them (AnyIP).
#[test]
fn an_address_that_is_local_by_a_route_answers() {
    let setup = "ip route add local 198.51.100.0/24 dev lo && ip -6 route add local 2001:db8::/64 dev lo";
    in_namespace(setup, || {
        for (mode, more) in MODES.into_iter().filter(|(mode, _)| has_mode(mode)) {
            for protocol in ["udp", "tcp"] {
                let toml = format!(
                    "[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = \"[::]:0\"\nmode = \"{mode}\"\n{more}\n"
                );
                if protocol == "tcp" && more.contains("per-request") {
                    continue;
                }
                let daemon = Echod::start(&toml);
                for asked in ["2001:db8::77", "2001:db8::78", "198.51.100.77", "::1", "127.0.0.1"] {
                    let mut endpoint = daemon.endpoint("it");
                    endpoint.set_ip(asked.parse().unwrap());
                    Client::connect(&endpoint).echo(asked.as_bytes());
                }
                assert_eq!(daemon.state("it")["errors"], 0);
            }
        }
    });
}

#[test]
fn an_answer_that_cannot_be_sent_is_told_with_the_reason() {
    // The forger's packets come in by loopback, and no route leads back.
    in_namespace(
        "ip route add local 192.0.2.0/24 dev lo && sysctl -qw net.ipv4.conf.all.rp_filter=0",
        || {
            let daemon =
                Echod::start("[[listener]]\nname = \"it\"\nprotocol = \"udp\"\naddress = \"127.0.0.1:0\"\n");
            let forger = Forger::new();
            for _ in 0..20 {
                forger.send("203.0.113.9:4000", daemon.endpoint("it").inet(), b"hello");
            }
            daemon.client("it").echo(b"hello");
            daemon.wait_state("it", |state| state["unreachable"] + state["errors"] == 20);
            daemon.wait_lines(1, |line| line.contains(" WARN ") && line.contains("cannot send"));
        },
    );
}
