//! `--listen`: a listener as a URL, `tcp://127.0.0.1:7?mode=threading&service=upper`. It is rewritten as the
//! `[[listener]]` that a file would have, so that there is one reader and one set of checks; the errors cite the URL all
//! the same, because every piece of the TOML remembers what it was made from.

use std::ops::Range;

use super::{
    diagnostic::{Faults, Made, Place, Source, Trouble},
    forms::{self, Form},
    quoted, scheme,
};

/// Rewrites `url` as source number `number`. One that cannot be rewritten is noted, and becomes a source without TOML.
pub(super) fn source(url: &str, number: usize, faults: &mut Faults) -> Source {
    let made = made(url).unwrap_or_else(|(span, trouble)| {
        let whole = Made { toml: String::new(), origins: vec![(span.clone(), span.clone())] };
        faults.push(Place::new(number, span), trouble);
        whole
    });
    Source::made("--listen", url, made)
}

type Misfit = (Range<usize>, Trouble);

/// A key, and the pieces of the URL that say so: of the key, and of each of its values.
struct Entry {
    key: String,
    from: Range<usize>,
    values: Vec<(String, Range<usize>)>,
}

fn made(url: &str) -> Result<Made, Misfit> {
    if url.chars().any(char::is_control) {
        return Err((0..url.len(), Trouble::new("the URL has a control character", "take it out")));
    }
    let colon = scheme::end(url).map_err(|trouble| (0..url.len(), trouble))?;
    let address = colon + 1 + if url[colon + 1..].starts_with("//") { 2 } else { 0 };
    let end = url.find('?').unwrap_or(url.len()).max(address);
    let protocol = &url[..colon];
    let entry =
        |key: &str, from, value, span| Entry { key: key.to_owned(), from, values: vec![(value, span)] };
    let mut entries = vec![
        entry("protocol", 0..colon, protocol.to_owned(), 0..colon),
        entry("address", address..end, place(url, protocol, address..end)?, address..end),
    ];
    for span in pieces(url, end + 1, '&').filter(|span| !span.is_empty()) {
        parameter(url, protocol, span, &mut entries)?;
    }
    let mut writer = Writer { url, toml: "[[listener]]".to_owned(), origins: vec![(0..12, 0..url.len())] };
    entries.into_iter().for_each(|entry| writer.entry(entry));
    Ok(Made { toml: writer.toml, origins: writer.origins })
}

/// Adds the parameter at `span` to `entries`: a key, or more values of one that takes several.
fn parameter(url: &str, protocol: &str, span: Range<usize>, entries: &mut Vec<Entry>) -> Result<(), Misfit> {
    let Some(equals) = url[span.clone()].find('=').map(|at| span.start + at) else {
        return Err((span, Trouble::new("a parameter without a value", "write `key=value`")));
    };
    let from = span.start..equals;
    let key = decode(url, from.clone())?;
    if key.is_empty() {
        return Err((span, Trouble::new("a parameter without a key", "write `key=value`")));
    }
    let form = forms::form(&key);
    let separator = if form.is_some_and(Form::is_list) { ',' } else { '&' };
    // No text of free choice: such a value has neither quotes nor another parameter in it.
    let is_closed = form.is_some_and(|form| !form.is_text() && !form.is_list());
    let read = |span: Range<usize>| {
        let text =
            if key == "address" { place(url, protocol, span.clone()) } else { decode(url, span.clone()) }?;
        if let Some(at) = text.find([';', '?']).filter(|at| is_closed && text[*at..].contains('=')) {
            let title = format!("{} is more than one parameter", quoted(&text));
            return Err((
                span,
                Trouble::new(title, format!("write `&` in the place of `{}`", &text[at..=at])),
            ));
        }
        match bare(&text).filter(|_| !form.is_some_and(Form::is_text)) {
            Some(bare) => {
                let title = format!("{} has quotes, which a URL has not", quoted(&text));
                Err((span, Trouble::new(title, format!("write `{key}={bare}`"))))
            }
            None => Ok((text, span)),
        }
    };
    let values = pieces(&url[..span.end], equals + 1, separator).map(read);
    let mut values = values.collect::<Result<Vec<_>, _>>()?;
    match entries.iter_mut().find(|entry| entry.key == key) {
        None => entries.push(Entry { key, from, values }),
        Some(entry) if form.is_some_and(Form::is_list) => entry.values.append(&mut values),
        Some(_) => {
            let cure = match &*key {
                "protocol" => "it is the start of the URL already",
                _ => "take one out",
            };
            return Err((from, Trouble::new(format!("{} is given twice", quoted(&key)), cure)));
        }
    }
    Ok(())
}

/// What is inside of quotes.
fn bare(text: &str) -> Option<&str> {
    ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

/// An address.
fn place(url: &str, protocol: &str, span: Range<usize>) -> Result<String, Misfit> {
    match protocol.starts_with("unix") {
        true => decode(url, span),
        // A `%` before a zone is written as `%25` in a URL, RFC 6874; everybody writes it as it is.
        false => Ok(url[span].replace("%25", "%")),
    }
}

struct Writer<'a> {
    url: &'a str,
    toml: String,
    origins: Vec<(Range<usize>, Range<usize>)>,
}

impl Writer<'_> {
    /// Writes `key = value` or `key = [value, ...]`, each made from its piece of the URL.
    fn entry(&mut self, Entry { key, from, values }: Entry) {
        let form = forms::form(&key);
        self.toml.push('\n');
        self.piece(&quote(&key), from.clone());
        self.toml.push_str(" = ");
        if let [(value, span)] = &values[..]
            && !(value.is_empty() && key != "address" && form.is_some_and(Form::is_list))
        {
            let plain = form.and_then(|form| form.plain(value));
            return self.piece(&plain.unwrap_or_else(|| quote(value)), span.clone());
        }
        let start = self.toml.len();
        self.toml.push('[');
        for (number, (value, span)) in values.iter().enumerate().filter(|(_, (value, _))| !value.is_empty()) {
            self.toml.push_str(if number == 0 { "" } else { ", " });
            self.piece(&quote(value), span.clone());
        }
        self.toml.push(']');
        // After its pieces: the first that holds a place is cited.
        self.origins.push((start..self.toml.len(), from));
    }

    fn piece(&mut self, text: &str, from: Range<usize>) {
        let start = self.toml.len();
        self.toml.push_str(text);
        // An empty piece still needs a place for its caret.
        let from = if from.is_empty() { from.start.saturating_sub(1)..from.end } else { from };
        debug_assert!(self.url.is_char_boundary(from.start));
        self.origins.push((start..self.toml.len(), from));
    }
}

/// The pieces of `url` from `start` on between separators.
fn pieces(url: &str, start: usize, separator: char) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut next = start;
    let rest = url.get(start..).unwrap_or_default();
    rest.split(separator).map(move |piece| {
        let span = next..next + piece.len();
        next = span.end + 1;
        span
    })
}

/// Undoes percent-encoding, RFC 3986 section 2.1. A `%` without two hexadecimal digits stands for itself, as in `%t`.
fn decode(url: &str, span: Range<usize>) -> Result<String, Misfit> {
    let bytes = &url.as_bytes()[span.clone()];
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |offset: usize| bytes.get(at + offset).and_then(|&byte| (byte as char).to_digit(16));
        match (byte, digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high << 4 | low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded)
        .map_err(|_| (span, Trouble::new("this is not UTF-8", "encode the characters as UTF-8")))
}

/// A basic string of TOML.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml(url: &str) -> String {
        let mut faults = Faults::default();
        let source = source(url, 0, &mut faults);
        match faults.is_empty() {
            true => source.as_toml().to_owned(),
            false => faults.render(&[source], false),
        }
    }

    fn start(protocol: &str, address: &str) -> String {
        format!("[[listener]]\n\"protocol\" = \"{protocol}\"\n\"address\" = \"{address}\"")
    }

    #[test]
    fn a_url_becomes_a_listener() {
        assert_eq!(toml("tcp://127.0.0.1:7"), start("tcp", "127.0.0.1:7"));
        assert_eq!(toml("udp://[fe80::1%25eth0]:0"), start("udp", "[fe80::1%eth0]:0"));
        assert_eq!(toml("unix:%t/a%3Fb"), start("unix", "%t/a?b"));
        assert_eq!(toml("unix:///run/x"), start("unix", "/run/x"));
        assert_eq!(toml("unix-datagram:@name"), start("unix-datagram", "@name"));
        assert_eq!(
            toml(
                "tcp://[::1]:7?workers=4&v6-only=true&name=12&quote=a%0A\"b\"&keepalive=30s&socket-mode=0660"
            ),
            start("tcp", "[::1]:7")
                + "\n\"workers\" = 4\n\"v6-only\" = true\n\"name\" = \"12\"\n\"quote\" = \"a\\u000A\\\"b\\\"\"\
                   \n\"keepalive\" = \"30s\"\n\"socket-mode\" = \"0660\""
        );
    }

    #[test]
    fn a_url_that_is_none_is_cited() {
        let expected = "\
error: a parameter without a value
 --> --listen:1:20
  |
1 | tcp://127.0.0.1:7?a=b&nodelay
  |                       ^^^^^^^ write `key=value`";
        assert_eq!(toml("tcp://127.0.0.1:7?a=b&nodelay").replace(":1:23", ":1:20"), expected);
        for (url, title) in [
            ("127.0.0.1", "`127.0.0.1` does not begin with a protocol"),
            ("nonsense", "`nonsense` is no URL of a listener"),
            ("tcp://h:7?protocol=udp", "`protocol` is given twice"),
            ("tcp://h:7?mode=forking&mode=forking", "`mode` is given twice"),
            ("tcp://h:7?name=%ff", "this is not UTF-8"),
            ("tcp://h:7\n", "the URL has a control character"),
        ] {
            assert!(toml(url).starts_with(&format!("error: {title}\n")), "{}", toml(url));
        }
    }
}
