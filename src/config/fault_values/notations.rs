//! Reading the values of `[[faults]]`.

use std::time::Duration;

use crate::config::{
    diagnostic::Diagnostic,
    fault_values::{After, CERTAIN, Chance, Chunk, Delay, DropBurst, LONGEST_HOLD, Reorder, Stall, Truncate},
    keys::{Form, Notation},
    quoted, units,
};

/// A notation that is written as it is shown, or left out.
macro_rules! optional {
    ($(#[$about:meta])* $name:ident: $type:ty = $example:literal, $read:expr) => {
        $(#[$about])*
        pub(in crate::config) const $name: Notation<Option<$type>> = Notation {
            form: Form::Text($example),
            read: |ask| ($read)(ask.text()?).map(Some),
            write: |value| value.as_ref().map(|value| value.to_string().into()),
        };
    };
}

/// How likely something is.
pub(in crate::config) const CHANCE: Notation<Chance> = Notation {
    form: Form::Text("2%"),
    read: |ask| chance(ask.text()?),
    write: |chance| Some(chance.to_string().into()),
};

optional! {
    /// `1% enter, 30% leave`.
    DROP_BURST: DropBurst = "1% enter, 30% leave", drop_burst
}
optional! {
    /// `1% by 3`.
    REORDER: Reorder = "1% by 3", reorder
}
optional! {
    /// `0.1% to 10B`.
    TRUNCATE: Truncate = "0.1% to 10B", truncate
}
optional! {
    /// `20ms`, `20ms +-5ms` or `normal 20ms, 5ms`.
    DELAY: Delay = "20ms +-5ms", delay
}
optional! {
    /// `7B every 1ms`.
    CHUNK: Chunk = "7B every 1ms", chunk
}
optional! {
    /// `4KiB` or `1s`.
    AFTER: After = "4KiB", after
}
optional! {
    /// `64KiB for 5s`.
    STALL: Stall = "64KiB for 5s", stall
}

/// A time for which the first answer is held.
pub(in crate::config) const HOLD: Notation<Option<Duration>> = Notation {
    form: Form::Text("200ms"),
    read: |ask| held(ask.text()?).map(Some),
    write: |time| time.as_ref().map(|time| units::write_duration(*time).into()),
};

/// Bytes a second.
pub(in crate::config) const BYTE_RATE: Notation<Option<u64>> = Notation {
    form: Form::Text("64kB/s"),
    read: |ask| byte_rate(ask.text()?).map(Some),
    write: |rate| rate.as_ref().map(|rate| format!("{rate}B/s").into()),
};

/// The number of a byte, from 1 on.
pub(in crate::config) const BYTE_NUMBER: Notation<Option<u64>> = Notation {
    form: Form::Text("1000B"),
    read: |ask| bytes(ask.text()?).map(Some),
    write: |number| number.as_ref().map(|number| format!("{number}B").into()),
};

/// Any whole number that a file can have.
pub(in crate::config) const SEED: Notation<Option<u64>> = Notation {
    form: Form::Number(crate::config::keys::Range(0, i64::MAX)),
    read: |ask| {
        let number = ask.raw.as_integer().and_then(|number| u64::try_from(number).ok());
        number.map(Some).ok_or_else(|| ask.misfit())
    },
    write: |seed| seed.and_then(|seed| i64::try_from(seed).ok()).map(toml::Value::Integer),
};

fn wrong(text: &str, what: &str, help: &str) -> Diagnostic {
    Diagnostic::new(format!("{} is not {what}", quoted(text)), help)
}

/// Reads `2%` or `0.05%`.
pub(super) fn chance(text: &str) -> Result<Chance, Diagnostic> {
    let wrong = |help: String| Diagnostic::new(format!("{} is not a chance", quoted(text)), help);
    let example = || "write for example \"2%\" or \"0.05%\"".to_owned();
    let trimmed = text.trim();
    let Some(number) = trimmed.strip_suffix('%') else {
        let is_number = trimmed.parse::<f64>().is_ok_and(f64::is_finite);
        return Err(wrong(match is_number {
            true => format!("add a per cent sign: \"{trimmed}%\""),
            false => example(),
        }));
    };
    let (whole, rest) = number.trim_end().split_once('.').unwrap_or((number.trim_end(), ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(rest) || number.ends_with('.') {
        return Err(wrong(example()));
    }
    if rest.len() > 7 {
        return Err(wrong("write at most seven digits behind the point".to_owned()));
    }
    let parts = whole.parse::<u64>().ok().and_then(|whole| {
        let rest: u64 = format!("{rest:0<7}").parse().ok()?;
        whole.checked_mul(10_000_000)?.checked_add(rest)
    });
    match parts.and_then(|parts| u32::try_from(parts).ok()).filter(|parts| *parts <= CERTAIN) {
        Some(parts) => Ok(Chance(parts)),
        None => Err(wrong("write a chance from \"0%\" to \"100%\"".to_owned())),
    }
}

/// Divides `text` at the first `word` that is no part of a longer one.
fn split_at_word<'t>(text: &'t str, word: &str) -> Option<(&'t str, &'t str)> {
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
    text.match_indices(word)
        .map(|(at, _)| (&text[..at], &text[at + word.len()..]))
        .find(|(before, behind)| !is_letter(before.chars().next_back()) && !is_letter(behind.chars().next()))
}

/// The chance in front of `word`.
fn chance_before(word: &str, likely: &str, text: &str, example: &str) -> Result<Chance, Diagnostic> {
    match likely.trim().is_empty() {
        true => Err(Diagnostic::new(
            format!("{} has no chance in front of `{word}`", quoted(text)),
            format!("say how likely it is, for example \"{example}\""),
        )),
        false => chance(likely),
    }
}

fn drop_burst(text: &str) -> Result<DropBurst, Diagnostic> {
    let parts = text.split_once(',').and_then(|(enter, leave)| {
        Some((enter.trim().strip_suffix("enter")?, leave.trim().strip_suffix("leave")?))
    });
    let Some((enter, leave)) = parts else {
        return Err(wrong(text, "a burst", "write for example \"1% enter, 30% leave\""));
    };
    let burst = DropBurst {
        enter: chance_before("enter", enter, text, "1% enter, 30% leave")?,
        leave: chance_before("leave", leave, text, "1% enter, 30% leave")?,
    };
    match burst.leave.is_never() && !burst.enter.is_never() {
        true => Err(wrong(text, "a burst that ends", "write a chance above \"0%\" in front of `leave`")),
        false => Ok(burst),
    }
}

fn reorder(text: &str) -> Result<Reorder, Diagnostic> {
    let (likely, by) = split_at_word(text, "by").unwrap_or((text, "1"));
    match by.trim().parse() {
        Ok(by @ 1..=1000) => Ok(Reorder { chance: chance_before("by", likely, text, "1% by 3")?, by }),
        _ => {
            let help = "write for example \"1% by 3\", of 1 to 1000 replies";
            Err(wrong(text, "a way to reorder", help))
        }
    }
}

fn truncate(text: &str) -> Result<Truncate, Diagnostic> {
    let Some((likely, to)) = split_at_word(text, "to") else {
        return Err(wrong(text, "a way to cut short", "write for example \"0.1% to 10B\""));
    };
    let to = units::read_bytes(to)?;
    match u32::try_from(to).ok().filter(|to| *to <= 65_535) {
        Some(to) => Ok(Truncate { chance: chance_before("to", likely, text, "0.1% to 10B")?, to }),
        None => Err(wrong(text, "a way to cut short", "write a length from \"0B\" to \"65535B\"")),
    }
}

/// A duration of an hour at most.
fn held(text: &str) -> Result<Duration, Diagnostic> {
    match units::read_duration(text.trim())? {
        time if time <= LONGEST_HOLD => Ok(time),
        _ => Err(wrong(text, "a time to hold something", "write at most \"1h\"")),
    }
}

fn delay(text: &str) -> Result<Delay, Diagnostic> {
    if let Some(rest) = text.trim().strip_prefix("normal") {
        // A time may be of several words: `1m 30s`.
        let rest = rest.trim();
        let Some((middle, spread)) = rest.split_once(',').or_else(|| rest.rsplit_once(' ')) else {
            return Err(wrong(text, "a delay", "write for example \"normal 20ms, 5ms\""));
        };
        return Ok(Delay { middle: held(middle)?, spread: held(spread)?, is_normal: true });
    }
    let parts = text.split_once("+-").or_else(|| text.split_once('±')).or_else(|| text.split_once("+/-"));
    let (middle, spread) = match parts {
        Some((middle, _)) if middle.trim().is_empty() => {
            return Err(wrong(text, "a delay", "write for example \"20ms +-5ms\""));
        }
        Some((middle, spread)) => (held(middle)?, held(spread)?),
        None => (held(text)?, Duration::ZERO),
    };
    if spread > middle {
        return Err(wrong(text, "a delay", "the spread cannot be larger than the delay"));
    }
    match middle + spread > LONGEST_HOLD {
        true => Err(wrong(text, "a delay", "write a delay that is an hour at most, with its spread")),
        false => Ok(Delay { middle, spread, is_normal: false }),
    }
}

fn bytes(text: &str) -> Result<u64, Diagnostic> {
    match units::read_bytes(text)? {
        0 => Err(wrong(text, "a number of bytes here", "write at least \"1B\"")),
        bytes => Ok(bytes),
    }
}

fn chunk(text: &str) -> Result<Chunk, Diagnostic> {
    let (size, every) = match split_at_word(text, "every") {
        Some((size, every)) => (size, held(every)?),
        None => (text, Duration::ZERO),
    };
    if size.trim().is_empty() {
        return Err(wrong(text, "the size of a piece", "write for example \"7B every 1ms\""));
    }
    match u32::try_from(bytes(size)?).ok().filter(|bytes| *bytes <= 1 << 20) {
        Some(bytes) => Ok(Chunk { bytes, every }),
        None => Err(wrong(text, "the size of a piece", "write for example \"7B every 1ms\", at most 1MiB")),
    }
}

fn byte_rate(text: &str) -> Result<u64, Diagnostic> {
    let help = "write for example \"64kB/s\"";
    let Some(number) = text.trim().strip_suffix("/s") else {
        return Err(wrong(text, "a rate of bytes", help));
    };
    match units::read_amount(number) {
        Some((rate, true)) if rate > 0 => Ok(rate),
        Some((rate, false)) if rate > 0 => {
            Err(wrong(text, "a rate of bytes", &format!("add a unit: \"{number}B/s\"")))
        }
        None if units::is_too_many(number) => Err(units::too_many_bytes(text)),
        _ => Err(wrong(text, "a rate of bytes", help)),
    }
}

fn after(text: &str) -> Result<After, Diagnostic> {
    match units::read_amount(text) {
        Some((0, true)) => Err(wrong(text, "a number of bytes here", "write at least \"1B\"")),
        Some((bytes, true)) => Ok(After::Bytes(bytes)),
        Some((number, false)) => {
            let help = format!("add a unit: \"{number}B\" are bytes, \"{number}s\" seconds");
            Err(wrong(text, "a number of bytes or a time", &help))
        }
        None if units::is_too_many(text) => Err(units::too_many_bytes(text)),
        None if units::is_duration(text) => units::read_duration(text).map(After::Time),
        None => Err(wrong(text, "a number of bytes or a time", "write for example \"4KiB\" or \"1s\"")),
    }
}

fn stall(text: &str) -> Result<Stall, Diagnostic> {
    let for_ever = text.trim_end().strip_suffix("forever").map(|begin| (begin, "ever"));
    let Some((begin, lasts)) = for_ever.or_else(|| split_at_word(text, "for")) else {
        let help = "say for how long: \"64KiB for 5s\" or \"64KiB for ever\"";
        return Err(wrong(text, "a stall", help));
    };
    if begin.trim().is_empty() {
        return Err(wrong(text, "a stall", "say after how much it begins: \"64KiB for 5s\""));
    }
    let lasts = match lasts.trim() {
        "ever" => None,
        time => Some(units::read_duration(time)?),
    };
    Ok(Stall { after: after(begin.trim())?, lasts })
}
