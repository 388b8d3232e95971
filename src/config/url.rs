//! `--listen`: a listener as a URL, `tcp://127.0.0.1:7?mode=threading&service=upper`. It is rewritten as the
//! `[[listener]]` that a file would have, so that there is one reader and one set of checks; the errors cite the URL all
//! the same, because every piece of the TOML remembers what it was made from.

use std::ops::Range;

use super::diagnostic::{Faults, Made, Place, Source, Trouble};

/// Keys whose values are text even if they look like a number.
const TEXT: [&str; 7] = ["name", "quote", "device", "socket-mode", "address", "allow-users", "allow-groups"];

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

fn made(url: &str) -> Result<Made, Misfit> {
    let misfit = |span, title: &str, cure: &str| Err((span, Trouble::new(title, cure)));
    if url.chars().any(char::is_control) {
        return misfit(0..url.len(), "the URL has a control character", "take it out");
    }
    let Some(colon) = url.find(':') else {
        let cure = "write for example `tcp://127.0.0.1:7`, `udp://[::1]:7` or `unix:/run/echod.sock`";
        return misfit(0..url.len(), "this is no URL", cure);
    };
    let address = colon + 1 + if url[colon + 1..].starts_with("//") { 2 } else { 0 };
    let end = url.find('?').unwrap_or(url.len()).max(address);
    let mut writer = Writer { url, toml: "[[listener]]".to_owned(), origins: vec![(0..12, 0..url.len())] };
    writer.entry("protocol", 0..colon, url[..colon].to_owned(), 0..colon);
    let text = match url[..colon].starts_with("unix") {
        true => decode(url, address..end)?,
        // A `%` before a zone is written as `%25` in a URL, RFC 6874; everybody writes it as it is.
        false => url[address..end].replace("%25", "%"),
    };
    writer.entry("address", address..end, text, address..end);
    let mut seen: Vec<String> = Vec::new();
    for span in pieces(url, end + 1) {
        let Some(equals) = url[span.clone()].find('=').map(|at| span.start + at) else {
            return misfit(span, "a parameter without a value", "write `key=value`");
        };
        let key = decode(url, span.start..equals)?;
        if key == "protocol" || key == "address" {
            return misfit(
                span.start..equals,
                &format!("`{key}` is given twice"),
                "it is the start of the URL already",
            );
        }
        if seen.contains(&key) {
            return misfit(
                span.start..equals,
                &format!("{} is given twice", super::quoted(&key)),
                "take one out",
            );
        }
        writer.entry(&key, span.start..equals, decode(url, equals + 1..span.end)?, equals + 1..span.end);
        seen.push(key);
    }
    Ok(Made { toml: writer.toml, origins: writer.origins })
}

struct Writer<'a> {
    url: &'a str,
    toml: String,
    origins: Vec<(Range<usize>, Range<usize>)>,
}

impl Writer<'_> {
    /// Writes `key = value`, each made from its piece of the URL.
    fn entry(&mut self, key: &str, key_from: Range<usize>, value: String, value_from: Range<usize>) {
        let plain = !TEXT.contains(&key) && (value == "true" || value == "false" || is_number(&value));
        self.toml.push('\n');
        self.piece(&quote(key), key_from);
        self.toml.push_str(" = ");
        self.piece(&if plain { value } else { quote(&value) }, value_from);
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

/// The parameters, as pieces of `url` from `start` on.
fn pieces(url: &str, start: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut next = start;
    let query = url.get(start..).unwrap_or_default();
    query.split('&').filter_map(move |piece| {
        let span = next..next + piece.len();
        next = span.end + 1;
        (!piece.is_empty()).then_some(span)
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

/// Whether TOML reads it as a whole number.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = digits == "0" || !digits.starts_with('0');
    canonical && text.parse::<i64>().is_ok() && !text.starts_with('+')
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
            ("127.0.0.1", "this is no URL"),
            ("tcp://h:7?protocol=udp", "`protocol` is given twice"),
            ("tcp://h:7?mode=forking&mode=forking", "`mode` is given twice"),
            ("tcp://h:7?name=%ff", "this is not UTF-8"),
            ("tcp://h:7\n", "the URL has a control character"),
        ] {
            assert!(toml(url).starts_with(&format!("error: {title}\n")), "{}", toml(url));
        }
    }
}
