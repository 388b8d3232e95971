//! Whether a stream takes colours.

use std::io::IsTerminal;

/// Whether to colour what is written there: on a terminal that supports it, unless the environment forbids it (no-color.org,
/// bixense.com/clicolors).
pub fn is_taken_by(stream: &impl IsTerminal) -> bool {
    let is = |key: &str, wanted: fn(&str) -> bool| {
        std::env::var_os(key).is_some_and(|value| value.to_str().is_none_or(wanted))
    };
    stream.is_terminal()
        && !is("NO_COLOR", |value| !value.is_empty())
        && !is("CLICOLOR", |value| value == "0")
        && is("TERM", |value| value != "dumb")
}

/// The text in red.
pub fn red(text: &str) -> String {
    format!("\x1b[31m{text}\x1b[0m")
}
