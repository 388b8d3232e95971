//! `--listen`: a listener as a URL, `tcp://127.0.0.1:7?mode=threading&service=upper`. It says the same as a `[[listener]]` of a
//! file, and becomes the same table, whose places are pieces of the URL.

use std::{borrow::Cow, collections::BTreeMap, ops::Range};

use super::{
    diagnostic::{Diagnostic, Diagnostics, Place},
    keys::{self, Form, Raw, Row, Table},
    quoted, scheme,
};

/// Reads `url`, which is source number `number`. All that is wrong with its form is noted; then it has no table.
pub(super) fn table<'a>(url: &str, number: usize, to: &mut Diagnostics) -> Option<Table<'a>> {
    let (entries, misfits) = entries(url);
    let is_right = misfits.is_empty();
    misfits.into_iter().for_each(|(span, diagnostic)| to.push(Place::new(number, span), diagnostic));
    is_right.then(|| entries.into_iter().map(|(key, entry)| entry.row(key, number)).collect())
}

type Misfit = (Range<usize>, Diagnostic);

/// The pieces of the URL that are a key, and each of its values.
struct UrlKey {
    from: Range<usize>,
    values: Vec<(String, Range<usize>)>,
}

fn entries(url: &str) -> (BTreeMap<String, UrlKey>, Vec<Misfit>) {
    let mut entries = BTreeMap::new();
    let mut misfits = Vec::new();
    if url.chars().any(char::is_control) {
        misfits.push((0..url.len(), Diagnostic::new("the URL has a control character", "take it out")));
        return (entries, misfits);
    }
    let colon = match scheme::end(url) {
        Ok(colon) => colon,
        Err(diagnostic) => {
            misfits.push((0..url.len(), diagnostic));
            return (entries, misfits);
        }
    };
    let address = colon + 1 + if url[colon + 1..].starts_with("//") { 2 } else { 0 };
    let end = url.find('?').unwrap_or(url.len()).max(address);
    let protocol = &url[..colon];
    let entry =
        |value: String, span: Range<usize>| UrlKey { from: span.clone(), values: vec![(value, span)] };
    entries.insert("protocol".to_owned(), entry(protocol.to_owned(), 0..colon));
    match place(url, protocol, address..end) {
        Ok(text) => _ = entries.insert("address".to_owned(), entry(text, address..end)),
        Err(misfit) => misfits.push(misfit),
    }
    for span in pieces(url, end + 1, '&').filter(|span| !span.is_empty()) {
        misfits.extend(parameter(url, protocol, span, &mut entries).err());
    }
    (entries, misfits)
}

impl UrlKey {
    /// The row of a table: the key, its place and its value.
    fn row<'a>(self, key: String, number: usize) -> Row<'a> {
        let form = keys::form(&key);
        let place = |span: &Range<usize>| {
            // An empty piece still needs a place for its caret.
            let start = if span.is_empty() { span.start.saturating_sub(1) } else { span.start };
            Place::new(number, start..span.end)
        };
        let is_none = |text: &str| text.is_empty() && key != "address" && form.is_some_and(Form::is_list);
        let raw = match &self.values[..] {
            [(text, span)] if !is_none(text) => scalar(form, text, place(span)),
            values => {
                let values = values.iter().filter(|(text, _)| !text.is_empty());
                let items = values.map(|(text, span)| Raw::text(place(span), text.clone())).collect();
                Raw::list(place(&self.from), items)
            }
        };
        Row { key_at: place(&self.from), name: Cow::Owned(key), raw }
    }
}

/// A number or a switch, where the key takes one and the text is one.
fn scalar<'a>(form: Option<Form>, text: &str, at: Place) -> Raw<'a> {
    let number = || text.parse().ok().map(|number| Raw::integer(at.clone(), number));
    let switch = || text.parse().ok().map(|switch| Raw::switch(at.clone(), switch));
    let raw = match form {
        Some(Form::Number(_) | Form::Limit(_) | Form::Workers | Form::Dscp) => number(),
        Some(Form::Switch | Form::Keepalive) => switch(),
        _ => None,
    };
    raw.unwrap_or_else(|| Raw::text(at.clone(), text.to_owned()))
}

/// Adds the parameter at `span` to `entries`: a key, or more values of one that takes several.
fn parameter(
    url: &str,
    protocol: &str,
    span: Range<usize>,
    entries: &mut BTreeMap<String, UrlKey>,
) -> Result<(), Misfit> {
    let Some(equals) = url[span.clone()].find('=').map(|at| span.start + at) else {
        return Err((span, Diagnostic::new("a parameter without a value", "write `key=value`")));
    };
    let from = span.start..equals;
    let key = decode(url, from.clone())?;
    if key.is_empty() {
        return Err((span, Diagnostic::new("a parameter without a key", "write `key=value`")));
    }
    let form = keys::form(&key);
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
                Diagnostic::new(title, format!("write `&` in the place of `{}`", &text[at..=at])),
            ));
        }
        match bare(&text).filter(|_| !form.is_some_and(Form::is_text)) {
            Some(bare) => {
                let title = format!("{} has quotes, which a URL has not", quoted(&text));
                Err((span, Diagnostic::new(title, format!("write `{key}={bare}`"))))
            }
            None => Ok((text, span)),
        }
    };
    let values = pieces(&url[..span.end], equals + 1, separator).map(read);
    let mut values = values.collect::<Result<Vec<_>, _>>()?;
    match entries.get_mut(&key) {
        None => _ = entries.insert(key, UrlKey { from, values }),
        Some(entry) if form.is_some_and(Form::is_list) => entry.values.append(&mut values),
        Some(_) => {
            let help = match &*key {
                "protocol" => "it is the start of the URL already",
                _ => "take one out",
            };
            return Err((from, Diagnostic::new(format!("{} is given twice", quoted(&key)), help)));
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
        // A `%` before a zone is written as `%25` in a URL, RFC 6874; most people write it as it is.
        false => Ok(url[span].replace("%25", "%")),
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
        .map_err(|_| (span, Diagnostic::new("this is not UTF-8", "encode the characters as UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, misfit::Found, source::Source};

    /// The rows of the table as `key=kind`, or the first thing that is wrong.
    fn rows(url: &str) -> Vec<String> {
        let mut diagnostics = Diagnostics::default();
        match table(url, 0, &mut diagnostics) {
            Some(table) => table.iter().map(|row| format!("{}={}", row.name, show(&row.raw))).collect(),
            None => vec![diagnostics.render(&[Source::url("--listen", url)], false)],
        }
    }

    fn show(raw: &Raw<'_>) -> String {
        match raw.found() {
            Found::List => format!("{:?}", raw.elements().iter().map(show).collect::<Vec<_>>()),
            found => found.to_string(),
        }
    }

    #[test]
    fn a_url_becomes_the_table_of_a_listener() {
        let plain = |protocol: &str, address: &str| {
            [format!("address=the string \"{address}\""), format!("protocol=the string \"{protocol}\"")]
        };
        assert_eq!(rows("tcp://127.0.0.1:7"), plain("tcp", "127.0.0.1:7"));
        assert_eq!(rows("udp://[fe80::1%25eth0]:0"), plain("udp", "[fe80::1%eth0]:0"));
        assert_eq!(rows("unix:%t/a%3Fb"), plain("unix", "%t/a?b"));
        assert_eq!(rows("unix:///run/x"), plain("unix", "/run/x"));
        assert_eq!(rows("unix-datagram:@name"), plain("unix-datagram", "@name"));
        assert_eq!(rows("unix-seqpacket:/run/x"), plain("unix-seqpacket", "/run/x"));
        assert_eq!(
            rows(
                "tcp://h:7?workers=4&v6-only=true&name=12&quote=a%0A&allow=::1,10.0.0.0%2F8&allow=::2&deny="
            ),
            [
                "address=the string \"h:7\"",
                r#"allow=["the string \"::1\"", "the string \"10.0.0.0/8\"", "the string \"::2\""]"#,
                "deny=[]",
                "name=the string \"12\"",
                "protocol=the string \"tcp\"",
                "quote=the string \"a\\n\"",
                "v6-only=the boolean `true`",
                "workers=the integer `4`",
            ]
        );
    }

    #[test]
    fn a_url_that_is_none_is_cited() {
        let expected = "\
error: a parameter without a value
 --> --listen:1:23
  |
1 | tcp://127.0.0.1:7?a=b&nodelay
  |                       ^^^^^^^ write `key=value`";
        assert_eq!(rows("tcp://127.0.0.1:7?a=b&nodelay"), [expected]);
        for (url, title) in [
            ("127.0.0.1", "`127.0.0.1` does not begin with a protocol"),
            ("nonsense", "`nonsense` is no URL of a listener"),
            ("tcp://h:7?protocol=udp", "`protocol` is given twice"),
            ("tcp://h:7?mode=forking&mode=forking", "`mode` is given twice"),
            ("tcp://h:7?name=%ff", "this is not UTF-8"),
            ("tcp://h:7\n", "the URL has a control character"),
        ] {
            assert!(rows(url)[0].starts_with(&format!("error: {title}\n")), "{:?}", rows(url));
        }
        let two = rows("tcp://h:7?mode=a&mode=b&nodelay");
        assert_eq!(two[0].matches("error: ").count(), 2, "{two:?}");
    }

    #[test]
    fn the_url_of_an_address_leads_back_to_it() {
        for url in [
            "unix:/run/echod.sock",
            "unix:@name",
            "unix:/tmp/%3F%25%2541",
            "unix-datagram:@%25%3Fmode=epoll",
            "unix:////tmp/x",
            "udp://[fe80::1%lo]:7",
        ] {
            let read = |url: &str| {
                let loaded = crate::config::load_url("--listen", url, &Environment::default()).unwrap();
                let listener = &loaded.config.listeners[0];
                (listener.protocol, listener.address[0].clone())
            };
            let (protocol, address) = read(url);
            assert_eq!(protocol.url(&address), url);
            assert_eq!(read(&protocol.url(&address)), (protocol, address));
        }
    }
}
