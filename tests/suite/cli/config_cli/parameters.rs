//! The parameters of a URL: every key of a listener means there what it means in a file.

use std::{collections::BTreeMap, fmt::Write, fs};

use echod::config::reference;
use toml::{Table, Value};

use crate::{docs::pages::keys::listeners_with, harness::Launch};

/// Values that are easily taken for something else, or take another form than the example of the table.
const MORE: &[&str] = &[
    "name = \"12\"",
    "name = \"true\"",
    "name = \"a,b&c=d?e%25\"",
    "quote = \"-5\"",
    "quote = \"a,\\nb\"",
    "refusal = \"1234\"",
    "refusal = \"true\"",
    "refusal = \"off\"",
    "device = \"lo\"",
    "enabled = true",
    "busy-poll = \"off\"",
    "idle-timeout = \"off\"",
    "max-lifetime = \"off\"",
    "connection-rate = \"off\"",
    "rate-per-source = \"off\"",
    "rate-per-source = \"10/min burst 30\"",
    "payload = \"off\"",
    "proxy-protocol = \"off\"",
    "fallback = \"off\"",
    "keepalive = \"off\"",
    "keepalive = \"60s, 3 times\"",
    "keepalive = \"on\"",
    "keepalive = false",
    "keepalive = true",
    "workers = \"auto\"",
    "max-bytes = 1000",
    "max-bytes = \"off\"",
    "max-requests = \"off\"",
    "max-connections-per-source = \"off\"",
    "loop-breaker = \"off\"",
    "loop-breaker = 0",
    "receive-buffer = 65536",
    "deny-source-ports = \"none\"",
    "deny-source-ports = 53",
    "deny-source-ports = [\"reflectors\", \"privileged\"]",
    "trusted = []",
    "deny = []",
    "allow = \"192.0.2.1\"",
    "socket-user = 0",
    "socket-group = \"0\"",
    "allow-users = [\"0\", \"root\"]",
    "address = [\"127.0.0.1:0\", \"[::1]:0\", \"127.0.0.2:7000-7009\"]",
];

#[test]
fn every_key_means_in_a_url_what_it_means_in_a_file() {
    let of_listeners = reference().into_iter().filter(|key| key.table == "[[listener]]");
    let mut examples: Vec<_> =
        of_listeners.map(|key| (key.name.to_owned(), format!("{} = {}", key.name, key.example))).collect();
    assert!(examples.len() > 50, "{examples:?}");
    let more = MORE.iter().map(|line| (line.split(' ').next().unwrap().to_owned(), (*line).to_owned()));
    examples.extend(more);
    // A URL cannot have a plan of faults, so it can only name one of a file.
    for (key, example) in examples.iter().filter(|(key, _)| !matches!(&**key, "protocol" | "faults")) {
        let (file, printed) = listeners_with(key, example)
            .into_iter()
            .find_map(|file| Some((printed(launch(&file))?, file)))
            .map(|(printed, file)| (file, printed))
            .unwrap_or_else(|| panic!("`{example}` is refused"));
        let written: Table = file.parse().unwrap();
        let mut tried = Vec::new();
        for form in [Form::Commas, Form::Repeated, Form::Encoded] {
            let urls: Vec<_> =
                written["listener"].as_array().unwrap().iter().map(|one| url(one, form)).collect();
            // Of most keys the forms are the same.
            if tried.contains(&urls) {
                continue;
            }
            let launch =
                urls.iter().fold(with_networks(Launch::new()), |launch, url| launch.args(&["-l", url]));
            let launch = launch.args(&["--print-config"]).run();
            launch.expect(0, &[]);
            assert_eq!(listeners(&launch.stdout), printed, "`{example}` as {urls:?}");
            tried.push(urls);
        }
    }
}

#[test]
fn what_is_wrong_in_a_url_is_a_wrong_command_line() {
    for (url, words) in [
        ("tcp://127.0.0.1:0?connection-rate=50", &["say in what time", "`50/s`"][..]),
        ("tcp://127.0.0.1:0?max-connections=1e6", &["a whole number from 1 to 1000000"]),
        ("tcp://127.0.0.1:0?idle-timeout=5", &["`5s`"]),
        ("tcp://127.0.0.1:0?mode='forking'", &["which a URL has not", "`mode=forking`"]),
        ("tcp://127.0.0.1:0?mode=forking&mode=forking", &["given twice"]),
        ("tcp://127.0.0.1:0?allow=10.0.0.0/8,nonsense&allow=::1", &["`nonsense` is not a network", ":1:36"]),
        ("tcp://127.0.0.1:0?allow=", &["nobody could come in"]),
        ("tcp://127.0.0.1", &["a port is missing"]),
    ] {
        for args in [
            &["-l", url][..],
            &["--check", "-l", url],
            &["explain", "-l", url, "--listener", "x", "--from", "::1"],
        ] {
            Launch::new().args(args).run().expect(64, words);
        }
        // Of a file that is wrong as well, the file counts.
        Launch::new().config("nonsense\n").args(&["-l", url]).run().expect(78, &[]);
    }
    for url in
        ["tcp://127.0.0.1", "bogus:x", "127.0.0.1:7", "tcp://127.0.0.1:7?mode=epoll", "udp://[fe80::1]:7"]
    {
        Launch::new().args(&["--probe", url]).run().expect(64, &[]);
    }
}

fn launch(file: &str) -> Launch {
    with_networks(Launch::new().config(file).args(&["--print-config"]))
}

fn with_networks(launch: Launch) -> Launch {
    fs::write(launch.dir().join("networks.txt"), "192.0.2.0/24\n").unwrap();
    launch
}

/// The listeners of a configuration, if it is one.
fn printed(launch: Launch) -> Option<Vec<BTreeMap<String, Value>>> {
    let printed = launch.run();
    printed.status.success().then(|| listeners(&printed.stdout))
}

fn listeners(printed: &str) -> Vec<BTreeMap<String, Value>> {
    let table: Table = printed.parse().unwrap();
    table["listener"].as_array().unwrap().iter().map(|one| one.clone().try_into().unwrap()).collect()
}

/// How a list and its values are written.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Commas,
    Repeated,
    Encoded,
}

fn url(listener: &Value, form: Form) -> String {
    let listener = listener.as_table().unwrap();
    let protocol = listener["protocol"].as_str().unwrap();
    let addresses = texts(&listener["address"]);
    let slashes = if protocol.starts_with("unix") { "" } else { "//" };
    let mut url = format!("{protocol}:{slashes}{}", addresses[0]);
    let mut mark = '?';
    let mut add = |key: &str, value: String| {
        write!(url, "{mark}{key}={value}").unwrap();
        mark = '&';
    };
    for (key, value) in listener.iter().filter(|(key, _)| *key != "protocol") {
        let mut values = texts(value);
        if key == "address" {
            values.remove(0);
            values.into_iter().for_each(|address| add(key, address));
            continue;
        }
        let encoded: Vec<_> = values.iter().map(|value| encode(value, form == Form::Encoded)).collect();
        match form {
            Form::Repeated if !encoded.is_empty() => encoded.into_iter().for_each(|value| add(key, value)),
            _ => add(key, encoded.join(",")),
        }
    }
    url
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        value => vec![value.to_string()],
    }
}

/// Percent-encoded: what a URL or a list needs for itself, or all of it.
fn encode(text: &str, whole: bool) -> String {
    let is_special = |byte: u8| whole || byte.is_ascii_control() || b"%&,".contains(&byte);
    text.bytes()
        .map(|byte| if is_special(byte) { format!("%{byte:02X}") } else { char::from(byte).to_string() })
        .collect()
}
