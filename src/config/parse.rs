//! From text to the shapes of `file`. Each key is read on its own, so that one run reports everything that does not fit.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, Visitor},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue, Error, ValueDeserializer},
};

use super::{
    diagnostic::{Faults, Place, Trouble},
    file::{Daemon, File, Listener, Log, Written},
    words,
};

/// Reads the TOML of source number `source`. What does not fit is noted and left out.
pub(super) fn parse(toml: &str, source: usize, faults: &mut Faults) -> File {
    let (document, errors) = DeTable::parse_recoverable(toml);
    let mut file = File::default();
    match errors.is_empty() {
        true => Reader { source, faults }.keys(document.into_inner(), &mut file),
        false => note_syntax(toml, &errors, source, faults),
    }
    file
}

/// A table with a fixed set of keys.
pub(super) trait Shape: Default {
    /// Every key, in the order in which files are printed.
    const KEYS: &'static [&'static str];

    /// Reads the value of `key` with `reader`; false if the table has no such key.
    fn read(&mut self, key: &str, value: Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> bool;
}

/// Reads values, and notes those that do not fit.
pub(super) struct Reader<'a> {
    source: usize,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    /// A value and its place; `None` if it does not fit.
    pub(super) fn value<T: DeserializeOwned>(
        &mut self,
        key: &str,
        value: Spanned<DeValue<'_>>,
    ) -> Written<T> {
        let span = value.span();
        let misfit = |error: Error| {
            let place = Place::new(self.source, error.span().unwrap_or(span));
            self.faults.push(place, explain(error.message(), key));
        };
        Spanned::deserialize(ValueDeserializer::from(value)).map_err(misfit).ok()
    }

    /// A table and its place; `None` if it is none.
    pub(super) fn table<T: Shape>(&mut self, key: &str, value: Spanned<DeValue<'_>>) -> Option<Spanned<T>> {
        let (span, mut shape) = (value.span(), T::default());
        match value.into_inner() {
            DeValue::Table(table) => self.keys(table, &mut shape),
            other => {
                self.value::<Table>(key, Spanned::new(span, other));
                return None;
            }
        }
        Some(Spanned::new(span, shape))
    }

    /// A list of tables.
    pub(super) fn tables<T: Shape>(&mut self, key: &str, value: Spanned<DeValue<'_>>) -> Vec<Spanned<T>> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Array(list) => list.into_iter().filter_map(|value| self.table(key, value)).collect(),
            other => {
                self.value::<Vec<IgnoredAny>>(key, Spanned::new(span, other));
                Vec::new()
            }
        }
    }

    fn keys<T: Shape>(&mut self, table: DeTable<'_>, shape: &mut T) {
        for (key, value) in table {
            let (place, key) = (Place::new(self.source, key.span()), key.get_ref());
            if !shape.read(key, value, self) {
                let title = format!("unknown key {}", super::quoted(key));
                self.faults.push(place, Trouble::new(title, unknown_key(key, T::KEYS)));
            }
        }
    }
}

/// What serde is asked for where something stands in the place of a table: its refusal names what that is.
struct Table;

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected;

        impl Visitor<'_> for Expected {
            type Value = Table;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }
        }

        deserializer.deserialize_any(Expected)
    }
}

/// Notes what is not TOML. After the first error in a line the parser guesses, so the others there would mislead.
fn note_syntax(toml: &str, errors: &[Error], source: usize, faults: &mut Faults) {
    let mut last: Option<usize> = None;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        // Both ends count: an error may lie before the last one.
        let between = |last: usize| &toml.as_bytes()[last.min(span.start)..last.max(span.start)];
        if last.is_none_or(|last| between(last).contains(&b'\n')) {
            faults.push(Place::new(source, span.clone()), syntax(error.message()));
        }
        last = Some(span.start);
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

/// Says in plain words what serde means, about `key`.
fn explain(message: &str, key: &str) -> Trouble {
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
        "a table" => (expected, format!("write `[{key}]` on a line of its own")),
        expected => (expected, String::new()),
    };
    Trouble::new(format!("`{key}` must be {expected}, not {found}"), cure)
}

fn unknown_key(key: &str, known: &[&str]) -> String {
    if let Some(near) = words::nearest(key, known.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    let tables = [("[daemon]", Daemon::KEYS), ("[log]", Log::KEYS), ("[[listener]]", Listener::KEYS)];
    match tables.iter().find(|(_, keys)| keys.contains(&key)) {
        Some((table, _)) => format!("this key belongs in `{table}`"),
        None if known.len() > 8 => "no key is like it; `echod --print-config` shows them all".to_owned(),
        None => words::suggestion(key, known.iter().copied()),
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
