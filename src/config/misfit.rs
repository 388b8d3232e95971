//! What an error says where the value of a key is of another kind than it must be, or beyond its limits: what is there, and what
//! to write instead.

use std::fmt;

use super::{
    diagnostic::Diagnostic,
    keys::{Form, Range},
    synonyms,
};

/// What stands in the place of the value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Found<'a> {
    /// A whole number, as it is written.
    Integer(&'a str),
    /// Another number.
    Float(&'a str),
    Text(&'a str),
    Switch(bool),
    List,
    Table,
    Date,
}

/// What is wrong with the value of `key`, and what to write.
pub(super) fn misfit(key: &str, form: Form, found: Found<'_>) -> Diagnostic {
    let title = match found {
        Found::Integer(number) if form.takes_numbers() => format!("`{key}` cannot be {number}"),
        _ => format!("`{key}` must be {}, not {found}", expected(form)),
    };
    Diagnostic::new(title, form.help(key, found))
}

fn expected(form: Form) -> &'static str {
    match form {
        Form::Text(_) => "a text",
        Form::Word(_) => "a word",
        Form::Switch => "`true` or `false`",
        Form::Number(_) => "a whole number",
        Form::Limit(_) => "a whole number or \"off\"",
        Form::Workers | Form::Dscp => "a number or a word",
        Form::Keepalive => "\"on\", \"off\" or a duration",
        Form::Duration(_) | Form::OptionalDuration(_) => "a duration",
        Form::Size | Form::SizeLimit => "a number of bytes",
        Form::Rate => "a rate",
        Form::Permissions => "octal digits in quotes",
        Form::Owner => "a name or a number",
        Form::List(_) => "a text or a list of texts",
        Form::Ports => "a word, a port or a list of ports",
    }
}

impl Form {
    /// What to write in the place of `found`.
    pub(super) fn help(self, key: &str, found: Found<'_>) -> String {
        use Found::{Date, Float, Integer, List, Switch, Table, Text};
        match (self, found) {
            (Form::Word(_), List) if matches!(key, "protocol" | "mode" | "service") => {
                "a listener has one; write a `[[listener]]` for each".to_owned()
            }
            (form, List) if !form.is_list() => "write one value, without brackets".to_owned(),
            (Form::Word(words), Switch(on)) if words().contains(&on_or_off(on)) => {
                format!("write \"{}\"", on_or_off(on))
            }
            (Form::Word(words), _) => {
                let words: Vec<_> = words().iter().map(|word| format!("\"{word}\"")).collect();
                format!("write one of {}", words.join(", "))
            }
            (Form::Text(_), Integer(written) | Float(written))
                if matches!(key, "name" | "quote" | "refusal") =>
            {
                format!("write \"{written}\", in quotes")
            }
            (Form::Text(example), _) => format!("write a text in quotes, for example \"{example}\""),
            (Form::Switch, Text(word @ ("true" | "false"))) => format!("write `{word}`, without quotes"),
            (Form::Switch, Text(text) | Integer(text)) => match synonyms::switch(text) {
                Some(switch) => format!("write `{switch}`"),
                None => "write `true` or `false`".to_owned(),
            },
            (Form::Switch, _) => "write `true` or `false`".to_owned(),
            (Form::Number(range), found) => number_help(range, found, ""),
            (Form::Limit(_), Switch(false)) => "write \"off\"".to_owned(),
            (Form::Limit(_), Text(text)) if synonyms::means_off(text) => "write \"off\"".to_owned(),
            (Form::Limit(range), found) => number_help(range, found, ", or \"off\""),
            (Form::Workers, Text(text)) if text.parse::<u16>().is_ok() => {
                format!("write `{text}`, without quotes")
            }
            (Form::Workers, _) => {
                "write \"per-request\", \"auto\" or a whole number from 1 to 1024".to_owned()
            }
            (Form::Dscp, Text("copy" | "same" | "mirror" | "client" | "request")) => {
                "did you mean `reflect`?".to_owned()
            }
            (Form::Dscp, _) => {
                "write a number from 0 to 63, a name such as \"EF\" or \"AF41\", or \"reflect\"".to_owned()
            }
            (Form::Keepalive, Text(text)) if synonyms::switch(text).is_some() => {
                format!("write \"{}\"", on_or_off(synonyms::switch(text) == Some(true)))
            }
            (Form::Keepalive, Integer(seconds)) if !is_zero_or_less(seconds) => {
                format!("write \"{seconds}s\", a number with its unit in quotes; or \"on\" or \"off\"")
            }
            (Form::Keepalive, _) => {
                "write \"off\", \"on\", or for example \"60s\" or \"60s every 10s, 3 times\"".to_owned()
            }
            (
                Form::OptionalDuration(_) | Form::Rate | Form::SizeLimit,
                Switch(false) | Integer("0" | "-1") | Float("inf"),
            ) => "write \"off\"".to_owned(),
            (Form::Duration(unit) | Form::OptionalDuration(unit), Integer(number) | Float(number))
                if number.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                format!("write \"{number}{unit}\", a number with its unit in quotes")
            }
            (Form::Duration(_), _) => "write for example \"30s\", \"500ms\" or \"1h 30m\"".to_owned(),
            (Form::OptionalDuration(_), _) => {
                "write \"off\", or for example \"30s\", \"500ms\" or \"1h 30m\"".to_owned()
            }
            (Form::Size, _) => {
                "write bytes, for example 65536 or \"64KiB\", or 0 for the kernel's default".to_owned()
            }
            (Form::SizeLimit, Text(text)) if synonyms::means_off(text) => "write \"off\"".to_owned(),
            (Form::SizeLimit, _) => {
                "write bytes, for example 1000000 or \"1MB\", or \"off\" for no limit".to_owned()
            }
            (Form::Rate, Integer(number)) if !is_zero_or_less(number) => {
                format!("write \"{number}/s\", \"{number}/min\" or \"{number}/h\", in quotes")
            }
            (Form::Rate, _) => "write \"off\", or for example \"50/s\" or \"10/min burst 30\"".to_owned(),
            (Form::Permissions, Integer(written)) => {
                let digits = written.trim_start_matches("0o").trim_start_matches('0');
                format!("write \"0{digits}\", octal digits in quotes")
            }
            (Form::Permissions, _) => "write for example \"0660\", octal digits in quotes".to_owned(),
            (Form::Owner, _) => "write the name in quotes, or the number".to_owned(),
            (Form::List(_), Integer(port)) if key == "address" => {
                format!("write a host and a port in quotes, for example \"127.0.0.1:{port}\"")
            }
            (Form::List(_), Integer(written)) if key.ends_with("users") || key.ends_with("groups") => {
                format!("write \"{written}\", in quotes")
            }
            (Form::List(example), Date | Float(_) | Integer(_) | Switch(_) | Table | List | Text(_)) => {
                format!("write texts in quotes, for example [\"{example}\"]")
            }
            (Form::Ports, _) => {
                "write \"reflectors\", \"privileged\", \"none\", or a list such as [7, 19, \"4000-4009\"]"
                    .to_owned()
            }
        }
    }
}

fn number_help(range: Range, found: Found<'_>, or: &str) -> String {
    let meant = match found {
        Found::Text(text) | Found::Float(text) => {
            synonyms::number(text).filter(|number| range.contains(*number))
        }
        _ => None,
    };
    match (meant, found) {
        (Some(number), Found::Text(text)) if number.to_string() == text => {
            format!("write `{number}`, without quotes")
        }
        (Some(number), _) => format!("write `{number}`, {range}{or}"),
        (None, _) => format!("write {range}{or}"),
    }
}

fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn is_zero_or_less(number: &str) -> bool {
    number.starts_with('-') || number.trim_matches('0').is_empty()
}

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Integer(number) => write!(f, "the integer `{number}`"),
            Found::Float(number) => write!(f, "the number `{number}`"),
            Found::Text(text) => write!(f, "the string \"{}\"", text.escape_debug()),
            Found::Switch(switch) => write!(f, "the boolean `{switch}`"),
            Found::List => f.write_str("a list"),
            Found::Table => f.write_str("a table"),
            Found::Date => f.write_str("a date"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    #[test]
    fn a_value_of_another_kind_gets_its_help_in_one_step() {
        use Found::{Date, Float, Integer, List, Switch, Text};
        for (key, found, help) in [
            ("idle-timeout", Integer("5"), "write \"5s\", a number with its unit in quotes"),
            ("idle-timeout", Float("1.5"), "write \"1.5s\", a number with its unit in quotes"),
            ("idle-timeout", Switch(false), "write \"off\""),
            ("idle-timeout", Integer("0"), "write \"off\""),
            ("drain-timeout", Integer("0"), "write \"0s\", a number with its unit in quotes"),
            ("busy-poll", Integer("50"), "write \"50us\", a number with its unit in quotes"),
            ("max-connections", Float("1e6"), "write `1000000`, a whole number from 1 to 1000000"),
            ("max-connections", Text("1e6"), "write `1000000`, a whole number from 1 to 1000000"),
            ("max-connections", Text("100"), "write `100`, without quotes"),
            ("max-connections", Text("100k"), "write `100000`, a whole number from 1 to 1000000"),
            ("max-connections", Text("9M"), "write a whole number from 1 to 1000000"),
            ("max-connections", Integer("0"), "write a whole number from 1 to 1000000"),
            ("max-connections", Date, "write a whole number from 1 to 1000000"),
            ("max-requests", Text("unlimited"), "write \"off\""),
            (
                "max-requests",
                Integer("-1"),
                "write a whole number from 0 to 9223372036854775807 (2^63-1), or \"off\"",
            ),
            ("nodelay", Text("true"), "write `true`, without quotes"),
            ("nodelay", Text("yes"), "write `true`"),
            ("nodelay", Integer("0"), "write `false`"),
            ("nodelay", Text("perhaps"), "write `true` or `false`"),
            ("connection-rate", Integer("50"), "write \"50/s\", \"50/min\" or \"50/h\", in quotes"),
            ("socket-mode", Integer("660"), "write \"0660\", octal digits in quotes"),
            ("socket-mode", Integer("0o660"), "write \"0660\", octal digits in quotes"),
            ("payload", Switch(false), "write \"off\""),
            ("payload", Switch(true), "write one of \"off\", \"text\", \"hex\""),
            ("sandbox", Switch(true), "write \"on\""),
            ("mode", List, "a listener has one; write a `[[listener]]` for each"),
            ("quote", Integer("5"), "write \"5\", in quotes"),
            ("allow-users", Integer("1000"), "write \"1000\", in quotes"),
            ("address", Integer("7"), "write a host and a port in quotes, for example \"127.0.0.1:7\""),
            ("workers", Text("4"), "write `4`, without quotes"),
            (
                "keepalive",
                Integer("60"),
                "write \"60s\", a number with its unit in quotes; or \"on\" or \"off\"",
            ),
        ] {
            let form = keys::form(key).unwrap();
            assert_eq!(misfit(key, form, found).help, help, "{key}: {found}");
        }
    }
}
