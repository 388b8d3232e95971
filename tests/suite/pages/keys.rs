//! echod.toml(5) is written by hand; what it says about keys must be true.

use std::{collections::BTreeMap, fs};

use super::{read, unescape};
use crate::common::Launch;

/// What the page says about a key, without marks.
pub(crate) struct Entry {
    /// The table that it is of.
    pub(crate) table: String,
    /// The paragraphs.
    pub(crate) text: String,
}

#[test]
fn every_key_is_in_the_manual_and_nothing_else() {
    let reference = read("config/echod.toml");
    let mut shown: Vec<_> = keys(&reference).map(|(key, _)| key).collect();
    shown.sort_unstable();
    shown.dedup();
    let entries = entries();
    assert!(shown.len() > 25, "these cannot be all the keys: {shown:?}");
    assert_eq!(entries.keys().collect::<Vec<_>>(), shown, "left: man/echod.toml.5, right: config/echod.toml");
}

/// The value that the reference shows in a line such as `#max-requests = 0`.
#[test]
fn the_manual_has_the_defaults_in_bold() {
    let (reference, page) =
        (read("config/echod.toml"), unescape(&read("man/echod.toml.5").replace("\\fB", "**")));
    for (key, default) in keys(&reference).filter_map(|(key, default)| Some((key, default?))) {
        let entry = page.split("\n.TP\n").find(|entry| entry.starts_with(&format!(".B {key}\n"))).unwrap();
        assert!(entry.contains(&format!("default **{default}")), "{key} is {default} by default:\n{entry}");
    }
}

/// Every entry ends with an example, and the daemon takes it.
#[test]
fn the_examples_are_right() {
    for (key, Entry { table, text }) in entries() {
        let example = text.lines().find_map(|line| line.strip_prefix("Example: "));
        let example = example.unwrap_or_else(|| panic!("no example of {key}"));
        assert!(example.starts_with(&format!("{key} = ")), "{example}");
        let configurations = match &*table {
            "[[listener]]" => listeners_with(&key, example),
            // A file of the log, where the log goes to none, is one too many.
            "[log]" if key == "file" => {
                vec![format!("[log]\ntarget = \"file\"\n{example}\n{}", listener("tcp", ""))]
            }
            table => vec![format!("{table}\n{example}\n{}", listener("tcp", ""))],
        };
        let mut refusals = Vec::new();
        let taken = configurations.iter().any(|configuration| {
            let launch = Launch::new().config(configuration).args(&["--check"]);
            fs::write(launch.dir().join("networks.txt"), "192.0.2.0/24\n").unwrap();
            let checked = launch.run();
            refusals.push(checked.stderr);
            checked.status.success()
        });
        assert!(taken, "`{example}` is refused: {}", refusals.join("\n"));
    }
}

/// Listeners of every protocol with `example`, each beside one of the keys that some keys need.
pub(crate) fn listeners_with(key: &str, example: &str) -> Vec<String> {
    let companions = [
        "",
        "mode = \"threading\"",
        "mode = \"io-uring\"",
        "service = \"qotd\"",
        "when-full = \"message\"",
        "rate-per-source = \"9/s\"",
        "proxy-protocol = \"required\"",
    ];
    let other = listener("tcp", "name = \"other\"\n");
    let mut found = Vec::new();
    for companion in companions {
        for protocol in ["tcp", "udp", "unix", "unix-datagram"] {
            let listener = listener(protocol, &format!("{companion}\n{example}\n"));
            found.push(other.clone() + &without_double(&listener, key));
        }
    }
    found
}

fn listener(protocol: &str, rest: &str) -> String {
    let address = if protocol.starts_with("unix") { "it.sock" } else { "127.0.0.1:0" };
    format!("[[listener]]\nprotocol = \"{protocol}\"\naddress = \"{address}\"\n{rest}")
}

/// Of two lines for `key` the last: that of the example.
fn without_double(toml: &str, key: &str) -> String {
    let is_key = |line: &str| line.starts_with(&format!("{key} = "));
    let lines: Vec<_> = toml.lines().collect();
    let last = lines.iter().rposition(|line| is_key(line));
    let kept = lines.iter().enumerate().filter(|(at, line)| !is_key(line) || Some(*at) == last);
    kept.map(|(_, line)| format!("{line}\n")).collect()
}

/// Every entry of the page by its key.
pub(crate) fn entries() -> BTreeMap<String, Entry> {
    let page = unescape(&read("man/echod.toml.5"));
    let mut found = BTreeMap::new();
    for section in page.split("\n.SS ").skip(1) {
        let table = section.lines().next().unwrap().trim_matches('"').to_owned();
        for entry in section.split("\n.TP\n").skip(1) {
            let (key, text) = entry.strip_prefix(".B ").unwrap().split_once('\n').unwrap();
            let entry = Entry { table: table.clone(), text: text.to_owned() };
            assert!(found.insert(key.to_owned(), entry).is_none(), "{key} is there twice");
        }
    }
    found
}

/// Every key of the reference, and the value that it shows as the one without it.
fn keys(reference: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    reference.lines().filter_map(|line| {
        let shown = line.strip_prefix("## ").or_else(|| line.strip_prefix('#')).unwrap_or(line);
        let (key, value) = shown.split_once(" = ")?;
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_default = line.starts_with('#') && !line.starts_with("##");
        (!key.is_empty() && key.chars().all(letter)).then_some((key, is_default.then_some(value)))
    })
}
