//! What the pages, the commented configuration file and the schema say of each key. They are generated from this; a test holds
//! the files in the repository to it.

use serde_json::{Map, json};

use super::{
    Mode, Protocol,
    applicability::Profile,
    keys::{self, AnyKey, Reload},
    words,
};

/// A key as the pages tell it.
#[derive(Clone, Debug)]
pub struct KeyInfo {
    /// The header of its table: `[daemon]`, `[log]`, `[observe]`, `[[listener]]` or `[[faults]]`.
    pub table: &'static str,
    /// The key.
    pub name: &'static str,
    /// What it does, with code in backticks.
    pub text: &'static str,
    /// How its value is written: `a duration`.
    pub kind: String,
    /// Its default, as a value of TOML.
    pub default: Option<String>,
    /// The same in words: `10000; in mode select 960`, `none`, `required`.
    pub default_words: String,
    /// Which listeners may have it, if not all: `tcp and udp`.
    pub needs: Option<String>,
    /// The protocols of these listeners.
    pub protocols: Vec<&'static str>,
    /// When a new value counts.
    pub reload: &'static str,
    /// A value as it stands in a file.
    pub example: &'static str,
    /// Whether `[defaults]` may have it.
    pub has_default: bool,
}

/// Every key, in the order in which configurations are printed.
pub fn reference() -> Vec<KeyInfo> {
    keys::all().map(|(table, key)| info(table, key)).collect()
}

fn info(table: &'static str, key: &'static dyn AnyKey) -> KeyInfo {
    let needs: Vec<_> = key.needs().iter().filter_map(|need| need.words()).collect();
    let fits = |protocol: &Protocol| {
        key.misfit(&Profile { protocol: Some(*protocol), ..Profile::default() }).is_none()
    };
    KeyInfo {
        table,
        name: key.name(),
        text: key.about(),
        kind: key.form().kind(),
        default: key.default_for(&Profile::default()).map(|value| value.to_string()),
        default_words: default_words(key),
        needs: (!needs.is_empty()).then(|| needs.join("; ")),
        protocols: Protocol::ALL
            .iter()
            .zip(words::all::<Protocol>())
            .filter(|(p, _)| fits(p))
            .map(|(_, w)| *w)
            .collect(),
        reload: match key.reload() {
            Reload::Live => "counts from a reload on",
            Reload::Rebind => "counts from a reload on, which binds the sockets anew",
            Reload::Restart => "counts from the next start on",
        },
        example: key.example(),
        has_default: key.misfit(&Profile { is_defaults: true, ..Profile::default() }).is_none(),
    }
}

/// The default, and where it is another one: found by asking for every mode and kind of socket.
fn default_words(key: &dyn AnyKey) -> String {
    if key.is_required() {
        return "required".to_owned();
    }
    if let Some(words) = key.default_words() {
        return words.to_owned();
    }
    let of = |it: &Profile| key.default_for(it).map(|value| value.to_string()).unwrap_or_default();
    let usual = of(&Profile::default());
    // Each other default, and the modes that have it.
    let mut others: Vec<(String, Vec<String>)> = Vec::new();
    for mode in Mode::ALL {
        let for_protocol =
            |protocol| of(&Profile { mode: Some(mode), protocol: Some(protocol), ..Profile::default() });
        let (streams, datagrams) = (for_protocol(Protocol::Tcp), for_protocol(Protocol::Udp));
        let other = match streams == datagrams {
            true if streams == usual => continue,
            true => streams,
            false => format!("{streams} for connections and {datagrams} for datagrams"),
        };
        match others.iter_mut().find(|(earlier, _)| *earlier == other) {
            Some((_, modes)) => modes.push(mode.to_string()),
            None => others.push((other, vec![mode.to_string()])),
        }
    }
    let others = others.iter().map(|(other, modes)| format!("; in mode {} {other}", modes.join(" and ")));
    usual.clone() + &others.collect::<String>()
}

/// What `include` does, which stands in no table.
pub const INCLUDE: &str = "Files with more listeners and plans of faults: each has `[[listener]]` and `[[faults]]`, and nothing else. A path counts from this file. In the name of \
    a file `*` is any text and `?` any character; what such a pattern matches is read in the order of the names, without hidden files. A \
    pattern may match nothing; a file that is named must be there. Everything else, `[defaults]` too, stands in this file and counts for all. A \
    reload reads the files again.";

/// The JSON Schema (draft 7) of a configuration file.
pub fn schema() -> serde_json::Value {
    let all: Vec<_> = keys::all().collect();
    let properties = |table: &str, has: &dyn Fn(&dyn AnyKey) -> bool| -> Map<String, serde_json::Value> {
        let of_table = all.iter().filter(|(header, key)| *header == table && has(*key));
        of_table.map(|(_, key)| (key.name().to_owned(), property(*key))).collect()
    };
    let table = |properties: Map<String, serde_json::Value>| json!({ "type": "object", "additionalProperties": false, "properties": properties });
    let inheritable =
        |key: &dyn AnyKey| key.misfit(&Profile { is_defaults: true, ..Profile::default() }).is_none();
    let mut listener = table(properties("[[listener]]", &|_| true));
    listener["required"] = json!(["address"]);
    listener["allOf"] = Protocol::ALL.iter().map(|protocol| without_misfits(*protocol, &all)).collect();
    let mut faults = table(properties("[[faults]]", &|_| true));
    faults["required"] = json!(["name"]);
    let mut log = table(properties("[log]", &|_| true));
    log["if"] = json!({ "required": ["target"], "properties": { "target": { "const": "file" } } });
    log["then"] = json!({ "required": ["file"] });
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Configuration of echod, see echod.toml(5)",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "include": {
                "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
                "description": INCLUDE,
            },
            "daemon": table(properties("[daemon]", &|_| true)),
            "log": log,
            "observe": table(properties("[observe]", &|_| true)),
            "defaults": table(properties("[[listener]]", &inheritable)),
            "listener": { "type": "array", "items": listener },
            "faults": { "type": "array", "items": faults },
        },
    })
}

fn property(key: &dyn AnyKey) -> serde_json::Value {
    let mut schema = key.form().schema();
    schema["description"] = json!(key.about());
    if let Some(default) =
        key.default_for(&Profile::default()).and_then(|value| serde_json::to_value(value).ok())
    {
        schema["default"] = default;
    }
    schema
}

/// A listener of `protocol` has none of the keys that do not fit it. What depends on more than the protocol is left to echod.
fn without_misfits(protocol: Protocol, all: &[(&'static str, &'static dyn AnyKey)]) -> serde_json::Value {
    let it = Profile { protocol: Some(protocol), proxied: true, ..Profile::default() };
    let misfits = all.iter().filter(|(table, key)| *table == "[[listener]]" && key.misfit(&it).is_some());
    let misfits: Map<String, serde_json::Value> =
        misfits.map(|(_, key)| (key.name().to_owned(), json!(false))).collect();
    json!({
        "if": { "required": ["protocol"], "properties": { "protocol": { "const": protocol.to_string() } } },
        "then": { "properties": misfits },
    })
}
