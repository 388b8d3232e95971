//! The tables of a source, whether it is a file or a URL. What stands beside an error of the syntax is left out: the parser has
//! guessed it.

use std::borrow::Cow;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diagnostic::{Diagnostic, Diagnostics, Place, Source},
    keys::{Codec, Raw, Row, Table},
    quoted, syntax, url,
    values::INCLUDE,
};
use crate::config::keys::unknown_key;

/// A file that was parsed; a URL has no tree.
pub(super) struct Document<'a> {
    source: &'a Source,
    number: usize,
    tree: Option<Spanned<DeTable<'a>>>,
    /// The lines with an error of the syntax, in order.
    wrong_lines: Vec<usize>,
}

/// What a source says. An included file has nothing but tables of those that there may be any number of.
#[derive(Default)]
pub(super) struct Tables<'a> {
    pub(super) daemon: Table<'a>,
    pub(super) log: Table<'a>,
    pub(super) observe: Table<'a>,
    pub(super) defaults: Table<'a>,
    /// Each `[[listener]]`, and the place of its header.
    pub(super) listeners: Vec<(Place, Table<'a>)>,
    /// Each `[[faults]]`, and the place of its header.
    pub(super) faults: Vec<(Place, Table<'a>)>,
}

impl<'a> Document<'a> {
    /// Parses source number `number`, and notes what is not TOML.
    pub(super) fn parse(source: &'a Source, number: usize, to: &mut Diagnostics) -> Self {
        if source.is_url {
            return Self { source, number, tree: None, wrong_lines: Vec::new() };
        }
        let (tree, errors) = DeTable::parse_recoverable(&source.text);
        Self { source, number, tree: Some(tree), wrong_lines: syntax::note(source, number, &errors, to) }
    }

    /// Whether it is all there.
    pub(super) fn is_whole(&self) -> bool {
        self.wrong_lines.is_empty()
    }

    /// The tables, as far as they are of the kind that they must be.
    pub(super) fn tables(&'a self, to: &mut Diagnostics) -> Tables<'a> {
        let mut tables = Tables::default();
        let Some(tree) = &self.tree else {
            let listener = url::table(&self.source.text, self.number, to);
            let place = Place::new(self.number, 0..self.source.text.len());
            tables.listeners.extend(listener.map(|table| (place, table)));
            return tables;
        };
        let header = |name: &str| format!("write `[{name}]` on a line of its own");
        for Row { name, key_at, raw } in self.rows(tree.get_ref()) {
            match &*name {
                "include" | "daemon" | "log" | "observe" | "defaults" if self.source.is_included => {
                    let written = if name == "include" { "include".to_owned() } else { format!("[{name}]") };
                    let title = format!("`{written}` stands in a file that another one includes");
                    let help =
                        "move it to that one; an included file has `[[listener]]` and `[[faults]]` only";
                    to.push(key_at, Diagnostic::new(title, help));
                }
                // The files were read before.
                "include" => _ = INCLUDE.read("include", &raw, to),
                "daemon" => tables.daemon = self.table(&name, "one table", &header(&name), &raw, to),
                "log" => tables.log = self.table(&name, "one table", &header(&name), &raw, to),
                "observe" => tables.observe = self.table(&name, "one table", &header(&name), &raw, to),
                "defaults" => tables.defaults = self.table(&name, "one table", &header(&name), &raw, to),
                "listener" => tables.listeners = self.list(&name, &raw, to),
                "faults" => tables.faults = self.list(&name, &raw, to),
                name => {
                    let known = ["include", "daemon", "log", "observe", "defaults", "listener", "faults"];
                    let known = known.into_iter();
                    let title = format!("unknown key {}", quoted(name));
                    to.push(key_at, Diagnostic::new(title, unknown_key::help(name, known)));
                }
            }
        }
        tables
    }

    /// A list of tables, each with the place of its header.
    fn list(&self, name: &str, raw: &Raw<'a>, to: &mut Diagnostics) -> Vec<(Place, Table<'a>)> {
        let help = format!("write `[[{name}]]`, one for each");
        let list = raw.items().unwrap_or_default();
        if raw.items().is_none() && self.is_whole() {
            to.push(raw.at.clone(), not_tables(name, "a list of tables", &help, raw));
        }
        let table =
            |item: &Raw<'a>, to: &mut Diagnostics| self.table(name, "a list of tables", &help, item, to);
        list.iter().map(|item| (item.at.clone(), table(item, to))).collect()
    }

    /// What its `include` lists.
    pub(super) fn includes(&'a self) -> Vec<Raw<'a>> {
        let rows = self.tree.as_ref().map(|tree| self.rows(tree.get_ref())).unwrap_or_default();
        let include = rows.into_iter().find(|row| row.name == "include");
        include.map(|row| row.raw.elements()).unwrap_or_default()
    }

    /// A table; an empty one, and noted, where it is something else.
    fn table(&self, name: &str, kind: &str, help: &str, raw: &Raw<'a>, to: &mut Diagnostics) -> Table<'a> {
        match raw.as_table() {
            Some(table) => self.rows(table),
            None => {
                to.push(raw.at.clone(), not_tables(name, kind, help, raw));
                Table::new()
            }
        }
    }

    fn rows(&self, table: &'a DeTable<'a>) -> Table<'a> {
        let row = |(key, value): (&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>)| {
            let key_at = Place::new(self.number, key.span());
            let raw = Raw::toml(value, self.number, &self.source.text);
            Row { name: Cow::Borrowed(&**key.get_ref()), key_at, raw }
        };
        table.iter().map(row).filter(|row| self.is_sound(&row.key_at, &row.raw.at)).collect()
    }

    /// Whether no line of it has an error of the syntax.
    fn is_sound(&self, key: &Place, value: &Place) -> bool {
        if self.wrong_lines.is_empty() {
            return true;
        }
        let first = self.source.line_at(key.start.min(value.start));
        let last = self.source.line_at(key.end.max(value.end));
        let next = self.wrong_lines.partition_point(|line| *line < first);
        self.wrong_lines.get(next).is_none_or(|line| *line > last)
    }
}

fn not_tables(name: &str, kind: &str, help: &str, raw: &Raw<'_>) -> Diagnostic {
    Diagnostic::new(format!("`{name}` must be {kind}, not {}", raw.found()), help)
}
