//! What is written from the table of keys: the commented configuration, echod.toml(5), the reference and the schema.

use std::fmt::Write;

use echod::config::{INCLUDE, KeyInfo, reference, schema};

use super::read;

/// Where the packages put the schema. Editors look for this line in a file, and then complete and check it.
pub(super) const SCHEMA_LINE: &str = "#:schema file:///usr/share/echod/echod.schema.json\n";

const LINE: usize = 120;

/// config/echod.toml: every key once, in the first table that may have it.
pub(super) fn commented() -> String {
    let keys = reference();
    let mut text = format!("{SCHEMA_LINE}{}", read("tests/suite/docs/pages/templates/echod.toml.in"));
    for (mark, wanted) in [
        ("@DAEMON@", of(&keys, |key| key.table == "[daemon]")),
        ("@LOG@", of(&keys, |key| key.table == "[log]")),
        ("@OBSERVE@", of(&keys, |key| key.table == "[observe]")),
        ("@DEFAULTS@", of(&keys, |key| place(key) == Some("[defaults]"))),
        ("@TCP@", of(&keys, |key| place(key) == Some("tcp"))),
        ("@UDP@", of(&keys, |key| place(key) == Some("udp"))),
        ("@UNIX@", of(&keys, |key| place(key) == Some("unix"))),
        ("@FAULTS@", of(&keys, |key| key.table == "[[faults]]")),
    ] {
        assert!(text.contains(&format!("{mark}\n")), "no {mark}");
        text = text.replace(&format!("{mark}\n"), &wanted.iter().map(|key| shown(key)).collect::<String>());
    }
    text = text.replace("@INCLUDE@\n", &comment(INCLUDE));
    for key in &keys {
        text = text.replace(&format!("@{}@\n", key.name), &comment(&about(key)));
    }
    assert!(!text.contains('@') || text.matches('@').count() == text.matches("`@`").count(), "{text}");
    text
}

fn of(keys: &[KeyInfo], is_wanted: impl Fn(&KeyInfo) -> bool) -> Vec<&KeyInfo> {
    keys.iter().filter(|key| is_wanted(key)).collect()
}

/// Where the configuration shows a key of a listener; the template has those that must be written.
fn place(key: &KeyInfo) -> Option<&'static str> {
    if key.table != "[[listener]]" || !key.has_default || key.default_words == "required" {
        return None;
    }
    Some(match key.protocols[..] {
        ["tcp"] => "tcp",
        ["udp"] | ["udp", "unix-datagram"] => "udp",
        ["unix", "unix-seqpacket"] | ["unix", "unix-seqpacket", "unix-datagram"] => "unix",
        _ => "[defaults]",
    })
}

/// `#key = default`, or `## key = example` where no value says the default.
fn shown(key: &KeyInfo) -> String {
    let line = match &key.default {
        // A table that is not there unless it is wanted.
        Some(default) if key.table == "[[faults]]" => format!("## {} = {default}\n", key.name),
        Some(default) => format!("#{} = {default}\n", key.name),
        None => format!("## {} = {}\n", key.name, key.example),
    };
    comment(&about(key)) + &line
}

fn about(key: &KeyInfo) -> String {
    let mut text = key.text.to_owned();
    if let Some(words) = key.kind.strip_prefix("a word: ")
        && words.split(", ").any(|word| !text.contains(word))
    {
        let _ = write!(text, " The words are {words}.");
    }
    if key.default_words.contains("; ") {
        let _ = write!(text, " Default: {}.", key.default_words);
    } else if key.default.is_none() && !["required", "none"].contains(&&*key.default_words) {
        let _ = write!(text, " Left out: {}.", key.default_words);
    }
    if let Some(needs) = &key.needs {
        let _ = write!(text, " For {needs}.");
    }
    text
}

/// Lines of a comment.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > LINE {
            lines += &(std::mem::replace(&mut line, "#".into()) + "\n");
        }
        line += " ";
        line += word;
    }
    lines + &line + "\n"
}

/// echod.toml(5).
pub(super) fn manual() -> String {
    let mut keys = String::new();
    let _ = write!(
        keys,
        ".TP\n.B include\nA text, or a list of texts; at the top of the file, before the first table.\n{}\n",
        roff(INCLUDE)
    );
    keys += ".br\nExample: \\fIinclude = [\"conf.d/*.toml\"]\\fR\n";
    for (table, about) in TABLES {
        let _ = write!(keys, ".SS {table}\n{}\n", roff(about));
        for key in reference().iter().filter(|key| key.table == table) {
            let _ = write!(keys, ".TP\n.B {}\n{}.\n", escape(key.name), roff(&facts(key)));
            let _ = writeln!(keys, "{}", roff(key.text));
            let _ = write!(keys, ".br\nExample: \\fI{} = {}\\fR\n", escape(key.name), escape(key.example));
        }
    }
    let version = concat!("echod ", env!("CARGO_PKG_VERSION"));
    read("tests/suite/docs/pages/templates/echod.toml.5.in")
        .replace("@KEYS@\n", &keys)
        .replace("@VERSION@", version)
}

const TABLES: [(&str, &str); 5] = [
    ("[daemon]", "The process as a whole."),
    ("[log]", "What is written about what happens, how and where."),
    ("[observe]", "The read-only HTTP endpoint of the daemon: metrics, health, status and a page."),
    (
        "[[listener]]",
        "One or more sockets, how their clients are served, and with what. A key that is for some listeners is refused for \
         the others.",
    ),
    (
        "[[faults]]",
        "A named plan of what goes wrong on purpose, for the tests of clients. A listener calls it by its name in `faults`, if \
         `allow-faults` in `[daemon]` allows that. Each fault is decided by the seed, the source and its running number alone. A tour is in docs/operate/faults.md.",
    ),
];

/// `A duration; default "5s"; for tcp; counts from the next start on`.
fn facts(key: &KeyInfo) -> String {
    let mut kind = key.kind.clone();
    if let Some(first) = kind.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    let default = match (&key.default, &*key.default_words) {
        (_, "required") => "required".to_owned(),
        (Some(default), words) => format!("default `{default}`{}", &words[default.len()..]),
        (None, words) => format!("default: {words}"),
    };
    let needs = key.needs.as_ref().map(|needs| format!("; for {needs}")).unwrap_or_default();
    let reload = if key.reload == LIVE { String::new() } else { format!("; {}", key.reload) };
    format!("{kind}; {default}{needs}{reload}")
}

const LIVE: &str = "counts from a reload on";

/// Text with code in backticks as roff, a sentence a line.
fn roff(text: &str) -> String {
    let mut page = String::new();
    for (number, part) in escape(&text.replace(". ", ".\n")).split('`').enumerate() {
        match number % 2 {
            0 => page += part,
            _ => page += &format!("\\fB{part}\\fR"),
        }
    }
    page
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq")
}

/// docs/reference/configuration.md.
pub(super) fn markdown() -> String {
    let mut text = read("tests/suite/docs/pages/templates/configuration.md.in");
    let _ = write!(
        text,
        "\n## `include`\n\nA text, or a list of texts; at the top of the file, before the first table.\n\n{INCLUDE}\n\n"
    );
    text += "    include = [\"conf.d/*.toml\"]\n";
    for (table, about) in TABLES {
        let _ = write!(text, "\n## `{table}`\n\n{about}\n");
        for key in reference().iter().filter(|key| key.table == table) {
            let name = key.name;
            let _ = write!(text, "\n### `{name}`\n\n{}.\n\n{}\n\n", facts(key), key.text);
            let _ = writeln!(text, "    {name} = {}", key.example);
        }
    }
    text
}

/// The schema, for editors.
pub(super) fn json_schema() -> String {
    serde_json::to_string_pretty(&schema()).unwrap() + "\n"
}
