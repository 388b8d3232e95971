//! From text to the shapes of `file`. toml stops at the first key or value that does not fit a shape; here that one is
//! noted and cut out, and the rest is read again, so that one run reports them all.

use std::ops::Range;

use serde::Deserialize;
use toml::de::{DeArray, DeTable, DeValue, Error};

use super::{
    diagnostic::{Faults, Place, Trouble},
    file::{Daemon, File, Listener, Log},
    words,
};

/// Reads the TOML of source number `source`. What does not fit is noted and left out.
pub(super) fn parse(toml: &str, source: usize, faults: &mut Faults) -> File {
    let (mut document, errors) = DeTable::parse_recoverable(toml);
    if !errors.is_empty() {
        note_syntax(toml, &errors, source, faults);
        return File::default();
    }
    loop {
        let error = match File::deserialize(toml::de::Deserializer::from(document.clone())) {
            Ok(file) => return file,
            Err(error) => error,
        };
        let span = error.span().unwrap_or(0..0);
        let cut = cut(document.get_mut(), &span);
        let trouble = explain(error.message(), cut.as_deref());
        faults.push(Place::new(source, span), trouble);
        if cut.is_none() {
            return File::default();
        }
    }
}

/// Notes what is not TOML. After the first error in a line the parser guesses, so the others there would mislead.
fn note_syntax(toml: &str, errors: &[Error], source: usize, faults: &mut Faults) {
    let mut last_line = None;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let line = toml.as_bytes()[..span.start].iter().filter(|byte| **byte == b'\n').count();
        if last_line.replace(line) != Some(line) {
            faults.push(Place::new(source, span), syntax(error.message()));
        }
    }
}

fn syntax(message: &str) -> Trouble {
    let (title, expected) = message.split_once(", expected ").unwrap_or((message, "nothing"));
    let cure = match (title, expected) {
        ("string values must be quoted", _) => "put it in quotes".to_owned(),
        ("unexpected leading zero", _) => "put octal digits in quotes, like \"0660\"".to_owned(),
        ("duplicate key", _) => "it is there already; take one out".to_owned(),
        (_, "nothing") => "this is not TOML".to_owned(),
        (_, expected) => format!("expected {expected}"),
    };
    Trouble::new(title, cure)
}

/// Removes the entry whose key or value is at `span`, and returns its key.
fn cut(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let found =
        table.iter().find(|(key, value)| key.span() == *span || holds(value.get_ref(), value.span(), span));
    if let Some(key) = found.map(|(key, _)| key.clone()) {
        table.remove(&key);
        return Some(key.into_inner().into_owned());
    }
    table.iter_mut().find_map(|(_, value)| match value.get_mut() {
        DeValue::Table(table) => cut(table, span),
        DeValue::Array(array) => array.iter_mut().find_map(|element| match element.get_mut() {
            DeValue::Table(table) => cut(table, span),
            _ => None,
        }),
        _ => None,
    })
}

/// Whether the value, or a plain element of it, is at `span`.
fn holds(value: &DeValue<'_>, at: Range<usize>, span: &Range<usize>) -> bool {
    let element = |array: &DeArray<'_>| array.iter().any(|element| element.span() == *span);
    at == *span || value.as_array().is_some_and(element)
}

/// Says in plain words what serde means, about `key`.
fn explain(message: &str, key: Option<&str>) -> Trouble {
    let key = key.unwrap_or_default();
    if message.starts_with("unknown field") {
        // The message lists the key itself, then all the keys that may stand there, in backquotes.
        let known = message.split('`').skip(3).step_by(2);
        return Trouble::new(format!("unknown key {}", super::quoted(key)), unknown_key(key, known));
    }
    let types = message.strip_prefix("invalid type: ").and_then(|types| types.split_once(", expected "));
    let Some((found, expected)) = types else {
        return Trouble::new(message, "");
    };
    let found = match found {
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        found => format!("the {}", found.escape_debug().to_string().replace("\\\"", "\"")),
    };
    let (expected, cure) = match expected {
        "a boolean" => ("`true` or `false`", "write `true` or `false`, without quotes".to_owned()),
        "i64" if found.ends_with(" as i128") => {
            return Trouble::new(format!("`{key}` is too large"), "write a smaller number");
        }
        "i64" => ("a whole number", "write a number, without quotes".to_owned()),
        "a string" => ("a string", "write one string, in quotes".to_owned()),
        "a string or a number" => (expected, "write one string or number".to_owned()),
        "a sequence" => ("a list of tables", format!("write `[[{key}]]`, one for each")),
        expected if expected.starts_with("struct") => {
            ("a table", format!("write `[{key}]` on a line of its own"))
        }
        expected => (expected, String::new()),
    };
    Trouble::new(format!("`{key}` must be {expected}, not {found}"), cure)
}

fn unknown_key<'a>(key: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = words::nearest(key, known.clone()) {
        return format!("did you mean `{near}`?");
    }
    let tables = [("[daemon]", Daemon::KEYS), ("[log]", Log::KEYS), ("[[listener]]", Listener::KEYS)];
    match tables.iter().find(|(_, keys)| keys.contains(&key)) {
        Some((table, _)) => format!("this key belongs in `{table}`"),
        None if known.clone().count() > 8 => {
            "no key is like it; `echod --print-config` shows them all".to_owned()
        }
        None => words::suggestion(key, known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diagnostic::Source;

    fn faults(toml: &str) -> String {
        let mut faults = Faults::default();
        parse(toml, 0, &mut faults);
        faults.render(&[Source::toml("f", toml)], false)
    }

    /// Each pair of a title and a label, without the drawing.
    fn short(toml: &str) -> Vec<String> {
        let text = faults(toml);
        let titles = text.lines().filter_map(|line| line.strip_prefix("error: "));
        let labels = text.lines().filter_map(|line| line.split_once("^ ")).map(|(_, label)| label);
        titles.zip(labels).map(|(title, label)| format!("{title}: {label}")).collect()
    }

    #[test]
    fn every_misfit_is_found_in_one_run() {
        let toml = "\
max-requests = 1
[daemon]
drain-timeout = 5
level = 'info'
[log]
format = ['text']
[[listener]]
max-conections = 100
nodelay = 'yes'
address = ['a', 1]
[[listener]]
protocol = true
max-requests = 'none'
colour = 1
";
        assert_eq!(
            short(toml),
            [
                "unknown key `max-requests`: this key belongs in `[[listener]]`",
                "`drain-timeout` must be a string, not the integer `5`: write one string, in quotes",
                "unknown key `level`: this key belongs in `[log]`",
                "`format` must be a string, not a list: write one string, in quotes",
                "unknown key `max-conections`: did you mean `max-connections`?",
                "`nodelay` must be `true` or `false`, not the string \"yes\": write `true` or `false`, without quotes",
                "`address` must be a string, not the integer `1`: write one string, in quotes",
                "`protocol` must be a string, not the boolean `true`: write one string, in quotes",
                "`max-requests` must be a whole number, not the string \"none\": write a number, without quotes",
                "unknown key `colour`: no key is like it; `echod --print-config` shows them all",
            ]
        );
    }

    #[test]
    fn tables_of_the_wrong_kind_are_explained() {
        assert_eq!(
            short("[listener]\nname = 'x'\n"),
            ["`listener` must be a list of tables, not a table: write `[[listener]]`, one for each"]
        );
        assert_eq!(
            short("daemon = 1\n"),
            ["`daemon` must be a table, not the integer `1`: write `[daemon]` on a line of its own"]
        );
        assert_eq!(short("[listeners]\n"), ["unknown key `listeners`: did you mean `listener`?"]);
    }

    #[test]
    fn syntax_errors_are_cited() {
        let expected = "\
error: string values must be quoted
 --> f:2:8
  |
2 | name = web
  |        ^^^ put it in quotes";
        assert_eq!(faults("[[listener]]\nname = web\n"), expected);
        assert_eq!(short("a = 1\na = 2\n"), ["duplicate key: it is there already; take one out"]);
        assert_eq!(
            short("socket-mode = 0666\nname web\n"),
            [
                "unexpected leading zero: put octal digits in quotes, like \"0660\"",
                "key with no value: expected `=`",
            ]
        );
    }
}
