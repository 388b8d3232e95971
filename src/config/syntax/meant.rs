//! What a line that is not TOML was most likely meant to be: a habit from another format, or a slip of the pen.

use std::ops::Range;

use toml::de::DeTable;

use super::is_of_key;
use crate::config::{
    diagnostic::Diagnostic,
    keys::{Form, form},
    misfit::Found,
    synonyms, words,
};

/// What the author of `line` most likely meant: the part that is wrong, and the help.
pub(super) fn meant(line: &str, is_double: bool) -> Option<(Range<usize>, Diagnostic)> {
    let text = line.trim();
    // The line itself is right: what is wrong is that there are two.
    let is_double = is_double && DeTable::parse(line).is_ok();
    let start = line.len() - line.trim_start().len();
    let whole = start..start + text.len();
    let told = |part: Range<usize>, title: &str, help: String| Some((part, Diagnostic::new(title, help)));
    if text.contains('\0') {
        return told(whole, "this is not text", "write the file with a text editor".to_owned());
    }
    if let Some(comment) = [";", "//", "--", "/*"].iter().find_map(|sign| text.strip_prefix(sign)) {
        return told(whole, "this is no comment", format!("begin it with `#`: `# {}`", comment.trim()));
    }
    if text.starts_with(['{', '<', '-']) {
        let help = "write `[[listener]]`, and below it lines such as `protocol = \"tcp\"`; `echod --print-config` prints a file";
        return told(whole, "this is not TOML", help.to_owned());
    }
    if text.starts_with('[') {
        let name = text.trim_matches(|c| matches!(c, '[' | ']' | ' '));
        let header = if name == "listener" { "[[listener]]".to_owned() } else { format!("[{name}]") };
        if is_double {
            let help = match name {
                "listener" => "write `[[listener]]`, one for each".to_owned(),
                _ => "it is there already; write these keys below the first".to_owned(),
            };
            return told(whole, "this table is there twice", help);
        }
        let is_unclosed = name.chars().all(is_of_key) && DeTable::parse(line).is_err();
        return is_unclosed
            .then(|| (whole, Diagnostic::new("the brackets are not closed", format!("write `{header}`"))));
    }
    let key = &text[..text.find(|c| !is_of_key(c)).unwrap_or(text.len())];
    let rest = text[key.len()..].trim_start();
    if is_double {
        let help = match form(key) {
            Some(form) if form.is_list() => {
                format!("it is there already; write one list, `{key} = [\"...\", \"...\"]`")
            }
            Some(_) if matches!(key, "protocol" | "mode" | "service") => {
                "it is there already; write a `[[listener]]` for each".to_owned()
            }
            _ => return None,
        };
        return told(start..start + key.len(), "duplicate key", help);
    }
    if key.is_empty() {
        return None;
    }
    let Some(value) = rest.strip_prefix('=') else {
        let value = rest.trim_start_matches([':', '-', '>', ' ', '\t']).trim_end_matches([';', ',']);
        let help = match value {
            "" => format!("write `{key} = ` and a value"),
            value if rest.starts_with(':') || form(key).is_some() => {
                format!("write `{key} = {}`", quoted(key, value))
            }
            _ => return None,
        };
        return told(whole, "there is no `=` behind the key", help);
    };
    if let Some(value) = value.strip_prefix('=') {
        return told(
            whole,
            "extra `=`",
            format!("write `{key} = {}`", quoted(key, without_comment(value).trim())),
        );
    }
    let value = without_comment(value);
    let at = whole.end - text.len() + (text.len() - rest.len()) + 1;
    let from = at + (value.len() - value.trim_start().len());
    let (value, part) = (value.trim(), from..from + value.trim().len());
    wrong_value(key, value).map(|diagnostic| (if part.is_empty() { whole } else { part }, diagnostic))
}

fn wrong_value(key: &str, value: &str) -> Option<Diagnostic> {
    let inside = |open: char, close: char| value.strip_prefix(open)?.strip_suffix(close);
    let told = |title: &str, help: String| Some(Diagnostic::new(title, help));
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    match (value, quote) {
        ("", _) => {
            told(&format!("`{key}` has no value"), format!("write for example `{key} = {}`", example(key)))
        }
        (_, Some(quote)) => {
            let end = value[1..].find(quote).map(|end| end + 2);
            match end {
                None => told("the text has no end", format!("close it with {quote}")),
                Some(_) if quote == '"' && has_wrong_escape(value) => {
                    let help = "write `\\\\` for a backslash, or single quotes around the text";
                    told("a backslash begins a special character", help.to_owned())
                }
                Some(end) => {
                    let (kept, more) = value.split_at(end);
                    if form(key).is_some_and(Form::is_list) && more.trim().len() > 1 {
                        return told(
                            "several values need brackets",
                            format!("write `{key} = [{}]`", list(value)),
                        );
                    }
                    match more.trim() {
                        "" => None,
                        "," | ";" => {
                            told("something stands behind the value", format!("write `{key} = {kept}`"))
                        }
                        more if more.contains('=') => {
                            told("one line has two keys", "write each on a line of its own".into())
                        }
                        _ => told("something stands behind the value", format!("take out `{}`", more.trim())),
                    }
                }
            }
        }
        _ if value.starts_with(['“', '”', '„', '‘', '’', '`', '«']) => {
            let text = value.trim_matches(|c| {
                !char::is_ascii_alphanumeric(&c) && !matches!(c, '[' | ']' | '/' | '@' | '.')
            });
            told("these quotes are not those of TOML", format!("write `{key} = \"{text}\"`"))
        }
        _ if value.starts_with('[') && (value.ends_with(']') || !value.contains(']')) => {
            let list = inside('[', ']')?;
            let items: Vec<_> = list.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
            let bare = |item: &&str| !item.starts_with(['"', '\'']) && item.parse::<i64>().is_err();
            items.iter().any(bare).then(|| {
                let items: Vec<_> =
                    items.iter().map(|item| format!("\"{}\"", item.trim_matches(['"', '\'']))).collect();
                Diagnostic::new(
                    "string values must be quoted",
                    format!("put each in quotes: [{}]", items.join(", ")),
                )
            })
        }
        _ if value.starts_with('{') => None,
        _ => bare_value(key, value),
    }
}

/// A value without quotes that is neither a number nor a switch.
fn bare_value(key: &str, value: &str) -> Option<Diagnostic> {
    let kept = value.trim_end_matches([',', ';']).trim();
    if kept != value && (kept.parse::<i64>().is_ok() || matches!(kept, "true" | "false")) {
        return Some(Diagnostic::new("something stands behind the value", format!("write `{key} = {kept}`")));
    }
    if form(key).is_some_and(Form::is_list) && kept.contains(',') {
        return Some(Diagnostic::new(
            "string values must be quoted",
            format!("put each in quotes: [{}]", list(kept)),
        ));
    }
    let written = quoted(key, kept);
    if written.starts_with('"')
        && let Some(form @ (Form::Switch | Form::Number(_) | Form::Limit(_) | Form::Workers | Form::Dscp)) =
            form(key)
        && !matches!(kept, "auto" | "per-request" | "off")
    {
        return Some(Diagnostic::new("this is no value of TOML", form.help(key, Found::Text(kept))));
    }
    let title = if has_leading_zero(kept) {
        "unexpected leading zero"
    } else if written.starts_with('"') {
        "string values must be quoted"
    } else {
        "this is no value of TOML"
    };
    let help = match written.strip_prefix('"') {
        Some(_) => format!("put it in quotes: {written}"),
        None => format!("write `{written}`"),
    };
    Some(Diagnostic::new(title, help))
}

/// Whether it is a number that TOML does not take, such as `0660`.
fn has_leading_zero(value: &str) -> bool {
    let digits = value.trim_start_matches(['+', '-']);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a backslash in `value` begins nothing that TOML knows.
fn has_wrong_escape(value: &str) -> bool {
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        if c == '\\' && !characters.next().is_some_and(|next| "btnfre\"\\uUx".contains(next)) {
            return true;
        }
    }
    false
}

/// The parts of a list, each in quotes.
fn list(value: &str) -> String {
    let bare = |part: &str| part.trim().trim_matches(['"', '\'']).to_owned();
    let parts = value.split([',', ' ']).map(bare).filter(|part| !part.is_empty());
    parts.map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join(", ")
}

/// `value` as `key` takes it.
fn quoted(key: &str, value: &str) -> String {
    let bare = value.trim_matches(['"', '\'']);
    let plain = match form(key) {
        Some(Form::Switch) => synonyms::switch(bare).map(|switch| switch.to_string()),
        Some(Form::Number(_) | Form::Limit(_)) => synonyms::number(bare).map(|number| number.to_string()),
        Some(Form::Workers | Form::Dscp) => bare.parse::<u16>().ok().map(|number| number.to_string()),
        Some(Form::Word(words)) if !words().contains(&bare) => {
            let near = || words::nearest(bare, words().iter().copied());
            synonyms::value(key, bare).or_else(near).map(|word| format!("\"{word}\""))
        }
        _ => None,
    };
    plain.unwrap_or_else(|| format!("\"{bare}\""))
}

/// A value that `key` could have.
fn example(key: &str) -> String {
    match form(key) {
        None => "\"text\"".to_owned(),
        Some(Form::Text(example) | Form::List(example)) => format!("\"{example}\""),
        Some(Form::Word(words)) => format!("\"{}\"", words().first().copied().unwrap_or_default()),
        Some(Form::Switch) => "true".to_owned(),
        Some(Form::Number(_) | Form::Limit(_) | Form::Workers) => "4".to_owned(),
        Some(Form::Dscp) => "\"EF\"".to_owned(),
        Some(Form::Keepalive) => "\"60s\"".to_owned(),
        Some(Form::Duration(unit) | Form::OptionalDuration(unit)) => format!("\"30{unit}\""),
        Some(Form::Size | Form::SizeLimit) => "\"64KiB\"".to_owned(),
        Some(Form::Rate) => "\"50/s\"".to_owned(),
        Some(Form::Permissions) => "\"0660\"".to_owned(),
        Some(Form::Owner) => "\"nobody\"".to_owned(),
        Some(Form::Ports) => "\"reflectors\"".to_owned(),
    }
}

/// What stands before a `#` that is not in quotes.
fn without_comment(value: &str) -> &str {
    let mut quote = None;
    for (at, c) in value.char_indices() {
        match (c, quote) {
            ('#', None) => return &value[..at],
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part that is cited, and the help.
    fn help(line: &str) -> (String, String) {
        assert!(DeTable::parse(line).is_err(), "{line} is TOML");
        let (part, diagnostic) = meant(line, false).unwrap_or_else(|| panic!("{line}"));
        (line[part].to_owned(), diagnostic.help)
    }

    #[test]
    fn what_is_meant_is_told() {
        for (line, part, told) in [
            ("protocol = tcp", "tcp", "put it in quotes: \"tcp\""),
            ("  address = 127.0.0.1:7 # all", "127.0.0.1:7", "put it in quotes: \"127.0.0.1:7\""),
            ("address = [::1]:7", "[::1]:7", "put it in quotes: \"[::1]:7\""),
            (
                "allow = [10.0.0.0/8, '::1']",
                "[10.0.0.0/8, '::1']",
                "put each in quotes: [\"10.0.0.0/8\", \"::1\"]",
            ),
            ("idle-timeout = 5s", "5s", "put it in quotes: \"5s\""),
            ("nodelay = yes", "yes", "write `true`"),
            ("nodelay = maybe", "maybe", "write `true` or `false`"),
            ("workers = four", "four", "write \"per-request\", \"auto\" or a whole number from 1 to 1024"),
            ("proxy-protocol = on", "on", "put it in quotes: \"required\""),
            ("mode -> epoll;", "mode -> epoll;", "write `mode = \"epoll\"`"),
            ("allow = 10.0.0.0/8, ::1", "10.0.0.0/8, ::1", "put each in quotes: [\"10.0.0.0/8\", \"::1\"]"),
            (
                "allow = \"10.0.0.0/8\", \"::1\"",
                "\"10.0.0.0/8\", \"::1\"",
                "write `allow = [\"10.0.0.0/8\", \"::1\"]`",
            ),
            ("nodelay = False", "False", "write `false`"),
            ("max-connections = 100k", "100k", "write `100000`"),
            ("max-connections = 5,", "5,", "write `max-connections = 5`"),
            ("socket-mode = 0660", "0660", "put it in quotes: \"0660\""),
            ("address =", "address =", "write for example `address = \"127.0.0.1:7\"`"),
            ("name = \"x", "\"x", "close it with \""),
            ("name = \"x\";", "\"x\";", "write `name = \"x\"`"),
            ("name = \"x\"mode = \"epoll\"", "\"x\"mode = \"epoll\"", "write each on a line of its own"),
            ("name = “x”", "“x”", "write `name = \"x\"`"),
            ("name: web", "name: web", "write `name = \"web\"`"),
            ("mode epoll", "mode epoll", "write `mode = \"epoll\"`"),
            ("; a comment", "; a comment", "begin it with `#`: `# a comment`"),
            ("// a comment", "// a comment", "begin it with `#`: `# a comment`"),
            ("[daemon", "[daemon", "write `[daemon]`"),
            ("[[listener]", "[[listener]", "write `[[listener]]`"),
        ] {
            assert_eq!(help(line), (part.to_owned(), told.to_owned()), "{line}");
        }
    }
}
