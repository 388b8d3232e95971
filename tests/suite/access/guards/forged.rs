//! Datagrams that only a forger sends.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use crate::{
    access::lists::datagrams,
    harness::{
        Echod, Patient,
        netns::{Forger, in_namespace},
        proc,
    },
};

/// An interface with a broadcast address. The other end of the cable is not up, so that nothing comes back.
const NETWORK: &str = "ip link add v0 type veth peer name v1 && ip address add 192.0.2.1/24 brd + dev v0 && \
                       ip link set v0 up && ip route add 224.0.0.0/4 dev v0 && ip route add 255.255.255.255 dev v0";

#[test]
fn what_no_honest_client_sends_is_refused() {
    in_namespace(NETWORK, || {
        for way in datagrams("0.0.0.0:4001") {
            let daemon = way.start_with("", "kernel-filter = false");
            let (forger, us) = (Forger::new(), "192.0.2.1:4001".parse().unwrap());
            for from in [
                "192.0.2.255:9999",
                "255.255.255.255:9999",
                "224.0.0.1:9999",
                "0.1.2.3:9999",
                "239.255.255.255:9999",
            ] {
                forger.send(from, us, b"from nobody");
            }
            forger.send("198.51.100.7:0", us, b"from port 0");
            forger.send("198.51.100.7:19", us, b"from chargen");
            for to in ["192.0.2.255:4001", "255.255.255.255:4001", "224.0.0.1:4001"] {
                forger.send("192.0.2.7:9999", to.parse().unwrap(), b"to many");
            }
            // Nobody has this address: the answer is lost, and the listener is none the worse.
            forger.send("198.51.100.7:9999", us, b"no route");
            echo(us);
            let keys = ["served", "source-address", "unanswerable", "source-port", "unreachable"];
            daemon.wait_state("it", |state| {
                // What is sent to many comes to each of the sockets that share a port.
                let to_many = [3, 6].contains(&state["destination-address"]);
                to_many && keys.map(|key| state[key]) == [2, 5, 1, 1, 1]
            });
        }
    });
}

/// A port of our own may be a client's by chance, if ours are among those that clients are given.
#[test]
fn a_trusted_network_may_have_our_port() {
    in_namespace(NETWORK, || {
        for way in datagrams("0.0.0.0:4001") {
            let daemon = way.start_with("", "trusted = \"198.51.100.0/24\"");
            let (forger, us) = (Forger::new(), "192.0.2.1:4001".parse().unwrap());
            forger.send("203.0.113.7:4001", us, b"perhaps another echod");
            forger.send("198.51.100.7:4001", us, b"trusted");
            // It is this machine's own listener, which no trust makes safe.
            forger.send("192.0.2.1:4001", us, b"a loop");
            echo(us);
            daemon.wait_state("it", |state| {
                ["served", "source-port", "own-listener"].map(|key| state[key]) == [2, 1, 1]
            });
        }
    });
}

/// As routes, firewalls and buffers have it.
#[test]
fn answers_that_cannot_be_sent_are_counted_by_reason() {
    let routes = "ip route add prohibit 198.51.100.0/25 && ip route add unreachable 198.51.100.128/25";
    in_namespace(&format!("{NETWORK} && {routes}"), || {
        for way in datagrams("0.0.0.0:4001") {
            let daemon = way.start();
            let (forger, us) = (Forger::new(), "192.0.2.1:4001".parse().unwrap());
            (0..3).for_each(|_| forger.send("198.51.100.7:9999", us, b"forbidden"));
            (0..4).for_each(|_| forger.send("198.51.100.207:9999", us, b"unreachable"));
            (0..5).for_each(|_| forger.send("203.0.113.7:9999", us, b"no route"));
            echo(us);
            daemon.wait_state("it", |state| {
                ["served", "sent", "forbidden", "unreachable", "errors"].map(|key| state[key])
                    == [13, 7, 3, 9, 0]
            });
        }
    });
    for mode in ["iterative", "epoll"] {
        let daemon = Echod::start(&format!(
            "[[listener]]\nname = \"it\"\nprotocol = \"unix-datagram\"\naddress = \"it.sock\"\nmode = \"{mode}\"\n\
             send-buffer = 1\n"
        ));
        let client = daemon.client("it");
        client.send(&[0; 60_000]);
        client.echo(b"short enough");
        daemon.wait_state("it", |state| ["oversize", "errors"].map(|key| state[key]) == [1, 0]);
    }
}

/// Asks from the machine itself.
#[track_caller]
fn echo(to: SocketAddr) {
    let client = Patient::udp("192.0.2.1:0");
    client.send_to(b"welcome", to).unwrap();
    let mut buffer = [0; 16];
    let length = client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"welcome");
}

/// On a socket that serves both families nothing but the list of interfaces tells.
#[test]
fn a_broadcast_to_a_dual_socket_is_refused() {
    in_namespace(NETWORK, || {
        let daemon = Echod::start(&udp("[::]:4001", ""));
        Forger::new().send("192.0.2.7:9999", "192.0.2.255:4001".parse().unwrap(), b"to many");
        echo("192.0.2.1:4001".parse().unwrap());
        daemon.wait_state("it", |state| ["served", "destination-address"].map(|key| state[key]) == [1, 1]);
    });
}

#[test]
fn many_may_be_asked_at_once_if_that_is_allowed() {
    in_namespace(NETWORK, || {
        for address in ["0.0.0.0:4001", "[::]:4001"] {
            let daemon = Echod::start(&udp(address, "allow-multicast = true"));
            let client = Patient::udp("192.0.2.1:0");
            client.set_broadcast(true).unwrap();
            client.send_to(b"who is there?", "192.0.2.255:4001").unwrap();
            let mut buffer = [0; 32];
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (&b"who is there?"[..], "192.0.2.1:4001".parse().unwrap()));
            daemon.wait_state("it", |state| state["served"] == 1 && state["refused"] == 0);
        }
    });
}

/// A listener at one address does not expect the loopback address there.
#[test]
fn loopback_sources_come_over_loopback() {
    in_namespace(NETWORK, || {
        for (address, keys, served) in [
            ("192.0.2.1:4001", "", 0),
            ("192.0.2.1:4001", "trusted = \"127.0.0.0/8\"", 1),
            ("0.0.0.0:4001", "", 1),
            ("[::]:4001", "", 1),
        ] {
            let daemon = Echod::start(&udp(address, keys));
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"x", "192.0.2.1:4001").unwrap();
            daemon.wait_state("it", |state| {
                ["served", "source-address"].map(|key| state[key]) == [served, 1 - served]
            });
        }
    });
}

#[test]
fn ports_that_honest_clients_have_too_are_answered_seldom() {
    in_namespace(NETWORK, || {
        for way in datagrams("0.0.0.0:4001") {
            let daemon = way.start();
            let client = UdpSocket::bind("192.0.2.1:5353").unwrap();
            (0..50).for_each(|_| assert_eq!(client.send_to(b"x", "192.0.2.1:4001").unwrap(), 1));
            daemon.wait_state("it", |state| state["served"] + state["throttled"] == 50);
            let state = daemon.state("it");
            // A machine that is very busy may give it another second.
            assert!((10..=20).contains(&state["served"]), "{way:?} {state:?}");
        }
    });
}

/// By default not so many that it takes long; `ECHOD_FLOOD=1000000` is what it was made for.
fn flood() -> u32 {
    std::env::var("ECHOD_FLOOD").map_or(20_000, |count| count.parse().unwrap())
}

/// Forged sources take no memory, and keep nobody from being answered.
#[test]
fn a_flood_of_forged_sources_is_borne() {
    in_namespace(NETWORK, || {
        for mode in ["threading", "forking", "epoll"] {
            let daemon = Echod::start(&udp("0.0.0.0:4001", &format!("mode = \"{mode}\"\nworkers = 1")));
            let SocketAddr::V4(us) = "192.0.2.1:4001".parse().unwrap() else { unreachable!() };
            let forger = Forger::new();
            let honest = Patient::udp("192.0.2.1:0");
            honest.connect(us).unwrap();
            // Whoever is to answer has begun.
            honest.send(b"are you there?").unwrap();
            assert_eq!(honest.recv(&mut [0; 16]).unwrap(), 14);
            let before = memory(&daemon);
            for number in 0..flood() {
                let from = Ipv4Addr::from_bits(0x0a00_0000 + number);
                forger.send_v4(SocketAddrV4::new(from, 1024 + (number % 60_000) as u16), us, b"reflect me");
                // So often that the receive buffer always has room for him.
                if number % 100 == 99 {
                    honest.send(b"are you there?").unwrap();
                    assert_eq!(honest.recv(&mut [0; 16]).unwrap(), 14, "{mode}: after {number}");
                }
            }
            let grown = memory(&daemon).saturating_sub(before);
            eprintln!("{mode}: {} forged sources, {grown} KiB more memory", flood());
            assert!(grown < 4096, "{mode}: {grown} KiB");
        }
    });
}

/// The memory of all processes in KiB.
fn memory(daemon: &Echod) -> u64 {
    daemon.group().into_iter().filter_map(proc::own_memory).sum()
}

fn udp(address: &str, keys: &str) -> String {
    format!("[[listener]]\nname = \"it\"\nprotocol = \"udp\"\naddress = \"{address}\"\n{keys}\n")
}
