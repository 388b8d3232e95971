//! Large configurations are read in one pass. What took time by the square of their size would not end today.

use std::fmt::Write;

use super::*;

fn try_text(toml: &str) -> Result<Loaded, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f.toml");
    fs::write(&file, toml).unwrap();
    load(&Inputs { file: Some(file), listen: Vec::new() }, &environment())
}

#[test]
fn a_long_list_of_networks_is_read_once() {
    let directory = tempfile::tempdir().unwrap();
    let (count, listeners) = (200_000_u32, 3);
    let list: String = (0..count).fold(String::new(), |mut list, number| {
        let _ = writeln!(list, "{}/32", std::net::Ipv4Addr::from(0x0100_0000 + number));
        list
    });
    fs::write(directory.path().join("nets"), list).unwrap();
    let file = directory.path().join("f.toml");
    let listener = |port| {
        format!("[[listener]]\nprotocol = \"tcp\"\naddress = \"127.0.0.1:{port}\"\ndeny-include = \"nets\"\n")
    };
    fs::write(&file, (1..=listeners).map(listener).collect::<String>()).unwrap();
    let loaded = load(&Inputs { file: Some(file), listen: Vec::new() }, &environment()).unwrap();
    for (listener, origins) in loaded.config.listeners.iter().zip(&loaded.origins) {
        assert_eq!(listener.deny.len(), count as usize);
        let last = origins.nth("deny", count as usize - 1).unwrap();
        assert!(last.ends_with(&format!("/nets:{count}")), "{last}");
    }
}

#[test]
fn many_listeners_are_compared_with_few() {
    let count = 20_000;
    let mut toml = String::new();
    for number in 0..count {
        let (a, b) = (number / 250, number % 250);
        let _ =
            write!(toml, "[[listener]]\nprotocol = \"tcp\"\naddress = [\"127.1.{a}.{b}:7\", \"[::1]:0\"]\n");
    }
    assert_eq!(try_text(&toml).unwrap().config.listeners.len(), count);
    let named: String = toml.replace("[[listener]]\n", "[[listener]]\nname = \"it\"\n");
    let told = try_text(&named.lines().take(4000).collect::<Vec<_>>().join("\n")).unwrap_err();
    assert_eq!(told.plain().matches("two listeners are named `it`").count(), 999);
}

#[test]
fn every_fault_of_many_is_cited() {
    let count = 10_000;
    let mut toml = "[[listener]]\nprotocol = \"tcp\"\naddress = \"127.0.0.1:7\"\n".to_owned();
    for number in 0..count {
        let _ = writeln!(toml, "key-{number} = {number}");
    }
    let told = try_text(&toml).unwrap_err();
    assert_eq!(told.plain().matches("error: unknown key `key-").count(), count);
    assert!(told.plain().contains("f.toml:10003:1"));
}

/// What `[defaults]` say is read once, and shared.
#[test]
fn many_listeners_share_a_long_list() {
    let networks: Vec<_> = (0..10_000_u32)
        .map(|number| format!("\"{}\"", std::net::Ipv4Addr::from(0x0100_0000 + number)))
        .collect();
    let mut toml = format!("[defaults]\ndeny = [{}]\n", networks.join(", "));
    for number in 0..10_000 {
        let (a, b) = (number / 250, number % 250);
        let _ = writeln!(toml, "[[listener]]\nprotocol = \"tcp\"\naddress = \"127.1.{a}.{b}:7\"");
    }
    let loaded = try_text(&toml).unwrap();
    assert_eq!(loaded.config.listeners.len(), 10_000);
    assert!(loaded.config.listeners.iter().all(|listener| listener.deny.len() == networks.len()));
}

/// Each listener and each element has its own faults.
#[test]
fn every_value_of_many_is_cited() {
    let mut toml = format!("[defaults]\nallow = [{}]\n", "\"x\", ".repeat(2_000));
    for _ in 0..2_000 {
        toml += "[[listener]]\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\nmode = \"fork\"\nworkers = 0\n";
    }
    let told = try_text(&toml).unwrap_err();
    assert_eq!(told.plain().matches("error: ").count(), 6_000);
}
