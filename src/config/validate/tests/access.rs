//! Lists of who may come: where they come from, and what is wrong with them.

use std::{fs, path::PathBuf};

use super::{diagnostics, good, listener, short};
use crate::config::{Config, Environment, Inputs, Loaded, everybody, load};

/// The lists of the first listener, in one line.
fn lists(config: &Config) -> String {
    let join =
        |networks: &[ipnet::IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let listener = &config.listeners[0];
    format!("{}; {}", join(&listener.allow), join(&listener.deny))
}

#[test]
fn everybody_may_come_unless_somebody_is_named() {
    let tcp = |keys| good(&listener("tcp", "[::1]:7", keys)).config;
    assert_eq!(tcp("").listeners[0].allow, everybody());
    assert_eq!(lists(&tcp("")), "0.0.0.0/0 ::/0; ");
    assert_eq!(lists(&tcp("deny = \"192.0.2.1\"")), "0.0.0.0/0 ::/0; 192.0.2.1/32");
    assert_eq!(lists(&tcp("allow = [\"10.0.0.0/8\", \"::1\"]")), "10.0.0.0/8 ::1/128; ");
}

#[test]
fn the_lists_of_defaults_count_where_there_are_none() {
    let with_defaults = |defaults: &str, protocol, address, keys| {
        let toml = format!("[defaults]\n{defaults}\n{}", listener(protocol, address, keys));
        lists(&good(&toml).config)
    };
    let defaults = "allow = \"10.0.0.0/8\"\ndeny = \"10.1.0.0/16\"";
    assert_eq!(with_defaults(defaults, "udp", "[::1]:7", ""), "10.0.0.0/8; 10.1.0.0/16");
    assert_eq!(with_defaults(defaults, "udp", "[::1]:7", "deny = []"), "10.0.0.0/8; ");
    assert_eq!(with_defaults(defaults, "unix", "/x", ""), "0.0.0.0/0 ::/0; ");
}

#[test]
fn faulty_lists_are_told() {
    for (protocol, address, key, told) in [
        (
            "tcp",
            "[::1]:7",
            "allow = \"10.0.0.1/8\"",
            "2:9 `10.0.0.1/8` has bits set behind its prefix: write `10.0.0.0/8`",
        ),
        ("tcp", "[::1]:7", "deny = [\"::1\", \"x\"]", "2:16 `x` is not a network: write "),
        ("tcp", "[::1]:7", "allow = []", "2:9 `allow` holds no network: nobody could come in: write "),
        ("tcp", "[::1]:7", "allow-users = \"root\"", "2:1 `allow-users` does not fit protocol `tcp`: "),
        ("tcp", "[::1]:7", "deny-include = \"none\"", "2:16 cannot read `"),
        ("unix", "/x", "allow = \"::1\"", "2:1 `allow` does not fit protocol `unix`: "),
        ("unix", "/x", "allow-users = []", "2:15 `allow-users` names nobody: "),
        ("unix", "/x", "allow-groups = [\"no such group\"]", "2:17 there is no group `no such group`: "),
        (
            "unix-datagram",
            "/x",
            "allow-users = \"0\"",
            "2:1 `allow-users` does not fit protocol `unix-datagram`: ",
        ),
    ] {
        let found = diagnostics(&listener(protocol, address, key));
        assert!(found.len() == 1 && found[0].starts_with(told), "{key}: {found:?}");
    }
}

/// The file `f.toml`, and beside it `nets` with this text.
fn load_with(keys: &str, nets: &str) -> Result<Loaded, Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("nets"), nets).unwrap();
    let file = directory.path().join("f.toml");
    fs::write(&file, listener("udp", "[::1]:7", keys)).unwrap();
    let inputs = Inputs { file: Some(file), listen: Vec::new() };
    let environment = Environment { runtime_directory: Some(PathBuf::from("/run/test")), sandboxed: false };
    load(&inputs, &environment).map_err(|error| {
        let cut = format!("{}/", directory.path().display());
        error.plain().replace(&cut, "").split("\n\n").map(short).collect()
    })
}

#[test]
fn networks_are_included_from_a_file_beside_the_configuration() {
    let nets = "# friends\n10.0.0.0/8\n\n::1 # ourselves\n";
    let loaded =
        load_with("allow = \"192.0.2.0/24\"\nallow-include = \"nets\"\ndeny-include = []", nets).unwrap();
    assert_eq!(lists(&loaded.config), "192.0.2.0/24 10.0.0.0/8 ::1/128; ");
    let place =
        |key, number| loaded.origins[0].nth(key, number).map(|at| at.rsplit('/').next().unwrap().to_owned());
    assert_eq!([0, 1, 2].map(|n| place("allow", n).unwrap()), ["f.toml:2", "nets:2", "nets:4"]);
    assert_eq!((place("allow", 3), place("deny", 0)), (None, None));
    assert_eq!(place("protocol", 0).as_deref(), Some("f.toml:5"));
    let only = load_with("allow-include = [\"nets\", \"nets\"]", "127.0.0.1").unwrap();
    assert_eq!(lists(&only.config), "127.0.0.1/32 127.0.0.1/32; ");
}

#[test]
fn faults_of_an_included_file_have_its_places() {
    let told = load_with("deny-include = \"nets\"", "::1\n  10.0.0.0/33 # wide\n10.0.0.1/8\n").unwrap_err();
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with("nets:2:3 `10.0.0.0/33` is not a network: the number behind"), "{told:?}");
    assert!(told[1].starts_with("nets:3:1 `10.0.0.1/8` has bits set"), "{told:?}");
    let empty = load_with("allow-include = \"nets\"", "# nobody yet\n").unwrap_err();
    assert!(empty[0].starts_with("2:17 `allow` holds no network"), "{empty:?}");
}
