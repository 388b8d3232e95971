//! What the IP header of answers says: how far they go, and how routers are to treat them. Read from what passes the interface.

use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Socket, Type};

use crate::harness::{
    Echod, PATIENCE, can_be_had, has_mode,
    netns::{Capture, Packet, in_namespace},
    uninterrupted,
};

const MODES: [&str; 9] = [
    "\"iterative\"",
    "\"threading\"",
    "\"threading\"\nworkers = \"per-request\"",
    "\"forking\"",
    "\"forking\"\nworkers = \"per-request\"",
    "\"select\"",
    "\"poll\"",
    "\"epoll\"",
    "\"io-uring\"",
];

/// Where a listener is bound, and where it is asked.
const WAYS: [(&str, &str); 5] = [
    ("127.0.0.1", "127.0.0.1"),
    ("0.0.0.0", "127.0.0.1"),
    ("[::1]", "::1"),
    ("[::]", "::1"),
    ("[::]", "127.0.0.1"),
];

/// Two values, with and without ECN bits of a datagram, and none.
const TOS: [u8; 5] = [46 << 2, 46 << 2 | 1, 10 << 2 | 2, 0, 63 << 2];

/// The packets that carried the answers to requests with these types of service. Each request is its own type of service, many times.
fn answers(capture: &Capture, protocol: &str, to: SocketAddr, requests: &[u8]) -> Vec<Packet> {
    let mut buffer = [0_u8; 100];
    let socket = |tos: u8| {
        let kind = if protocol == "tcp" { Type::STREAM } else { Type::DGRAM };
        let socket = Socket::new(Domain::for_address(to), kind, None).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        set_tos(&socket, to, tos);
        uninterrupted(|| socket.connect(&to.into())).unwrap();
        socket
    };
    capture.packets();
    if protocol == "tcp" {
        for &tos in requests {
            let socket = socket(tos);
            std::io::Write::write_all(&mut &socket, &[tos; 100]).unwrap();
            std::io::Read::read_exact(&mut &socket, &mut buffer).unwrap();
            assert_eq!(buffer, [tos; 100]);
        }
    } else {
        // Those that come at once are answered together.
        let socket = socket(0);
        for &tos in requests {
            set_tos(&socket, to, tos);
            assert_eq!(socket.send(&[tos; 100]).unwrap(), 100);
        }
        for _ in requests {
            assert_eq!(uninterrupted(|| std::io::Read::read(&mut &socket, &mut buffer)).unwrap(), 100);
        }
    }
    let mut packets = capture.packets();
    packets.retain(|packet| packet.from_port == to.port() && !packet.payload.is_empty());
    assert!(
        !packets.is_empty() && packets.iter().all(|packet| packet.is_ipv6 == to.is_ipv6()),
        "{packets:?}"
    );
    packets
}

fn set_tos(socket: &Socket, to: SocketAddr, tos: u8) {
    match to.is_ipv6() {
        true => socket.set_tclass_v6(tos.into()).unwrap(),
        false => socket.set_tos_v4(tos.into()).unwrap(),
    }
}

/// Does `check` with a listener of each mode on each way, of `protocol` and with `keys`.
fn each_way(
    protocol: &'static str,
    keys: &'static str,
    check: impl Fn(&Echod, &Capture, SocketAddr, &str) + Send + 'static,
) {
    in_namespace("true", move || {
        let capture = Capture::new();
        for mode in MODES.into_iter().filter(|mode| has_mode(mode.trim_matches('"'))) {
            for (bound, asked) in WAYS.into_iter().filter(|(bound, _)| can_be_had(bound)) {
                let toml = format!(
                    "[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = \"{bound}:0\"\nmode = {mode}\n"
                );
                let daemon = Echod::start(&format!("{toml}{keys}\n"));
                let to = SocketAddr::new(asked.parse::<IpAddr>().unwrap(), daemon.port("it"));
                check(&daemon, &capture, to, &toml);
            }
        }
    });
}

fn have(packets: &[Packet], ttl: u8, tos: u8, toml: &str) {
    assert!(
        packets.iter().all(|packet| (packet.ttl, packet.tos) == (ttl, tos)),
        "{toml}: not {ttl} {tos}: {packets:?}"
    );
}

/// A reload sets and takes back both.
fn as_written(protocol: &'static str) {
    each_way(protocol, "dscp = \"EF\"\nttl = 7", move |daemon, capture, to, toml| {
        have(&answers(capture, protocol, to, &[0, 0x28]), 7, 46 << 2, toml);
        daemon.reload(toml);
        let to = SocketAddr::new(to.ip(), daemon.port("it"));
        have(&answers(capture, protocol, to, &[0, 0x28]), 64, 0, toml);
        daemon.reload(&format!("{toml}dscp = 63\nttl = 255\n"));
        have(&answers(capture, protocol, to, &[0, 0x28]), 255, 63 << 2, toml);
    });
}

/// Each answer has what its request has.
fn reflected(protocol: &'static str) {
    // The ECN bits of a connection belong to the kernels of both ends.
    let mask = if protocol == "tcp" { 0xfc } else { 0xff };
    each_way(protocol, "dscp = \"reflect\"", move |daemon, capture, to, toml| {
        let requests: Vec<u8> = TOS.iter().flat_map(|&tos| [tos, tos]).chain(TOS).collect();
        let check = |to: SocketAddr, toml: &str| {
            for packet in answers(capture, protocol, to, &requests) {
                assert_eq!(packet.ttl, 64, "{toml}");
                let expected = packet.tos;
                assert!(packet.payload.iter().all(|tos| tos & mask == expected), "{toml}: {packet:?}");
            }
        };
        check(to, toml);
        daemon.reload(toml);
        let to = SocketAddr::new(to.ip(), daemon.port("it"));
        have(&answers(capture, protocol, to, &requests), 64, 0, toml);
        daemon.reload(&format!("{toml}dscp = \"reflect\"\n"));
        check(to, toml);
    });
}

crate::harness::for_each_inet_protocol! { as_written reflected }
