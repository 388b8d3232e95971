//! Every fault by its words and its place, through the public entry point.

mod access;
mod limits;

use std::{fs, path::PathBuf};

use crate::config::{ConfigError, Environment, Inputs, Keepalive, Loaded, Mode, Note, Workers, load};

/// Loads `toml` as the file `f.toml`, with `/run/test` for `%t`.
fn try_load(toml: &str, listen: &[&str]) -> Result<Loaded, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f.toml");
    fs::write(&file, toml).unwrap();
    let listen = listen.iter().map(|url| url.to_string()).collect();
    let environment = Environment { runtime_directory: Some(PathBuf::from("/run/test")), sandboxed: false };
    load(&Inputs { file: Some(file), listen }, &environment)
}

fn good(toml: &str) -> Loaded {
    try_load(toml, &[]).unwrap()
}

/// The diagnostics, one a line: `line:column title: help`.
fn faults_of(toml: &str, listen: &[&str]) -> Vec<String> {
    let error = try_load(toml, listen).expect_err("the file is wrong");
    error.plain().split("\n\n").map(short).collect()
}

fn diagnostics(toml: &str) -> Vec<String> {
    faults_of(toml, &[])
}

fn short(paragraph: &str) -> String {
    let after = |mark: &str| paragraph.lines().find_map(|line| line.split_once(mark)).map(|(_, rest)| rest);
    let title = after("error: ").unwrap();
    let help = after("^ ").or_else(|| after("help: ")).unwrap_or_default();
    let place =
        after("--> ").map_or("", |place| place.rsplit_once("f.toml:").map_or(place, |(_, place)| place));
    format!("{place} {title}: {help}")
}

/// A listener on line 1 that is right but for `keys` from line 2 on.
fn listener(protocol: &str, address: &str, keys: &str) -> String {
    format!("[[listener]]\n{keys}\nprotocol = \"{protocol}\"\naddress = \"{address}\"\n")
}

#[test]
fn all_faults_are_reported_in_one_run() {
    let toml = "\
[daemon]
drain-timeout = \"soon\"
exit-idle-time = \"0s\"
[log]
level = \"warning\"
format = \"xml\"
[[listener]]
protocol = \"tpc\"
address = \"127.0.0.1:7\"
max-conections = 7
[[listener]]
name = \"a\"
mode = \"kqueue\"
protocol = \"udp\"
address = [\"127.0.0.1:7\", \"127.0.0.1\"]
nodelay = true
[[listener]]
name = \"a\"
protocol = \"udp\"
address = \"127.0.0.1:6-8\"
socket-user = \"no such user\"
";
    assert_eq!(
        diagnostics(toml),
        [
            "2:17 `soon` is not a duration: write for example `30s`, `500ms` or `1h 30m`",
            "3:18 `exit-idle-time` of zero would exit at once: write \"off\", or how long to wait for a client",
            "5:9 unknown level `warning`: did you mean `warn`?",
            "6:10 unknown format `xml`: use one of `text`, `json`",
            "8:12 unknown protocol `tpc`: did you mean `tcp`?",
            "10:1 unknown key `max-conections`: did you mean `max-connections`?",
            "13:8 unknown mode `kqueue`: use one of `iterative`, `threading`, `forking`, `select`, `poll`, `epoll`, `io-uring`",
            "15:27 `127.0.0.1` has no port: a port is missing: write for example `127.0.0.1:7`",
            "16:1 `nodelay` does not fit protocol `udp`: take it out; only `tcp` has it",
            "18:8 two listeners are named `a`: choose another name",
            "20:11 udp://127.0.0.1:6-8 clashes with udp://127.0.0.1:7: \
             choose another port, or set `reuse-port = true` for both",
            "21:1 `socket-user` does not fit protocol `udp`: take it out; only a unix socket file has permissions",
            "21:15 there is no user `no such user`: write the name or number of a user of this machine",
        ]
        .map(str::to_owned)
        .into_iter()
        .collect::<Vec<_>>()
    );
}

#[test]
fn a_fault_is_drawn_with_its_line() {
    let toml = "[[listener]]\nprotocol = \"udp\"\naddress = \"127.0.0.1:7\"\nnodelay = true\n";
    let error = try_load(toml, &[]).unwrap_err();
    let drawn = error.plain().lines().skip(2).collect::<Vec<_>>().join("\n");
    assert_eq!(drawn, "  |\n4 | nodelay = true\n  | ^^^^^^^ take it out; only `tcp` has it");
}

#[test]
fn missing_and_empty_things_are_told() {
    assert_eq!(
        diagnostics("[[listener]]\n"),
        [
            "1:1 this listener has no address: add for example `address = \"127.0.0.1:7\"`",
            "1:1 this listener has no protocol: add for example `protocol = \"tcp\"`",
        ]
    );
    assert_eq!(
        diagnostics("[[listener]]\nprotocol = \"tcp\"\naddress = []\n"),
        ["3:11 this listener has no address: add for example `address = \"127.0.0.1:7\"`"]
    );
    assert!(diagnostics("")[0].starts_with(" there is no listener to serve: add a `[[listener]]` to "));
    assert!(diagnostics(&listener("tcp", "[::1]:7", "enabled = false"))[0].contains("`enabled = false`"));
    // A misspelt key is not missing as well.
    assert_eq!(
        diagnostics("[[listener]]\nprotocol = \"tcp\"\nadress = \"127.0.0.1:7\"\n"),
        ["3:1 unknown key `adress`: did you mean `address`?"]
    );
}

#[test]
fn defaults_apply_where_they_fit() {
    let toml = "\
[defaults]
nodelay = false
workers = 4
max-connections = 9
socket-mode = \"0600\"
protocol = \"tcp\"
[[listener]]
address = \"127.0.0.1:7\"
[[listener]]
protocol = \"udp\"
address = \"127.0.0.1:7\"
[[listener]]
address = \"127.0.0.1:8\"
mode = \"iterative\"
[[listener]]
protocol = \"unix\"
address = \"%t/x\"
workers = \"auto\"
";
    let config = good(toml).config;
    let [tcp, udp, iterative, unix] = config.listeners.as_slice() else { panic!("four listeners") };
    assert_eq!((tcp.nodelay, tcp.workers, tcp.max_connections), (false, Workers::Count(4), 9));
    assert_eq!((udp.nodelay, udp.workers, udp.socket_mode), (true, Workers::Count(4), 0o666));
    assert_eq!((iterative.workers, iterative.max_connections), (Workers::Count(1), 1));
    assert_eq!((unix.workers, unix.socket_mode), (Workers::Auto, 0o600));
    assert_eq!(unix.address[0].to_string(), "/run/test/x");
}

#[test]
fn defaults_are_checked_even_if_nobody_takes_them() {
    let defaults =
        "[defaults]\nname = \"x\"\naddress = \"y\"\nkeepalive = \"10ms\"\nmode = \"x\"\nenabled = 1\n";
    assert_eq!(
        diagnostics(&(defaults.to_owned() + &listener("udp", "127.0.0.1:7", "mode = \"forking\""))),
        [
            "2:1 `name` cannot have a default: each listener has its own; move it into a `[[listener]]`",
            "3:1 `address` cannot have a default: each listener has its own; move it into a `[[listener]]`",
            "4:13 `10ms` is no idle time for `keepalive`: write whole seconds, from \"1s\" to \"32767s\"",
            "5:8 unknown mode `x`: use one of `iterative`, `threading`, `forking`, `select`, `poll`, `epoll`, `io-uring`",
            "6:11 `enabled` must be `true` or `false`, not the integer `1`: write `true`",
        ]
    );
}

#[test]
fn names_default_to_the_url() {
    let toml = "\
[[listener]]
protocol = \"tcp\"
address = [\"127.0.0.1:0\", \"[::1]:0\"]
[[listener]]
protocol = \"tcp\"
address = \"127.0.0.1:0\"
[[listener]]
protocol = \"tcp\"
address = \"127.0.0.1:0\"
[[listener]]
name = \"unix:/a\"
protocol = \"unix\"
address = \"/b\"
[[listener]]
protocol = \"unix\"
address = \"/a\"
";
    let names: Vec<_> = good(toml).config.listeners.into_iter().map(|listener| listener.name).collect();
    let url = "tcp://127.0.0.1:0";
    assert_eq!(names, [url, &format!("{url}#2"), &format!("{url}#3"), "unix:/a", "unix:/a#2"]);
}

#[test]
fn without_a_runtime_directory_optional_addresses_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f.toml");
    let load = |toml: &str| {
        fs::write(&file, toml).unwrap();
        load(&Inputs { file: Some(file.clone()), listen: Vec::new() }, &Environment::default())
    };
    let strict = listener("unix", "%t/x", "");
    let error = load(&strict).unwrap_err();
    assert!(
        error.plain().contains("error: `%t/x` needs a runtime directory, and there is none"),
        "{error:?}"
    );
    let optional = listener("unix", "%t/x", "optional = true");
    let error = load(&optional).unwrap_err();
    assert!(error.plain().contains("there is no listener to serve"), "{error:?}");
    let loaded = load(&(optional + &listener("tcp", "127.0.0.1:7", ""))).unwrap();
    assert_eq!(loaded.config.listeners.len(), 1);
    assert_eq!(
        loaded.notes,
        [Note::of("unix:%t/x", "left out unix:%t/x: there is no runtime directory for `%t`").at("unix:%t/x")]
    );
    let off = listener("unix", "%t/x", "enabled = false") + &listener("tcp", "127.0.0.1:7", "");
    assert_eq!(load(&off).unwrap().notes, []);
}

#[test]
fn urls_are_checked_like_the_file() {
    let toml = "[defaults]\npayload = \"hex\"\n".to_owned() + &listener("tcp", "127.0.0.1:7", "");
    let urls = ["udp://[::1]:0?mode=forking&workers=4", "unix:%t/y?socket-mode=0660&keepalive=on"];
    assert_eq!(
        faults_of(&toml, &urls),
        ["--listen:1:28 `keepalive` does not fit protocol `unix`: take it out; only `tcp` has it"]
    );
    let loaded = try_load(&toml, &[urls[0], "tcp://127.0.0.1:8?keepalive=on&mode=iterative"]).unwrap();
    let [_, udp, tcp] = loaded.config.listeners.as_slice() else { panic!("three listeners") };
    assert_eq!((udp.mode, udp.workers), (Mode::Forking, Workers::Count(4)));
    assert_eq!((tcp.keepalive, tcp.mode), (Keepalive::On, Mode::Iterative));
    assert_eq!(tcp.payload, crate::config::Payload::Hex);

    assert_eq!(
        faults_of(&toml, &["tcp://127.0.0.1:7", "tpc://127.0.0.1:9?serivce=upper&service=uper"]),
        [
            "--listen:1:7 tcp://127.0.0.1:7 is served twice: choose another port, or set `reuse-port = true` for both",
            "--listen:1:1 unknown protocol `tpc`: did you mean `tcp`?",
            "--listen:1:19 unknown key `serivce`: did you mean `service`?",
            "--listen:1:41 unknown service `uper`: did you mean `upper`?",
        ]
    );
}
