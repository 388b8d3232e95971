//! What holds for every row of the tables of keys.

use std::collections::BTreeSet;

use super::{environment, load_text};
use crate::config::{
    applicability::Profile,
    keys::{self, AnyKey, Values},
    *,
};

const PROTOCOLS: [&str; 5] = ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"];
const MODES: [&str; 7] = ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"];

/// What a listener with `faults` needs.
const PLAN: &str = "[daemon]\nallow-faults = true\n[[faults]]\nname = \"wifi\"\n";

/// A listener, or another table, that may have `key`, without it and with `line`.
fn hosts(table: &str, key: &dyn AnyKey, line: &str) -> Vec<(String, String)> {
    let mut hosts = Vec::new();
    for (protocol, mode) in PROTOCOLS.iter().flat_map(|protocol| MODES.map(|mode| (protocol, mode))) {
        for service in ["echo", "qotd"] {
            let address = if protocol.starts_with("unix") { "it.sock" } else { "127.0.0.1:0" };
            let of_log = if key.name() == "file" { "target = \"file\"\n" } else { "" };
            let lines = [
                ("protocol", format!("protocol = \"{protocol}\"")),
                ("address", format!("address = \"{address}\"")),
                ("mode", format!("mode = \"{mode}\"")),
                ("service", format!("service = \"{service}\"")),
                // Of tcp, with any address.
                ("enabled", "enabled = true".to_owned()),
            ];
            let is_replaced = |name: &str| table == "[[listener]]" && name == key.name();
            let others = lines.iter().filter(|(name, _)| !is_replaced(name));
            let listener: String = others.map(|(_, line)| format!("{line}\n")).collect();
            let other = "[[listener]]\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n";
            hosts.push(match table {
                "[[faults]]" => {
                    let name = if key.name() == "name" { "" } else { "name = \"wifi\"\n" };
                    let host = format!("{other}[[faults]]\n{name}");
                    (host.clone(), format!("{host}{line}\n"))
                }
                "[[listener]]" => {
                    let host = format!("{PLAN}{other}[[listener]]\n{listener}");
                    (host.clone(), format!("{host}{line}\n"))
                }
                table => (
                    format!(
                        "{table}\n{of_log}{}[[listener]]\n{listener}",
                        if of_log.is_empty() { "" } else { "file = \"x\"\n" }
                    ),
                    format!("{table}\n{of_log}{line}\n[[listener]]\n{listener}"),
                ),
            });
        }
    }
    hosts
}

fn try_text(toml: &str) -> Option<Config> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f.toml");
    std::fs::write(directory.path().join("networks.txt"), "192.0.2.0/24\n").unwrap();
    std::fs::write(&file, toml).unwrap();
    load(&Inputs { file: Some(file), listen: Vec::new() }, &environment()).ok().map(|loaded| loaded.config)
}

/// The keys in which they differ.
fn changed(old: &Config, new: &Config) -> BTreeSet<&'static str> {
    let mut keys: Vec<_> = old.daemon.changed(&new.daemon);
    keys.extend(old.log.changed(&new.log));
    keys.extend(old.observe.changed(&new.observe));
    if let (Some(old), Some(new)) = (old.faults.last(), new.faults.last()) {
        keys.extend(old.changed(new));
    }
    if let (Some(old), Some(new)) = (old.listeners.last(), new.listeners.last()) {
        keys.extend(old.changed(new));
    }
    keys.iter().map(|key| key.name()).collect()
}

#[test]
fn every_example_is_read_printed_handed_over_and_changes_its_key_alone() {
    for (table, key) in keys::all() {
        let (name, about) = (key.name(), key.about());
        assert!(
            about.ends_with('.') && !about.contains("[`") && about.matches('`').count() % 2 == 0,
            "{name}"
        );
        let line = format!("{name} = {}", key.example());
        let read = hosts(table, key, &line)
            .into_iter()
            .find_map(|(without, with)| Some((try_text(&with)?, without)));
        let (new, without) = read.unwrap_or_else(|| panic!("no listener takes `{line}`"));
        assert_eq!(load_text(&new.to_toml()), new, "{line}");
        for listener in &new.listeners {
            let json = serde_json::to_string(listener).unwrap();
            assert_eq!(serde_json::from_str::<Listener>(&json).unwrap(), *listener, "{line}");
        }
        let Some(old) = try_text(&without) else {
            assert!(key.is_required(), "{without}");
            continue;
        };
        let mut changed = changed(&old, &new);
        // What follows from the mode, and the name, which is the first URL.
        if name == "mode" {
            ["workers", "max-connections"].iter().for_each(|key| _ = changed.remove(key));
        }
        match name {
            "enabled" => assert_eq!(old.listeners.len(), new.listeners.len() + 1),
            "allow-include" | "deny-include" => {
                assert_eq!(changed, BTreeSet::from([name.split('-').next().unwrap()]), "{line}");
            }
            _ => assert_eq!(changed, BTreeSet::from([name]), "{line}"),
        }
    }
}

/// A default is a value that could be written.
#[test]
fn every_default_is_read_as_itself() {
    for protocol in PROTOCOLS {
        for mode in MODES {
            let address = if protocol.starts_with("unix") { "it.sock" } else { "127.0.0.1:0" };
            let listener = format!(
                "[[listener]]\nprotocol = \"{protocol}\"\naddress = \"{address}\"\nmode = \"{mode}\"\n"
            );
            let usual = load_text(&listener);
            let it = Profile::of(&usual.listeners[0]);
            let mut all = listener.clone();
            for key in
                crate::config::keys::listener::LISTENER.all().iter().filter(|key| key.misfit(&it).is_none())
            {
                let default = key
                    .default_for(&it)
                    .filter(|_| !["mode", "allow-include", "deny-include"].contains(&key.name()));
                all += &default.map(|value| format!("{} = {value}\n", key.name())).unwrap_or_default();
            }
            assert_eq!(load_text(&all), usual, "{all}");
        }
    }
}

/// Errors of the syntax hide nothing but their lines.
#[test]
fn all_that_is_wrong_is_told_beside_errors_of_the_syntax() {
    let toml = "\u{feff}[defaults]\r\naddress = 'x'\r\nallow = ['x', 1]\r\n[[listener]]\r\nmode = epoll\r\nworkers = 0\r\n\
                [[listener]\r\nmode = 1\r\n[[listener]]\r\nprotocol = 'tpc'\r\nmax_connections = 1\r\ntrigger.x = 1\r\n";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f.toml");
    std::fs::write(&file, toml).unwrap();
    let inputs = Inputs { file: Some(file), listen: vec!["unix:@x?v6-only=1".to_owned()] };
    let told = load(&inputs, &environment()).unwrap_err();
    let places = told
        .plain()
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--> ")?.rsplit_once("f.toml:"));
    let lines: Vec<_> = places.map(|(_, place)| place.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(lines, ["3", "3", "5", "6", "7", "10", "11", "12"], "{told:?}");
    assert!(told.plain().contains("--> --listen:1:17"), "{told:?}");
}
