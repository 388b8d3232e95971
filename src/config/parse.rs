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
    file::{File, Written},
    misfit::{Found, misfit},
    syntax, unknown_key,
};

/// Reads the TOML of source number `source`. What does not fit is noted and left out.
pub(super) fn parse(toml: &str, source: usize, faults: &mut Faults) -> File {
    let (document, errors) = DeTable::parse_recoverable(toml);
    let mut file = File::default();
    match errors.is_empty() {
        true => Reader { toml, source, faults }.keys(document.into_inner(), &mut file),
        false => syntax::note(toml, &errors, source, faults),
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
    toml: &'a str,
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
            let span = error.span().unwrap_or(span);
            let trouble = explain(error.message(), key, self.toml.get(span.clone()).unwrap_or_default());
            self.faults.push(Place::new(self.source, span), trouble);
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
                self.faults.push(place, Trouble::new(title, unknown_key::cure(key, T::KEYS.iter().copied())));
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

/// Says in plain words what serde means, about `key` and the value that is `written`.
fn explain(message: &str, key: &str, written: &str) -> Trouble {
    let types = message.strip_prefix("invalid type: ").and_then(|types| types.split_once(", expected "));
    let Some((found, _)) = types else {
        return Trouble::new(message, "");
    };
    let found = Found::new(found, written);
    match key {
        "listener" => Trouble::new(
            format!("`{key}` must be a list of tables, not {found}"),
            "write `[[listener]]`, one for each",
        ),
        "daemon" | "log" | "defaults" => Trouble::new(
            format!("`{key}` must be one table, not {found}"),
            format!("write `[{key}]` on a line of its own"),
        ),
        key => misfit(key, found),
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
colour = 1
";
        assert_eq!(
            short(toml),
            [
                "unknown key `max-requests`: this key belongs in `[[listener]]`",
                "`drain-timeout` must be a duration, not the integer `5`: write \"5s\", a number with its unit in quotes",
                "unknown key `level`: this key belongs in `[log]`",
                "`format` must be a word, not a list: write one value, without brackets",
                "unknown key `max-conections`: did you mean `max-connections`?",
                "`nodelay` must be `true` or `false`, not the string \"yes\": write `true`",
                "`address` must be a text or a list of texts, not the integer `1`: write a host and a port in quotes, for example \"127.0.0.1:1\"",
                "`protocol` must be a word, not the boolean `true`: write one of \"tcp\", \"udp\", \"unix\", \"unix-datagram\"",
                "unknown key `colour`: no key is like it; `man echod.toml` explains them, `echod --print-config` prints them all",
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
            ["`daemon` must be one table, not the integer `1`: write `[daemon]` on a line of its own"]
        );
        assert_eq!(short("[listeners]\n"), ["unknown key `listeners`: did you mean `[[listener]]`?"]);
    }

    #[test]
    fn syntax_errors_are_cited() {
        let expected = "\
error: string values must be quoted
 --> f:2:8
  |
2 | name = web
  |        ^^^ put it in quotes: \"web\"";
        assert_eq!(faults("[[listener]]\nname = web\n"), expected);
        assert_eq!(short("a = 1\na = 2\n"), ["duplicate key: it is there already; take one out"]);
        assert_eq!(
            short("socket-mode = 0666\nname web\n"),
            [
                "unexpected leading zero: put it in quotes: \"0666\"",
                "there is no `=` behind the key: write `name = \"web\"`",
            ]
        );
    }
}
