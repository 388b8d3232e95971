//! Passed sockets that no listener has for a while, and those that stand for another address of the file.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use crate::{
    harness::{Client, Echod, Endpoint, Launch, eventually, for_each_protocol, has_ipv6, port_of_nobody},
    systemd::activation::{Unit, can_pass, named},
};

const PROTOCOLS: [&str; 5] = ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"];

/// What is served besides, so that there is always something to serve.
const OTHER: &str = "[[listener]]\nname = \"other\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n";

fn at(name: &str, protocol: &str, address: &str, more: &str) -> String {
    format!("[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = {address}\n{more}\n")
}

/// Whoever comes to a stream is told the end, instead of waiting for an answer that never comes.
#[track_caller]
fn wait_turned_away(endpoint: &Endpoint) {
    // Those who come in the first moment are served by the listener that goes.
    eventually("the end of a client that nobody serves", || {
        let client = Client::connect(endpoint);
        let _ = client.try_send(b"is anybody there?");
        let mut answer = [0; 32];
        match client.read(&mut answer) {
            Ok(0) | Err(_) => Some(()),
            Ok(_) => None,
        }
    });
}

#[track_caller]
fn reload(daemon: &Echod, toml: &str) {
    daemon.reload(toml);
    let log = daemon.log();
    assert!(!log.contains("not reloaded"), "{log}");
}

for_each_protocol! { a_passed_socket_waits_for_its_listener }

/// A listener is removed, disabled or renamed, and comes back: by its name, and by the address of its socket.
fn a_passed_socket_waits_for_its_listener(protocol: &str) {
    if !can_pass() {
        return;
    }
    for mode in ["epoll", "threading", "forking", "iterative", "io-uring"] {
        let unit = Unit::new(protocol);
        let mode = format!("mode = \"{mode}\"");
        let by_name = named("it", protocol, &mode);
        let by_address = at("else", protocol, &format!("{:?}", unit.address()), &mode);
        let mut daemon = Launch::new().config(&(by_name.clone() + OTHER)).pass("it", &unit.socket).start();
        Client::connect(&unit.endpoint).echo(b"hello");
        let disabled = by_name.clone() + "enabled = false\n";
        for gone in [OTHER.to_owned(), disabled + OTHER] {
            for again in [&by_name, &by_address, &by_name] {
                reload(&daemon, &gone);
                daemon.wait_log(|line| {
                    line.contains(" WARN ") && line.contains("nobody serves the passed socket \"it\"")
                });
                daemon.client("other").echo(b"as before");
                if protocol == "tcp" || protocol == "unix" {
                    wait_turned_away(&unit.endpoint);
                }
                reload(&daemon, &(again.clone() + OTHER));
                Client::connect(&unit.endpoint).echo(b"served again");
            }
            // From one to the other at once.
            reload(&daemon, &(by_address.clone() + OTHER));
            Client::connect(&unit.endpoint).echo(b"served on");
            reload(&daemon, &(by_name.clone() + OTHER));
            Client::connect(&unit.endpoint).echo(b"served on");
        }
        reload(&daemon, OTHER);
        daemon.stop();
        // The next daemon serves them.
        let waiting = Client::connect(&unit.endpoint);
        waiting.send(b"in between");
        let mut next = Launch::new().config(&by_name).pass("it", &unit.socket).start();
        assert_eq!(waiting.receive(b"in between".len()), b"in between", "{protocol} {mode}");
        drop(waiting);
        next.stop();
    }
}

/// What came while nobody served is not answered later, by a service that it was not meant for.
#[test]
fn what_came_meanwhile_is_not_answered() {
    if !can_pass() {
        return;
    }
    for protocol in ["udp", "unix-datagram"] {
        let unit = Unit::new(protocol);
        let toml = named("it", protocol, "");
        let mut daemon = Launch::new().config(&(toml.clone() + OTHER)).pass("it", &unit.socket).start();
        reload(&daemon, OTHER);
        let client = Client::connect(&unit.endpoint);
        // In the first moment the listener that goes still answers.
        eventually("the end of the answers", || {
            client.send(b"too early");
            client.hears_nothing_for(Duration::from_millis(100)).then_some(())
        });
        eventually("an empty queue", || {
            unit.socket.set_nonblocking(true).unwrap();
            unit.socket.peek(&mut [std::mem::MaybeUninit::new(0)]).is_err().then_some(())
        });
        reload(&daemon, &(toml + OTHER));
        assert_eq!(client.ask(b"in time"), b"in time");
        daemon.stop();
    }
}

/// One that was passed for nobody is not lost: its address could be had by nobody else.
#[test]
fn a_socket_that_nobody_wanted_is_had_by_who_asks_for_it() {
    if !can_pass() {
        return;
    }
    for protocol in PROTOCOLS {
        let unit = Unit::new(protocol);
        let mut daemon = Launch::new().config(OTHER).pass("stranger", &unit.socket).start();
        if protocol == "tcp" || protocol == "unix" {
            wait_turned_away(&unit.endpoint);
        }
        let toml = at("it", protocol, &format!("{:?}", unit.address()), "");
        reload(&daemon, &(toml + OTHER));
        Client::connect(&unit.endpoint).echo(b"hello");
        daemon.stop();
    }
}

/// `ListenStream=7` makes a socket of IPv6 that serves IPv4 as well.
#[test]
fn a_passed_socket_of_ipv6_stands_for_ipv4() {
    if !can_pass() || !has_ipv6() {
        return;
    }
    for protocol in ["tcp", "udp"] {
        let port = port_of_nobody(protocol);
        let kind = if protocol == "tcp" { Type::STREAM } else { Type::DGRAM };
        let socket = Socket::new(Domain::IPV6, kind, None).unwrap();
        socket.set_only_v6(false).unwrap();
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into()).unwrap();
        if protocol == "tcp" {
            socket.listen(16).unwrap();
        }
        let v4 = format!("\"0.0.0.0:{port}\"");
        let both = format!("[\"0.0.0.0:{port}\", \"[::]:{port}\"]");
        let allow = "allow = [\"127.0.0.0/8\", \"::1\"]";
        let ask = |ip: std::net::IpAddr| {
            let address = SocketAddr::new(ip, port);
            let endpoint = if protocol == "tcp" { Endpoint::Tcp(address) } else { Endpoint::Udp(address) };
            Client::connect(&endpoint).echo(b"hello");
        };
        for first in [&v4, &both] {
            let launch = Launch::new().config(&at("it", protocol, first, allow));
            let mut daemon = launch.pass("it.socket", &socket).start();
            for address in [&v4, &both, &v4] {
                ask(Ipv4Addr::LOCALHOST.into());
                ask(Ipv6Addr::LOCALHOST.into());
                reload(&daemon, &at("it", protocol, address, &format!("{allow}\npayload = \"hex\"")));
                let log = daemon.log();
                assert!(!log.contains("is not among") && !log.contains("nobody serves"), "{log}");
            }
            daemon.stop();
        }
    }
}

#[test]
fn an_address_that_was_not_passed_is_told() {
    if !can_pass() {
        return;
    }
    let unit = Unit::new("tcp");
    let toml = at("it", "tcp", &format!("[{:?}, \"127.0.0.1:0\"]", unit.address()), "") + OTHER;
    let mut daemon = Launch::new().config(&toml).pass("x", &unit.socket).start();
    for name in ["it", "other"] {
        let words = format!("listener \"{name}\": tcp://127.0.0.1:0 is not among the sockets");
        daemon.wait_log(|line| line.contains(" WARN ") && line.contains(&words));
    }
    let log = daemon.log();
    assert_eq!(log.matches("is not among").count(), 2, "{log}");
    daemon.stop();
    let mut alone = Launch::new().config(OTHER).start();
    assert!(alone.client("other").hears_nothing_for(Duration::from_millis(1)));
    assert!(!alone.log().contains("is not among"));
    alone.stop();
}
