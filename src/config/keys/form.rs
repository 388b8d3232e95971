//! How the value of a key looks: what a URL needs to know to read it as a file is read, what an error says where something else
//! stands in its place, and what the pages and the schema say.

use std::fmt;

use serde_json::json;

/// The form of a value.
#[derive(Clone, Copy)]
pub(in crate::config) enum Form {
    /// Any text, such as this one.
    Text(&'static str),
    /// One of some words.
    Word(fn() -> &'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Number(Range),
    /// A whole number, or `off`, which is 0.
    Limit(Range),
    /// A number of threads or processes, or a word.
    Workers,
    /// A DSCP: a number, a name, or `reflect`.
    Dscp,
    /// Whether and when: a switch, a word or a duration.
    Keepalive,
    /// A duration, where a plain number most likely has this unit.
    Duration(&'static str),
    /// The same, or `off`.
    OptionalDuration(&'static str),
    /// A number of bytes.
    Size,
    /// A number of bytes, or `off`, which is 0.
    SizeLimit,
    /// So many in a time, or `off`.
    Rate,
    /// Octal permission bits.
    Permissions,
    /// The name or number of a user or a group.
    Owner,
    /// One text or several, such as this one.
    List(&'static str),
    /// Ports, ranges of them, and words.
    Ports,
}

/// The least and the most that a number may be.
#[derive(Clone, Copy)]
pub(in crate::config) struct Range(pub(in crate::config) i64, pub(in crate::config) i64);

impl Form {
    /// Whether it may hold several values.
    pub(in crate::config) fn is_list(self) -> bool {
        matches!(self, Form::List(_) | Form::Ports)
    }

    /// Whether any text is right, whatever it looks like.
    pub(in crate::config) fn is_text(self) -> bool {
        matches!(self, Form::Text(_))
    }

    /// Whether a whole number is of the right kind.
    pub(in crate::config) fn takes_numbers(self) -> bool {
        matches!(
            self,
            Form::Number(_) | Form::Limit(_) | Form::Workers | Form::Dscp | Form::Size | Form::SizeLimit
        )
    }

    /// For the pages: `a whole number from 1 to 128`.
    pub(in crate::config) fn kind(self) -> String {
        match self {
            Form::Text(_) => "a text".into(),
            Form::Word(words) => match words() {
                [a, b] => format!("\"{a}\" or \"{b}\""),
                words => format!("a word: \"{}\"", words.join("\", \"")),
            },
            Form::Switch => "true or false".into(),
            Form::Number(range) => range.to_string(),
            Form::Limit(range) => format!("{range}, or \"off\""),
            Form::Workers => "a whole number from 1 to 1024, \"auto\" or \"per-request\"".into(),
            Form::Dscp => "a whole number from 0 to 63, a name or \"reflect\"".into(),
            Form::Keepalive => "\"off\", \"on\", or an idle time, an interval and a number".into(),
            Form::Duration(_) => "a duration".into(),
            Form::OptionalDuration(_) => "a duration, or \"off\"".into(),
            Form::Size => "a size".into(),
            Form::SizeLimit => "a size, or \"off\"".into(),
            Form::Rate => "a rate, or \"off\"".into(),
            Form::Permissions => "octal digits in quotes".into(),
            Form::Owner => "a name or a number".into(),
            Form::List(_) => "a text, or a list of texts".into(),
            Form::Ports => "a word, a port, or a list of words, ports and ranges".into(),
        }
    }

    /// The JSON Schema of the value, as far as a schema can say it.
    pub(in crate::config) fn schema(self) -> serde_json::Value {
        let text = || json!({ "type": "string" });
        match self {
            Form::Text(_) | Form::Duration(_) | Form::OptionalDuration(_) | Form::Rate => text(),
            Form::Word(words) => json!({ "enum": words() }),
            Form::Switch => json!({ "type": "boolean" }),
            Form::Number(range) => range.schema(),
            Form::Limit(range) => json!({ "anyOf": [range.schema(), { "const": "off" }] }),
            Form::Workers => {
                json!({ "anyOf": [Range(1, 1024).schema(), { "enum": ["auto", "per-request"] }] })
            }
            Form::Dscp => json!({ "anyOf": [Range(0, 63).schema(), text()] }),
            Form::Keepalive => json!({ "type": ["boolean", "string"] }),
            Form::Size => json!({ "anyOf": [Range(0, i32::MAX as i64).schema(), text()] }),
            Form::SizeLimit => json!({ "anyOf": [Range(0, i64::MAX).schema(), text()] }),
            Form::Permissions => json!({ "type": "string", "pattern": "^(0o)?[0-7]+$" }),
            Form::Owner => json!({ "anyOf": [Range(0, u32::MAX as i64 - 1).schema(), text()] }),
            Form::List(_) => json!({ "anyOf": [text(), { "type": "array", "items": text() }] }),
            Form::Ports => {
                let one = json!({ "anyOf": [Range(0, u16::MAX as i64).schema(), text()] });
                json!({ "anyOf": [one, { "type": "array", "items": one }] })
            }
        }
    }
}

impl Range {
    /// Whether `number` is within.
    pub(in crate::config) fn contains(self, number: i64) -> bool {
        (self.0..=self.1).contains(&number)
    }
}

impl Range {
    fn schema(self) -> serde_json::Value {
        match self {
            Range(least, i64::MAX) => json!({ "type": "integer", "minimum": least }),
            Range(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Range(least, i64::MAX) => write!(f, "a whole number from {least} to {} (2^63-1)", i64::MAX),
            Range(least, most) => write!(f, "a whole number from {least} to {most}"),
        }
    }
}
