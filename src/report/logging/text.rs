//! The text of a line, formatted in memory that each thread reuses: the daemon may write a line for each connection.

use std::{
    cell::{Cell, RefCell},
    fmt::{self, Write as _},
    io,
    time::Duration,
};

use log::Level;

use crate::{report::payload::is_printable, sys::clock};

thread_local! {
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
    static TIME: RefCell<(i64, String)> = const { RefCell::new((0, String::new())) };

    /// The age of the event that the line reports.
    static AGO: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Passes the message to `then`, with control characters escaped. Messages contain names and addresses that clients choose, such
/// as the path of a unix peer.
pub(super) fn with_message<T>(message: fmt::Arguments<'_>, then: impl FnOnce(&str) -> T) -> T {
    // Taken out meanwhile, because formatting a value may log.
    let mut line = MESSAGE.take();
    line.clear();
    // Writing to a String fails only if a value's `Display` does. The line then ends there.
    let _ = line.write_fmt(message);
    if !is_plain(&line) {
        line = escaped(&line);
    }
    let result = then(&line);
    MESSAGE.set(line);
    result
}

/// Runs `log`, whose lines report an event that happened `ago`.
pub fn dated(ago: Duration, log: impl FnOnce()) {
    AGO.set(ago);
    log();
    AGO.set(Duration::ZERO);
}

/// Writes the time of the event with milliseconds. All but the milliseconds is formatted once a second.
pub(super) fn write_time(out: &mut impl io::Write) -> io::Result<()> {
    let (second, millisecond) = clock::utc(AGO.get());
    TIME.with_borrow_mut(|(formatted_second, text)| {
        if *formatted_second != second || text.is_empty() {
            *formatted_second = second;
            text.clear();
            let time = jiff::Timestamp::from_second(second).unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = write!(text, "{}", time.strftime("%Y-%m-%dT%H:%M:%S."));
        }
        out.write_all(text.as_bytes())
    })?;
    let digit = |place: u16| b'0' + (millisecond / place % 10) as u8;
    out.write_all(&[digit(100), digit(10), digit(1), b'Z'])
}

/// The output of [`write_time`], as a JSON field.
pub(super) fn time() -> String {
    let mut time = Vec::with_capacity(24);
    // Writing to a vector cannot fail, and it is ASCII.
    let _ = write_time(&mut time);
    String::from_utf8(time).unwrap_or_default()
}

/// The name of a level, padded to the longest.
pub(super) fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARN ",
        Level::Info => "INFO ",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    }
}

/// Whether a text is printable ASCII. Branch-free, so that the compiler vectorises the loop.
pub(super) fn is_plain(text: &str) -> bool {
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
    fn a_time_has_milliseconds_and_may_be_in_the_past() {
        let moment = || time().parse::<jiff::Timestamp>().expect("a time");
        let (before, now, after) = (jiff::Timestamp::now(), moment(), jiff::Timestamp::now());
        assert!(before.as_millisecond() <= now.as_millisecond() && now <= after, "{before} {now} {after}");
        assert_eq!(time().len(), "2026-11-23T06:31:12.123Z".len());
        dated(Duration::from_secs(3600), || {
            assert!((after - moment()).total(jiff::Unit::Second).unwrap() > 3590.0)
        });
        assert!(moment() >= now);
    }

    #[test]
    fn a_value_may_log_while_it_is_shown() {
        struct LogsInside;
        impl std::fmt::Display for LogsInside {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&message("inner"))
            }
        }
        assert_eq!(with_message(format_args!("outer {LogsInside} end"), str::to_owned), "outer inner end");
    }
}
