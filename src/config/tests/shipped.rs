//! The configuration files that echod ships are part of its manual: what they say must be true.

use std::{collections::BTreeSet, path::PathBuf};

use super::{ECHOD, environment, load_text};
use crate::config::*;

fn load_example(name: &str) -> Config {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/examples").join(name);
    let inputs = Inputs { file: Some(file), listen: Vec::new() };
    load(&inputs, &environment()).unwrap().config
}

/// The file with the marks of commented keys taken away.
fn uncomment(toml: &str, marks: &[&str]) -> String {
    let lines = toml.lines().map(|line| {
        let key = marks.iter().find_map(|mark| line.strip_prefix(mark));
        let is_key = |key: &&str| key.starts_with(|c: char| c.is_ascii_lowercase()) && key.contains(" = ");
        key.filter(|key| is_key(key) || *key == "[[faults]]").unwrap_or(line)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_default_serves_what_it_says() {
    let loaded = load(&Inputs::default(), &environment()).unwrap();
    assert_eq!(loaded.notes, []);
    let limits = "mode epoll, workers 1, at most 10000 connections, optional";
    assert_eq!(
        loaded.config.describe(),
        format!(
            "\
listener \"tcp\": echo at tcp://127.0.0.1:7777, {limits}
listener \"tcp\": echo at tcp://[::1]:7777, {limits}
listener \"udp\": echo at udp://127.0.0.1:7777, mode epoll, workers 1, optional
listener \"udp\": echo at udp://[::1]:7777, mode epoll, workers 1, optional
listener \"unix\": echo at unix:/run/test/echod.sock, {limits}
"
        )
    );
    let without = load(&Inputs::default(), &Environment::default()).unwrap();
    assert_eq!(without.config.listeners.len(), 2);
    assert_eq!(without.notes.len(), 1);
}

#[test]
fn the_values_shown_for_keys_are_those_without_them() {
    let shown = uncomment(ECHOD, &["#"]);
    assert_ne!(shown, ECHOD);
    assert_eq!(load_text(&shown), load_text(ECHOD));
}

#[test]
fn every_key_is_shown() {
    let all = uncomment(ECHOD, &["##  ", "## ", "#"]);
    let table: toml::Table = all.parse().unwrap();
    let keys = |value: &toml::Value| value.as_table().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let known = |table: &str| -> BTreeSet<_> {
        reference().iter().filter(|key| key.table == table).map(|key| key.name.to_owned()).collect()
    };
    assert_eq!(keys(&table["daemon"]), known("[daemon]"));
    assert_eq!(keys(&table["log"]), known("[log]"));
    assert_eq!(keys(&table["observe"]), known("[observe]"));
    assert_eq!(keys(&table["faults"][0]), known("[[faults]]"));
    let listeners = table["listener"].as_array().unwrap().iter().chain([&table["defaults"]]);
    let of_listeners: BTreeSet<_> = listeners.flat_map(keys).collect();
    assert_eq!(of_listeners, known("[[listener]]"));
    // All of them together are right, too.
    assert_eq!(load_text(&all).listeners.len(), 3);
}

#[test]
fn the_tutorial_has_all_twelve_servers() {
    let config = load_example("tutorial.toml");
    let classes: BTreeSet<_> =
        config.listeners.iter().map(|listener| format!("{} {}", listener.protocol, listener.mode)).collect();
    assert_eq!((config.listeners.len(), classes.len()), (12, 12));
    let upper =
        |listener: &Listener| listener.service == ServiceKind::Upper && listener.payload == Payload::Text;
    assert!(config.listeners.iter().all(upper));
}

#[test]
fn the_event_loops_serve_every_protocol() {
    let config = load_example("event-loops.toml");
    let loops: BTreeSet<_> = config
        .listeners
        .iter()
        .map(|listener| format!("{} {} {:?}", listener.protocol, listener.mode, listener.trigger))
        .collect();
    assert_eq!((config.listeners.len(), loops.len()), (25, 25));
    assert!(config.listeners.iter().all(|listener| listener.mode.is_event_loop()));
}

#[test]
fn whoami_is_shown_direct_and_behind_a_proxy() {
    let config = load_example("whoami.toml");
    assert!(config.listeners.iter().all(|listener| listener.service == ServiceKind::Whoami));
    let required =
        config.listeners.iter().filter(|listener| listener.proxy_protocol == ProxyProtocol::Required);
    assert_eq!((config.listeners.len(), required.count()), (4, 1));
}

#[test]
fn a_flaky_network_and_a_bad_peer_are_shown_beside_a_good_one() {
    let config = load_example("faults.toml");
    assert!(config.daemon.allow_faults);
    let of = |listener: &Listener| listener.faults.as_ref().map(|plan| (plan.name.clone(), plan.seed));
    let plans: Vec<_> =
        config.listeners.iter().map(|listener| (listener.name.as_str(), of(listener))).collect();
    let plan = |name: &str| Some((name.to_owned(), Some(42)));
    assert_eq!(plans, [("flaky", plan("wifi")), ("bad", plan("bad-peer")), ("good", None)]);
    assert!(config.faults[0].hits_datagrams() && config.faults[1].hits_streams());
}

#[test]
fn the_small_services_are_on_their_ports() {
    let config = load_example("small-services.toml");
    let of_tcp = config.listeners.iter().filter(|listener| listener.protocol == Protocol::Tcp);
    let places: Vec<_> =
        of_tcp.map(|listener| format!("{} {}", listener.service, listener.address[0])).collect();
    assert_eq!(
        places,
        ["echo 127.0.0.1:7", "discard 127.0.0.1:9", "daytime 127.0.0.1:13", "qotd 127.0.0.1:17"]
            .into_iter()
            .chain(["chargen 127.0.0.1:19", "time 127.0.0.1:37"])
            .collect::<Vec<_>>()
    );
    assert_eq!(config.listeners.len(), 12);
}
