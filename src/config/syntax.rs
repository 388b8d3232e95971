//! What is not TOML: the parser says what it expected, this says what was probably meant.

use std::ops::Range;

use toml::de::Error;

use super::{
    diagnostic::{Faults, Place, Trouble},
    forms::{Form, form},
    misfit::Found,
    synonyms, words,
};

/// Notes what is not TOML. After the first error in a line the parser guesses, so the others there would mislead.
pub(super) fn note(toml: &str, errors: &[Error], source: usize, faults: &mut Faults) {
    let mut last_line = None;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let start = toml[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
        if last_line.replace(start) == Some(start) {
            continue;
        }
        let line = toml[start..].lines().next().unwrap_or_default();
        let (span, trouble) = match meant(line, error.message()) {
            Some((part, trouble)) => (start + part.start..start + part.end, trouble),
            None => (span, plain(error.message())),
        };
        faults.push(Place::new(source, span), trouble);
    }
}

/// The parser's words.
fn plain(message: &str) -> Trouble {
    let (title, expected) = message.split_once(", expected ").unwrap_or((message, "nothing"));
    let cure = match (title, expected) {
        ("duplicate key", _) => "it is there already; take one out".to_owned(),
        ("missing comma between array elements", _) => {
            "write a `,` between two values, and a `]` after the last".to_owned()
        }
        ("key with no value", _) => "write `key = value`".to_owned(),
        ("unquoted keys cannot be empty" | "invalid unquoted key", _) => {
            "write `key = value`, the key of letters, digits and `-`".to_owned()
        }
        ("invalid key-value pair" | "missing table open", _) => "write `[table]` or `key = value`".to_owned(),
        ("invalid basic string", expected) if expected.contains("visible") => {
            "write a control character as `\\n`, `\\t` or `\\u001B`".to_owned()
        }
        ("unclosed array", _) => "close the list with `]`".to_owned(),
        ("carriage return must be followed by newline", _) => "end each line with a newline".to_owned(),
        (_, "nothing") => "this is not TOML".to_owned(),
        (_, expected) => format!("expected {expected}"),
    };
    Trouble::new(title, cure)
}

/// What the author of `line` most likely meant: the part that is wrong, and the cure.
fn meant(line: &str, message: &str) -> Option<(Range<usize>, Trouble)> {
    let text = line.trim();
    let start = line.len() - line.trim_start().len();
    let whole = start..start + text.len();
    let told = |part: Range<usize>, title: &str, cure: String| Some((part, Trouble::new(title, cure)));
    if text.contains('\0') {
        return told(whole, "this is not text", "write the file with a text editor".to_owned());
    }
    if let Some(comment) = [";", "//", "--", "/*"].iter().find_map(|sign| text.strip_prefix(sign)) {
        return told(whole, "this is no comment", format!("begin it with `#`: `# {}`", comment.trim()));
    }
    if text.starts_with(['{', '<', '-']) {
        let cure = "write `[[listener]]`, and below it lines such as `protocol = \"tcp\"`; `echod --print-config` prints a file";
        return told(whole, "this is not TOML", cure.to_owned());
    }
    if text.starts_with('[') {
        let name = text.trim_matches(|c| matches!(c, '[' | ']' | ' '));
        let header = if name == "listener" { "[[listener]]".to_owned() } else { format!("[{name}]") };
        if message == "duplicate key" {
            let cure = match name {
                "listener" => "write `[[listener]]`, one for each".to_owned(),
                _ => "it is there already; write these keys below the first".to_owned(),
            };
            return told(whole, "this table is there twice", cure);
        }
        let is_unclosed = message.starts_with("unclosed") && name.chars().all(is_of_key);
        return is_unclosed
            .then(|| (whole, Trouble::new("the brackets are not closed", format!("write `{header}`"))));
    }
    let key = &text[..text.find(|c| !is_of_key(c)).unwrap_or(text.len())];
    let rest = text[key.len()..].trim_start();
    if message == "duplicate key" {
        let cure = match form(key) {
            Some(form) if form.is_list() => {
                format!("it is there already; write one list, `{key} = [\"...\", \"...\"]`")
            }
            Some(_) if matches!(key, "protocol" | "mode" | "service") => {
                "it is there already; write a `[[listener]]` for each".to_owned()
            }
            _ => return None,
        };
        return told(start..start + key.len(), "duplicate key", cure);
    }
    if key.is_empty() {
        return None;
    }
    let Some(value) = rest.strip_prefix('=') else {
        let value = rest.trim_start_matches([':', '-', '>', ' ', '\t']).trim_end_matches([';', ',']);
        let cure = match value {
            "" => format!("write `{key} = ` and a value"),
            value if rest.starts_with(':') || form(key).is_some() => {
                format!("write `{key} = {}`", quoted(key, value))
            }
            _ => return None,
        };
        return told(whole, "there is no `=` behind the key", cure);
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
    wrong_value(key, value, message).map(|trouble| (if part.is_empty() { whole } else { part }, trouble))
}

fn wrong_value(key: &str, value: &str, message: &str) -> Option<Trouble> {
    let inside = |open: char, close: char| value.strip_prefix(open)?.strip_suffix(close);
    let told = |title: &str, cure: String| Some(Trouble::new(title, cure));
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    match (value, quote) {
        ("", _) => {
            told(&format!("`{key}` has no value"), format!("write for example `{key} = {}`", example(key)))
        }
        (_, Some(quote)) => {
            let end = value[1..].find(quote).map(|end| end + 2);
            match end {
                None => told("the text has no end", format!("close it with {quote}")),
                Some(_) if message.contains("escape") => {
                    let cure = "write `\\\\` for a backslash, or single quotes around the text";
                    told("a backslash begins a special character", cure.to_owned())
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
                Trouble::new(
                    "string values must be quoted",
                    format!("put each in quotes: [{}]", items.join(", ")),
                )
            })
        }
        _ if value.starts_with('{') => None,
        _ => bare_value(key, value, message),
    }
}

/// A value without quotes that is neither a number nor a switch.
fn bare_value(key: &str, value: &str, message: &str) -> Option<Trouble> {
    let kept = value.trim_end_matches([',', ';']).trim();
    if kept != value && (kept.parse::<i64>().is_ok() || matches!(kept, "true" | "false")) {
        return Some(Trouble::new("something stands behind the value", format!("write `{key} = {kept}`")));
    }
    if form(key).is_some_and(Form::is_list) && kept.contains(',') {
        return Some(Trouble::new(
            "string values must be quoted",
            format!("put each in quotes: [{}]", list(kept)),
        ));
    }
    let written = quoted(key, kept);
    if written.starts_with('"')
        && let Some(form @ (Form::Switch | Form::Number(_) | Form::Limit(_) | Form::Workers)) = form(key)
        && !matches!(kept, "auto" | "per-request" | "off")
    {
        return Some(Trouble::new("this is no value of TOML", form.cure(key, Found::Text(kept))));
    }
    let title = match message.split(',').next().unwrap_or_default() {
        "unexpected leading zero" => "unexpected leading zero",
        _ if written.starts_with('"') => "string values must be quoted",
        _ => "this is no value of TOML",
    };
    let cure = match written.strip_prefix('"') {
        Some(_) => format!("put it in quotes: {written}"),
        None => format!("write `{written}`"),
    };
    Some(Trouble::new(title, cure))
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
        Some(Form::Workers) => bare.parse::<u16>().ok().map(|number| number.to_string()),
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
        Some(Form::Keepalive) => "\"60s\"".to_owned(),
        Some(Form::Duration(unit) | Form::OptionalDuration(unit)) => format!("\"30{unit}\""),
        Some(Form::Size | Form::SizeLimit) => "\"64KiB\"".to_owned(),
        Some(Form::Rate) => "\"50/s\"".to_owned(),
        Some(Form::Permissions) => "\"0660\"".to_owned(),
        Some(Form::Owner) => "\"nobody\"".to_owned(),
        Some(Form::Ports) => "\"reflectors\"".to_owned(),
    }
}

fn is_of_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
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

    /// The part that is cited, and the cure.
    fn cure(line: &str) -> (String, String) {
        let toml = format!("{line}\n");
        let (_, errors) = toml::de::DeTable::parse_recoverable(&toml);
        let message = errors.first().unwrap_or_else(|| panic!("{line} is TOML")).message().to_owned();
        let (part, trouble) = meant(line, &message).unwrap_or_else(|| panic!("{line}: {message}"));
        (line[part].to_owned(), trouble.cure)
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
            assert_eq!(cure(line), (part.to_owned(), told.to_owned()), "{line}");
        }
    }
}
