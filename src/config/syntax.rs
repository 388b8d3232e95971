//! What is not TOML: the parser says where, this says what was probably meant. It looks at the line itself, because the parser's
//! words are for people.

mod meant;

use std::collections::{HashMap, HashSet};

use toml::de::Error;

use meant::meant;

use super::diagnostic::{Diagnostic, Diagnostics, Place, Source};

/// Notes what is not TOML in source number `number`, and returns the numbers of the lines, in order. After the first error in a
/// line the parser guesses, so the others there would mislead.
pub(super) fn note(source: &Source, number: usize, errors: &[Error], to: &mut Diagnostics) -> Vec<usize> {
    let toml = &source.text;
    let mut errors: Vec<_> =
        errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
    errors.sort_by_key(|(span, _)| source.line_at(span.start));
    errors.dedup_by_key(|(span, _)| source.line_at(span.start));
    let doubles = if errors.is_empty() { HashSet::new() } else { doubles(toml) };
    let mut wrong = Vec::new();
    for (span, message) in errors {
        let line_number = source.line_at(span.start);
        let start = source.line_start(line_number);
        let line = toml[start..].lines().next().unwrap_or_default();
        let is_double = doubles.contains(&line_number);
        let (span, diagnostic) = match meant(line, is_double) {
            Some((part, diagnostic)) => (start + part.start..start + part.end, diagnostic),
            None => (span, plain(line, is_double, message)),
        };
        to.push(Place::new(number, span), diagnostic);
        wrong.push(line_number);
    }
    wrong
}

/// The lines whose key or table is there already.
fn doubles(toml: &str) -> HashSet<usize> {
    let (mut doubles, mut keys, mut tables) = (HashSet::new(), HashSet::new(), HashMap::new());
    // The table that the line is in; a second header of one that is no list goes on with it.
    let mut table = "";
    let mut has_tables = false;
    for (number, line) in toml.lines().map(str::trim).enumerate() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let (name, is_list) = (name.trim_start_matches('['), name.starts_with('['));
            let earlier = tables.insert(name, is_list);
            if earlier.is_some_and(|was_list| !(was_list && is_list)) {
                doubles.insert(number);
            }
            if is_list {
                keys.retain(|(of, _)| *of != name);
            }
            (table, has_tables) = (name, true);
        } else if let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            if !keys.insert((table, key.trim())) {
                doubles.insert(number);
            }
            if !has_tables {
                tables.insert(key.trim(), false);
            }
        }
    }
    doubles
}

/// What can be said of a line that looks like nothing that anybody means.
fn plain(line: &str, is_double: bool, message: &str) -> Diagnostic {
    let text = line.trim();
    let (key, value) =
        text.split_once('=').map_or((text, None), |(key, value)| (key.trim(), Some(value.trim())));
    let is_key = |key: &str| !key.is_empty() && key.chars().all(is_of_key);
    match value {
        _ if is_double => Diagnostic::new("duplicate key", "it is there already; take one out"),
        _ if text.contains('\r') => {
            Diagnostic::new("a carriage return inside of a line", "end each line with a newline")
        }
        _ if text.chars().any(|c| c.is_control() && c != '\t') => {
            let help = "write a control character as `\\n`, `\\t` or `\\u001B`";
            Diagnostic::new("a control character", help)
        }
        _ if text.is_empty() => {
            Diagnostic::new(message, "close what is open: a list ends with `]`, a text with its quotes")
        }
        Some(value) if is_key(key) && value.starts_with('[') && !value.contains(']') => {
            Diagnostic::new("unclosed array", "close the list with `]`")
        }
        Some(value) if is_key(key) && value.starts_with('[') => {
            let help = "write a `,` between two values, and a `]` after the last";
            Diagnostic::new("this is no list of TOML", help)
        }
        Some(_) if is_key(key) => Diagnostic::new(message, "this is not TOML"),
        None if text.starts_with('[') => Diagnostic::new(message, "write `[table]` or `key = value`"),
        None if text.starts_with(['"', '\'', ']']) => {
            Diagnostic::new(message, "write a `,` between two values, and a `]` after the last")
        }
        None if text.split_whitespace().all(is_key) => {
            Diagnostic::new("key with no value", "write `key = value`")
        }
        _ => Diagnostic::new("this is not TOML", "write `key = value`, the key of letters, digits and `-`"),
    }
}

fn is_of_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}
