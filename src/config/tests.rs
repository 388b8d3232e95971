//! The whole way from text to [`Config`] and back.

mod keys;
mod large;
mod shipped;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use proptest::prelude::*;

use super::*;

const ECHOD: &str = include_str!("../../config/echod.toml");

fn environment() -> Environment {
    Environment { runtime_directory: Some(PathBuf::from("/run/test")), sandboxed: false }
}

fn load_text(toml: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f.toml");
    fs::write(&file, toml).unwrap();
    let inputs = Inputs { file: Some(file), listen: Vec::new() };
    load(&inputs, &environment()).unwrap().config
}

/// Listeners with every kind of value.
const RICH: &str = r#"
[daemon]
drain-timeout = "1m 500ms"
exit-idle-time = "2h"
[log]
level = "trace"
format = "json"
[defaults]
quote = "not for everyone"
nodelay = false
[[listener]]
name = "all \"quoted\" \\ \u00e4"
protocol = "tcp"
address = ["127.0.0.1:7000-7009", "[::1]:0", "[fe80::1%eth0]:7", "localhost:9"]
optional = true
mode = "forking"
workers = 8
service = "qotd"
allow = ["192.0.2.0/24", "::1"]
deny = "192.0.2.7"
quote = "two\r\nlines and a \"\"\" quote"
max-connections = 3
max-requests = 5
payload = "hex"
v6-only = true
backlog = 128
reuse-address = false
reuse-port = true
nodelay = false
keepalive = "90s"
receive-buffer = "64KiB"
send-buffer = 1000
device = "eth0"
[[listener]]
protocol = "udp"
address = "0.0.0.0:7"
mode = "iterative"
allow-amplification = true
rate-per-source = "1000/s burst 2000, 1MB/s"
[[listener]]
protocol = "unix"
address = ["%t/a", "./127.0.0.1:7", "@b"]
mode = "threading"
workers = "auto"
socket-mode = "0600"
socket-user = "root"
socket-group = 12345
allow-users = ["root", "0"]
allow-groups = "12345"
[[listener]]
protocol = "unix-datagram"
address = "@c"
mode = "threading"
workers = "per-request"
payload = "text"
[[listener]]
protocol = "tcp"
address = "127.0.0.1:1"
keepalive = true
when-full = "message"
refusal = "come back later"
max-connections-per-source = 3
connection-rate = "5/min burst 9"
rate-per-source = "1/s"
cool-down = "1m"
source-prefix = 48
mode = "epoll"
trigger = "edge"
busy-poll = "50us"
workers = 2
"#;

#[test]
fn a_printed_configuration_means_the_same() {
    for toml in [RICH, ECHOD] {
        let config = load_text(toml);
        let printed = config.to_toml();
        assert_eq!(load_text(&printed), config, "{printed}");
    }
    assert!(
        load_text(RICH)
            .to_toml()
            .contains("socket-mode = \"0600\"\nsocket-user = \"root\"\nsocket-group = \"12345\"\n")
    );
}

#[test]
fn a_listener_survives_the_way_to_its_process() {
    for listener in load_text(RICH).listeners {
        let json = serde_json::to_string(&listener).unwrap();
        assert_eq!(serde_json::from_str::<Listener>(&json).unwrap(), listener, "{json}");
    }
}

#[test]
fn unreadable_files_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let load =
        |path: PathBuf| load(&Inputs { file: Some(path), listen: Vec::new() }, &environment()).unwrap_err();

    let missing = load(directory.path().join("missing.toml"));
    assert_eq!(missing.kind(), ErrorKind::Unreadable);
    assert!(missing.plain().starts_with("error: cannot read configuration "), "{missing:?}");
    assert!(missing.plain().contains("there is no such file"), "{missing:?}");
    assert_eq!(load(directory.path().to_owned()).kind(), ErrorKind::Unreadable);

    let binary = directory.path().join("binary.toml");
    fs::write(&binary, b"# \xff\n").unwrap();
    let error = load(binary);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.plain().starts_with("error: byte 0xff is not UTF-8\n")
            && error.plain().contains("binary.toml:1:3"),
        "{error:?}"
    );

    let secret = directory.path().join("secret.toml");
    fs::write(&secret, ECHOD).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read it all the same.
    if fs::read(&secret).is_err() {
        assert_eq!(load(secret).kind(), ErrorKind::PermissionDenied);
    }
}

#[test]
fn urls_alone_need_no_file() {
    let inputs = Inputs { file: None, listen: vec!["tcp://127.0.0.1:0".to_owned()] };
    let config = load(&inputs, &Environment::default()).unwrap().config;
    assert_eq!(
        config.describe(),
        "listener \"tcp://127.0.0.1:0\": echo at tcp://127.0.0.1:0, mode epoll, workers 1, \
         at most 10000 connections\n"
    );
}

/// Pieces that files and URLs are made of, and some that they should not be.
fn pieces() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "[[listener]]\n",
        "[defaults]\n",
        "[log]",
        "\n",
        "=",
        " = ",
        "'",
        "\"",
        "[",
        "]",
        "{",
        "}",
        ",",
        "1",
        "-1",
        "true",
        "99999999999999999999",
        "name",
        "address",
        "protocol",
        "tcp",
        "udp",
        "unix",
        "://",
        ":",
        "?",
        "&",
        "%",
        "%t/x",
        "%c3",
        "é",
        "\u{1b}",
        "\0",
        "\r\n",
        "\t",
        "\u{feff}",
        "127.0.0.1:7",
        "[::1]:7-9",
        "@x",
        "mode",
        "workers",
        "keepalive",
        "'30s'",
        "\\",
        "#",
        "socket-user",
        "\"root\"",
        "x.y",
        "1.5",
        "2020-01-01",
    ]);
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn nothing_that_is_written_can_break_the_reader(text in pieces(), url in pieces()) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f.toml");
        fs::write(&file, text).unwrap();
        for listen in [vec![], vec![url]] {
            match load(&Inputs { file: Some(file.clone()), listen }, &environment()) {
                Ok(loaded) => prop_assert!(!loaded.config.listeners.is_empty()),
                Err(error) => prop_assert!(error.plain().starts_with("error: ")),
            }
        }
    }
}
