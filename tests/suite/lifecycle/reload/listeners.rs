//! Listeners that stay, change, come and go, and their clients.

use std::net::TcpListener;

use echod::report::log_event::LogEvent;

use super::modes;
use crate::harness::{
    Client, Echod, Endpoint, LONG, Launch, for_each_stream, has_python, it, listener, other_loopback, pattern,
};

/// From each mode to the next, over the same sockets: whoever is connected is served on by the old rules, whoever comes by the
/// new ones.
#[test]
fn a_changed_listener_keeps_its_socket_and_its_clients() {
    for protocol in ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"] {
        let toml = |(mode, workers): (&str, &str), service: &str| {
            // Iterative has one place, which the old client keeps in its generation only.
            "[daemon]\ndrain-timeout = \"60s\"\n".to_string()
                + &listener("it", protocol, &format!("mode = \"{mode}\"\n{workers}\nservice = \"{service}\""))
        };
        let mut daemon = Echod::start(&toml(modes()[0], "echo"));
        let endpoint = daemon.endpoint("it");
        let stream = matches!(protocol, "tcp" | "unix" | "unix-seqpacket");
        let mut old = Vec::new();
        for (round, mode) in modes().into_iter().enumerate().skip(1) {
            let client = Client::connect(&endpoint);
            let service = if round % 2 == 1 { "upper" } else { "echo" };
            let before: &[u8] = if round % 2 == 1 { b"hello" } else { b"HELLO" };
            assert_eq!(client.ask(b"hello"), before, "{protocol} {mode:?}");
            daemon.reload(&toml(mode, service));
            let after: &[u8] = if round % 2 == 1 { b"HELLO" } else { b"hello" };
            assert_eq!(
                Client::connect(&endpoint).ask(b"hello"),
                after,
                "{protocol} {mode:?}\n{}",
                daemon.log()
            );
            old.push((client, before));
        }
        for (client, before) in old.iter().filter(|_| stream) {
            assert_eq!(client.ask(b"hello"), *before, "{protocol}\n{}", daemon.log());
        }
        drop(old);
        daemon.stop();
        daemon.expect_no_trouble();
        assert!(!daemon.path("it.sock").exists());
    }
}

/// Loops with sockets of their own leave them to modes that have no use for several: each has its share of the clients.
#[test]
fn the_sockets_of_several_loops_are_all_served_on() {
    for protocol in ["tcp", "udp"] {
        for mode in ["forking", "threading", "iterative", "poll"] {
            let mut daemon = Echod::start(&listener("it", protocol, "workers = 3"));
            let endpoint = daemon.endpoint("it");
            for mode in [mode, "epoll", mode] {
                daemon.reload(&listener("it", protocol, &format!("mode = \"{mode}\"")));
                (0..16).for_each(|_| Client::connect(&endpoint).echo(b"wherever the kernel leads it"));
            }
            daemon.stop();
        }
    }
}

#[test]
fn an_unchanged_listener_notices_nothing() {
    let kept =
        listener("kept", "tcp", "mode = \"forking\"") + &listener("too", "unix", "mode = \"threading\"");
    let daemon = Echod::start(&(kept.clone() + &it("")));
    let (client, process) = (daemon.client("kept"), daemon.children());
    client.echo(b"before");
    let before = daemon.state("too")["served"];
    daemon.client("too").echo(b"hello");
    daemon.reload(&(kept + &it("mode = \"poll\"\nservice = \"upper\"")));
    client.echo(b"after");
    assert_eq!(daemon.children(), process);
    assert_eq!(daemon.state("too")["served"], before + 1, "its counters go on");
    assert_eq!(daemon.client("it").ask(b"hello"), b"HELLO");
}

#[test]
fn listeners_come_and_go() {
    let mut daemon = Echod::start(&(it("") + &listener("gone", "unix", "mode = \"forking\"")));
    let (old, endpoint) = (daemon.client("gone"), daemon.endpoint("gone"));
    old.echo(b"hello");
    daemon.reload(&(it("") + &listener("new", "unix", "service = \"upper\"")));
    assert!(old.rest().is_empty(), "a client of a listener that is gone is let go politely");
    endpoint.wait_refused();
    assert!(!daemon.path("gone.sock").exists());
    let new = Endpoint::Unix(daemon.path("new.sock"));
    assert_eq!(Client::connect(&new).ask(b"hello"), b"HELLO");
    daemon.client("it").echo(b"as before");
    daemon.stop();
    assert!(!daemon.path("new.sock").exists());
}

for_each_stream! { who_stays_in_a_listener_that_is_gone_is_cut }

/// Who does not read holds up nobody for longer than drain-timeout, also where only a listener ends.
fn who_stays_in_a_listener_that_is_gone_is_cut(protocol: &str) {
    for (mode, workers) in modes() {
        let daemon = |more: &str| "[daemon]\ndrain-timeout = \"200ms\"\n".to_owned() + &it("") + more;
        let gone = listener("gone", protocol, &format!("mode = \"{mode}\"\n{workers}"));
        let mut served = Echod::start_with_events(&daemon(&gone));
        let client = served.client("gone");
        client.echo(b"hello");
        client.flood(pattern(LONG));
        served.reload(&daemon(""));
        let cut = served.wait_event(LogEvent::ListenerCut, |_| true);
        assert_eq!((&cut["listener"], &cut["connections"]), (&"gone".into(), &1.into()), "{cut}");
        served.client("it").echo(b"not concerned");
        let mut buffer = vec![0; 65536];
        while client.read(&mut buffer).is_ok_and(|length| length > 0) {}
        drop(client);
        served.stop();
    }
}

/// One of several addresses goes: who waits there, and what, is served as at a stop.
#[test]
fn an_address_that_goes_is_left_by_nobody_unserved() {
    for protocol in ["tcp", "udp"] {
        for (mode, workers) in modes() {
            let places = if mode == "iterative" { "" } else { "max-connections = 3" };
            let toml = |addresses: &str| {
                format!(
                    "[daemon]\ndrain-timeout = \"60s\"\n[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\n\
                     address = [{addresses}]\nmode = \"{mode}\"\n{workers}\n{places}\n"
                )
            };
            let both = format!("\"127.0.0.1:0\", \"{}:0\"", other_loopback());
            let mut daemon = Echod::start(&toml(&both));
            let [stays, goes] = daemon.endpoints("it").try_into().unwrap();
            // They take all places, so that the next one waits.
            let busy: Vec<_> = (0..3).map(|_| Client::connect(&stays)).collect();
            busy[0].echo(b"hello");
            let waiting = Client::connect(&goes);
            waiting.send(b"just in time");
            daemon.reload(&toml("\"127.0.0.1:0\""));
            assert_eq!(waiting.receive(12), b"just in time", "{protocol} {mode} {workers}\n{}", daemon.log());
            drop((busy, waiting));
            Client::connect(&stays).echo(b"as before");
            if protocol == "tcp" {
                goes.wait_refused();
            }
            daemon.stop();
        }
    }
}

/// Another name is another listener, but the socket is the same.
#[test]
fn a_renamed_listener_refuses_nobody() {
    let mut daemon = Echod::start(&listener("it", "unix", ""));
    let (old, endpoint) = (daemon.client("it"), daemon.endpoint("it"));
    old.echo(b"hello");
    daemon.reload(&listener("it", "unix", "").replace("name = \"it\"", "name = \"other\""));
    old.echo(b"hello again");
    Client::connect(&endpoint).echo(b"hello");
    drop(old);
    daemon.stop();
    assert!(!daemon.path("it.sock").exists());
}

#[test]
fn passed_sockets_stay_through_a_reload() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let named = |more: &str| it(more).replace("127.0.0.1:0", "203.0.113.7:9");
    if !has_python("no socket was passed") {
        return;
    }
    let mut daemon = Launch::new().config(&named("")).pass("it", &socket).start();
    let old = daemon.client("it");
    old.echo(b"hello");
    daemon.reload(&named("mode = \"threading\"\nservice = \"upper\""));
    assert_eq!(daemon.client("it").ask(b"hello"), b"HELLO");
    old.echo(b"hello");
    drop(old);
    daemon.stop();
    Client::connect(&daemon.endpoint("it"));
}
