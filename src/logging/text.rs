//! The text of a line, made in memory that each thread keeps: a daemon writes one for each connection.

use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    io::{self, Write as _},
};

use env_logger::fmt::Formatter;
use log::Level;

use crate::{payload::is_printable, sys::clock};

thread_local! {
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
    static TIME: RefCell<(i64, String)> = const { RefCell::new((0, String::new())) };
}

/// Hands over the message, in which every character that could act on the log is escaped. Messages cite names and
/// addresses that others have chosen, such as the path of a unix peer.
pub(super) fn with_message<T>(message: fmt::Arguments<'_>, then: impl FnOnce(&str) -> T) -> T {
    // Taken out meanwhile, should the text of a value log something itself.
    let mut line = MESSAGE.take();
    line.clear();
    // Writing to a String fails only if a value refuses to be shown; what it has said so far is the line then.
    let _ = line.write_fmt(message);
    if !is_plain(&line) {
        line = escaped(&line);
    }
    let result = then(&line);
    MESSAGE.set(line);
    result
}

/// Writes the time of now, which is put into words once in each second.
pub(super) fn write_time(out: &mut Formatter) -> io::Result<()> {
    let now = clock::second();
    TIME.with_borrow_mut(|(second, words)| {
        if *second != now || words.is_empty() {
            *words = out.timestamp_seconds().to_string();
            *second = now;
        }
        out.write_all(words.as_bytes())
    })
}

/// The name of a level, as wide as the widest.
pub(super) fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARN ",
        Level::Info => "INFO ",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    }
}

/// Whether a text is printable ASCII. Looks at all of it, many bytes at a time.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'))
}

fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_printable(c) {
            true => line.push(c),
            false => line.extend(c.escape_debug()),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        with_message(format_args!("{text}"), str::to_owned)
    }

    #[test]
    fn a_message_stays_one_harmless_line() {
        assert_eq!(
            message("peer \"a\\b\" grüßt\n2026-11-23T06:31:12Z ERROR forged \u{1b}[31m\u{202e}"),
            "peer \"a\\b\" grüßt\\n2026-11-23T06:31:12Z ERROR forged \\u{1b}[31m\\u{202e}"
        );
        assert_eq!(message("nothing of the line before"), "nothing of the line before");
    }

    #[test]
    fn a_value_may_log_while_it_is_shown() {
        struct Chatty;
        impl std::fmt::Display for Chatty {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&message("inner"))
            }
        }
        assert_eq!(with_message(format_args!("outer {Chatty} end"), str::to_owned), "outer inner end");
    }
}
