//! What the daemon knows of one client at the moment: `/explain`, and `echod explain --live`. It is exact in every mode, and asking
//! changes nothing.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use serde_json::{Value, json};

use super::{OBSERVE, get, observed, status::told};
use crate::{
    access::lists::{datagrams, streams},
    harness::{Client, Echod, Launch, eventually, has_mode, listener, port_of_nobody},
    matrix::Combination,
};

/// What the listener `it` knows of a client.
#[track_caller]
fn known(daemon: &Echod, source: &str) -> Value {
    let reply = get(daemon, &format!("/explain?source={source}&listener=it"));
    assert_eq!(reply.status, 200, "{reply:?}");
    let mut answer: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(answer["source"], source);
    answer["listeners"][0].take()
}

/// What it knows of the source, apart from the peer of datagrams.
#[track_caller]
fn source(daemon: &Echod, source: &str) -> Value {
    known(daemon, source)["source"].take()
}

/// A daemon with this listener, and these limits.
fn limited(way: &Combination, keys: &str) -> Echod {
    way.start_with(OBSERVE, keys)
}

/// Those that serve several connections at once, pools with four workers.
fn several(protocol: &'static str, address: &'static str) -> impl Iterator<Item = Combination> {
    let pooled = |way: &Combination| matches!(way.mode, "threading" | "forking") && !way.workers.is_empty();
    let ways = streams(protocol, address).filter(|way| way.mode != "iterative" && has_mode(way.mode));
    ways.map(move |way| if pooled(&way) { Combination { workers: "4", ..way } } else { way })
}

fn level(now: u64, of: u64) -> Value {
    json!({ "now": now, "of": of })
}

#[test]
fn open_connections_are_counted_exactly() {
    for way in several("tcp", "127.0.0.1:0") {
        let daemon = limited(&way, "max-connections-per-source = 3");
        let none = source(&daemon, "127.0.0.1");
        assert_eq!((&none["open"], &none["requests"]), (&level(0, 3), &Value::Null), "{way:?}");
        let clients: Vec<_> = (1..=3)
            .map(|number| {
                let client = daemon.client("it");
                client.echo(b"x");
                assert_eq!(source(&daemon, "127.0.0.1")["open"], level(number, 3), "{way:?}");
                client
            })
            .collect();
        let other = Client::connect_from(&daemon.endpoint("it"), "127.0.0.2");
        other.echo(b"x");
        assert_eq!(source(&daemon, "127.0.0.1")["open"], level(3, 3), "{way:?}");
        assert_eq!(source(&daemon, "127.0.0.2")["open"], level(1, 3), "{way:?}");
        drop(clients);
        eventually("the end of all", || (source(&daemon, "127.0.0.1")["open"] == level(0, 3)).then_some(()));
        assert_eq!(source(&daemon, "127.0.0.2")["open"], level(1, 3), "{way:?}");
        drop(other);
    }
}

#[test]
fn a_user_is_the_source_at_a_unix_socket() {
    for way in several("unix", "it.sock") {
        let daemon = limited(&way, "max-connections-per-source = 2");
        let client = daemon.client("it");
        client.echo(b"x");
        let own = format!("user:{}", geteuid());
        let known = source(&daemon, &own);
        assert_eq!(known["open"], level(1, 2), "{way:?}");
        assert_eq!(known["counted-as"], format!("user {}", geteuid()));
        assert_eq!(source(&daemon, "user:4242")["open"], level(0, 2));
        // No address comes to it.
        let reply = get(&daemon, "/explain?source=192.0.2.7");
        assert_eq!(reply.body, "{\"source\":\"192.0.2.7\",\"listeners\":[]}\n");
    }
}

#[test]
fn what_is_left_of_a_rate_is_told_and_asking_takes_nothing() {
    let ways = streams("tcp", "127.0.0.1:0").chain(datagrams("127.0.0.1:0"));
    for way in ways.filter(|way| has_mode(way.mode)) {
        let daemon = limited(&way, "rate-per-source = \"1/h burst 3\"\ncool-down = \"1h\"");
        for left in (0..=3).rev() {
            for _ in 0..20 {
                let known = source(&daemon, "127.0.0.1");
                assert_eq!(
                    (&known["requests"], &known["cool-down"]),
                    (&level(left, 3), &json!(0.0)),
                    "{way:?}"
                );
            }
            if left > 0 {
                daemon.client("it").echo(b"x");
            }
        }
        // It may be refused before it has sent anything.
        let _ = daemon.client("it").try_send(b"one too many");
        let seconds = || source(&daemon, "127.0.0.1")["cool-down"].as_f64().unwrap();
        let first = eventually("the cool-down", || Some(seconds()).filter(|left| *left > 0.0));
        assert!(first <= 3600.0, "{way:?}: {first}");
        eventually("a shorter one", || (seconds() < first).then_some(()));
        assert_eq!(source(&daemon, "127.0.0.2")["requests"], level(3, 3), "{way:?}");
    }
}

#[test]
fn a_cool_down_ends() {
    let way = Combination { protocol: "udp", address: "127.0.0.1:0", mode: "epoll", workers: "" };
    let daemon = limited(&way, "rate-per-source = \"1/h burst 1\"\ncool-down = \"100ms\"");
    daemon.client("it").echo(b"x");
    daemon.client("it").send(b"one too many");
    daemon.wait_state("it", |state| state["rate"] == 1);
    eventually("the end of it", || (source(&daemon, "127.0.0.1")["cool-down"] == 0.0).then_some(()));
    assert_eq!(source(&daemon, "127.0.0.1")["requests"], level(0, 1));
}

#[test]
fn a_victim_is_told_by_its_port() {
    for way in datagrams("0.0.0.0:0").filter(|way| has_mode(way.mode)) {
        let daemon = limited(&way, "");
        let to = daemon.endpoint("it").inet();
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, port_of_nobody("udp")));
        let peer = || known(&daemon, &from.to_string())["peer"].take();
        assert_eq!(peer(), json!({ "victim": null, "run": level(0, 65536), "trusted": false }), "{way:?}");
        // Its port is mostly closed when the answer arrives.
        let victim = eventually("a victim", || {
            let _ = UdpSocket::bind(from).and_then(|socket| socket.send_to(b"x", to));
            peer()["victim"].as_f64()
        });
        assert!(victim <= 60.0, "{way:?}: {victim}");
        assert_eq!(known(&daemon, "127.0.0.1")["peer"]["victim"], Value::Null, "other ports are answered");
    }
}

#[test]
fn a_source_is_not_forgiven_because_a_process_has_died() {
    let way = Combination { protocol: "tcp", address: "127.0.0.1:0", mode: "forking", workers: "" };
    let daemon = limited(
        &way,
        "rate-per-source = \"1/h burst 4\"\ncool-down = \"1h\"\nmax-connections-per-source = 4",
    );
    let clients = [daemon.client("it"), daemon.client("it")];
    clients.iter().for_each(|client| client.echo(b"x"));
    let before = source(&daemon, "127.0.0.1");
    assert_eq!((&before["open"], &before["requests"]), (&level(2, 4), &level(2, 4)));
    kill(Pid::from_raw(daemon.children()[0]), Signal::SIGKILL).unwrap();
    assert!(clients.iter().all(Client::is_ended));
    daemon.client("it").echo(b"served again");
    eventually("the end of it", || (source(&daemon, "127.0.0.1")["open"] == level(0, 4)).then_some(()));
    assert_eq!(source(&daemon, "127.0.0.1")["requests"], level(1, 4));
}

#[test]
fn every_listener_answers_unless_one_is_named() {
    let daemon =
        observed(&(listener("free", "tcp", "") + &listener("tight", "udp", "rate-per-source = \"5/s\"")));
    let answer: Value = serde_json::from_str(&get(&daemon, "/explain?source=[2001:db8::7]:9").body).unwrap();
    assert_eq!(answer["listeners"].as_array().unwrap().len(), 2, "{answer}");
    assert_eq!(
        answer["listeners"][0],
        json!({
            "listener": "free", "protocol": "tcp", "source": null, "peer": null
        })
    );
    assert_eq!(answer["listeners"][1]["source"]["counted-as"], "2001:db8::/64");
    for (query, code, what) in [
        ("", 400, "the source is missing; write for example /explain?source=192.0.2.7"),
        ("?source=nobody", 400, "`source=nobody` is neither an address nor a user; write"),
        ("?source=::1&from=x", 400, "`from=x` is unknown here; write"),
        (
            "?source=::1&listener=other",
            404,
            "there is no listener \"other\"; ask about one of \"free\", \"tight\"",
        ),
    ] {
        let reply = get(&daemon, &format!("/explain{query}"));
        assert_eq!(reply.status, code, "{reply:?}");
        assert!(reply.body.starts_with(what), "{reply:?}");
    }
}

#[test]
fn the_command_tells_what_the_daemon_knows_and_its_exit_code_whether_it_refuses() {
    let daemon = Echod::start(&format!(
        "{OBSERVE}{}{}",
        listener(
            "it",
            "tcp",
            "rate-per-source = \"1/h burst 2\"\ncool-down = \"1h\"\nmax-connections-per-source = 5"
        ),
        listener("free", "tcp", "")
    ));
    let ask = |more: &[&str]| {
        let args =
            [&["explain", "--config", "echod.toml", "--from", "127.0.0.1", "--live"][..], more].concat();
        told(&daemon, &args)
    };
    let free = ask(&["--listener", "free"]);
    free.expect(0, &[]);
    assert!(
        free.stdout.ends_with("\nnow: nothing is limited by source\nlet in, as far as the limits allow\n"),
        "{}",
        free.stdout
    );
    let client = daemon.client("it");
    client.echo(b"x");
    let welcome = ask(&["--listener", "it", "--address", "./observe.sock"]);
    welcome.expect(0, &[]);
    let now =
        "now: 1 of 5 connections open, bucket 1 of 2 connections, not cooling down, counted as 127.0.0.1\n";
    assert!(welcome.stdout.contains(now), "{}", welcome.stdout);
    daemon.client("it").echo(b"x");
    ask(&["--listener", "it"]).expect(77, &["listener \"it\" refuses 127.0.0.1 at the moment (rate)"]);
    assert!(daemon.client("it").is_ended());
    let refused = ask(&["--listener", "it"]);
    refused.expect(77, &["listener \"it\" refuses 127.0.0.1 at the moment (cool-down)"]);
    assert!(refused.stdout.contains("bucket 0 of 2 connections, cooling down for 3"), "{}", refused.stdout);
}

#[test]
fn what_keeps_the_command_from_asking_is_told_with_its_cure() {
    let explain = |file: &str, more: &[&str]| {
        let launch = Launch::new().config(file);
        let args = ["explain", "--listener", "it", "--from", "127.0.0.1"];
        launch.args(&[&args[..], more].concat()).run()
    };
    let it = listener("it", "tcp", "");
    explain(&it, &["--live"]).expect(69, &["has no [observe]", "address = \"unix:/run/echod/observe.sock\""]);
    explain(&it, &["--live", "--address", "unix:gone.sock"]).expect(69, &["unix:gone.sock", "no such file"]);
    explain(&it, &["--address", "unix:gone.sock"]).expect(64, &["--live"]);
    // The daemon has another configuration.
    let daemon = observed(&listener("other", "tcp", ""));
    let address = daemon.path("observe.sock").display().to_string();
    explain(&it, &["--live", "--address", &address])
        .expect(69, &["there is no listener \"it\"; ask about one of \"other\"", "kill -HUP"]);
}
