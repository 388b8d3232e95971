//! Rates as people write them: `50/s`, `10/min burst 30`, `1MB/s`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{SourceRate, diagnostic::Diagnostic, quoted, synonyms, units};

/// The longest datagram must fit into a burst of bytes, or it could never come in.
const LONGEST_DATAGRAM: u64 = 65_536;

/// So many in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// How many, or how many bytes.
    pub number: u64,
    /// Whether bytes are counted, and not connections or datagrams.
    pub bytes: bool,
    /// In what time.
    pub per: Period,
    /// How many may come at once, after a pause.
    pub burst: u64,
}

/// The time of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Period {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

impl Period {
    /// How long it is, in nanoseconds.
    pub fn nanoseconds(self) -> u64 {
        match self {
            Period::Second => 1_000_000_000,
            Period::Minute => 60_000_000_000,
            Period::Hour => 3_600_000_000_000,
        }
    }
}

impl Rate {
    /// The default burst: as many as come in the time, and the longest datagram.
    fn usual_burst(number: u64, bytes: bool) -> u64 {
        if bytes { number.max(LONGEST_DATAGRAM) } else { number }
    }
}

/// Reads `50/s`, `10/min burst 30` or `1MB/s`.
pub(super) fn read(text: &str) -> Result<Rate, Diagnostic> {
    let wrong = || Diagnostic::new(format!("{} is not a rate", quoted(text)), help(text));
    let (number, rest) = text.split_once('/').ok_or_else(wrong)?;
    let mut words = rest.split_whitespace();
    let per = match words.next() {
        Some("s") => Period::Second,
        Some("min") => Period::Minute,
        Some("h") => Period::Hour,
        _ => return Err(wrong()),
    };
    let (number, bytes) = amount(number).ok_or_else(wrong)?;
    let burst = match (words.next(), words.next(), words.next()) {
        (None, ..) => Rate::usual_burst(number, bytes),
        (Some("burst"), Some(burst), None) => match amount(burst).ok_or_else(wrong)? {
            (burst, of_bytes) if of_bytes == bytes => burst,
            _ => {
                let title = format!("the burst of {} is of another kind", quoted(text));
                return Err(Diagnostic::new(title, "count both in bytes, or neither"));
            }
        },
        _ => return Err(wrong()),
    };
    if number == 0 || burst == 0 {
        return Err(Diagnostic::new(
            format!("{} lets nobody in", quoted(text)),
            "write a number above 0, or \"off\" for no limit",
        ));
    }
    if bytes && burst < LONGEST_DATAGRAM {
        return Err(Diagnostic::new(
            format!("the burst of {} is shorter than a datagram may be", quoted(text)),
            format!("write at least `burst {LONGEST_DATAGRAM}B`"),
        ));
    }
    let memory = u128::from(burst) * u128::from(per.nanoseconds()) / u128::from(number);
    if memory > units::LONGEST.as_nanos() {
        return Err(Diagnostic::new(
            format!("{} takes more than a year to refill its burst", quoted(text)),
            "write a smaller burst, or a higher rate",
        ));
    }
    Ok(Rate { number, bytes, per, burst })
}

/// What to write in the place of what is not a rate.
fn help(text: &str) -> String {
    let (number, rest) = text.split_at(text.find(['/', ' ']).unwrap_or(text.len()));
    let of_time = |word: &str| match word {
        "sec" | "secs" | "second" | "seconds" => Some("s"),
        "m" | "mn" | "minute" | "minutes" => Some("min"),
        "hour" | "hours" | "hr" => Some("h"),
        word => ["s", "min", "h"].into_iter().find(|known| *known == word),
    };
    if synonyms::means_off(text) {
        return "write \"off\"".to_owned();
    }
    let mut words = rest.split([' ', '/']).filter(|word| !word.is_empty() && *word != "per" && *word != "a");
    match (amount(number), words.next(), words.next(), words.next()) {
        (Some(_), None, ..) => {
            format!("say in what time: `{number}/s`, `{number}/min` or `{number}/h`")
        }
        (Some(_), Some("day" | "d"), ..) => format!("count in hours, for example `{number}/h`"),
        (Some(_), Some(time), burst, most) if of_time(time).is_some() => {
            let time = of_time(time).unwrap_or_default();
            match (burst, most) {
                (Some("burst"), Some(most)) if amount(most).is_some() => {
                    format!("did you mean `{number}/{time} burst {most}`?")
                }
                (None, _) => format!("did you mean `{number}/{time}`?"),
                _ => format!("write for example `{number}/{time} burst 30`"),
            }
        }
        _ => "write for example `50/s`, `10/min burst 30` or, of bytes, `1MB/s`".to_owned(),
    }
}

/// A number, and whether it is one of bytes.
fn amount(text: &str) -> Option<(u64, bool)> {
    // A trillion a second comes over no wire, and longer numbers would not fit the arithmetic.
    units::read_amount(text).filter(|(number, _)| *number <= 1_000_000_000_000)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.bytes { "B" } else { "" };
        let per = match self.per {
            Period::Second => "s",
            Period::Minute => "min",
            Period::Hour => "h",
        };
        write!(f, "{}{unit}/{per}", self.number)?;
        match self.burst == Self::usual_burst(self.number, self.bytes) {
            true => Ok(()),
            false => write!(f, " burst {}{unit}", self.burst),
        }
    }
}

/// Reads `off`, or one rate or two with a comma between: `1000/s, 1MB/s`.
pub(super) fn read_source_rate(text: &str) -> Result<SourceRate, Diagnostic> {
    let mut both = SourceRate::default();
    let rates = if text == "off" { None } else { Some(text.split(',')) };
    for rate in rates.into_iter().flatten().map(str::trim).map(read) {
        let rate = rate?;
        let one = if rate.bytes { &mut both.bytes } else { &mut both.count };
        if one.replace(rate).is_some() {
            return Err(Diagnostic::new(
                format!("{} limits the same twice", quoted(text)),
                "take one out; there may be one rate of bytes, and one of the number",
            ));
        }
    }
    Ok(both)
}

impl fmt::Display for SourceRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.count, self.bytes) {
            (None, None) => f.write_str("off"),
            (Some(rate), None) | (None, Some(rate)) => write!(f, "{rate}"),
            (Some(count), Some(bytes)) => write!(f, "{count}, {bytes}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for (text, number, bytes, per, burst, written) in [
            ("50/s", 50, false, Period::Second, 50, "50/s"),
            ("10/min burst 30", 10, false, Period::Minute, 30, "10/min burst 30"),
            (" 1 / h  burst 1", 1, false, Period::Hour, 1, "1/h"),
            ("1MB/s", 1_000_000, true, Period::Second, 1_000_000, "1000000B/s"),
            ("1KiB/s", 1024, true, Period::Second, 65_536, "1024B/s"),
            ("64KiB/s burst 1MiB", 65_536, true, Period::Second, 1 << 20, "65536B/s burst 1048576B"),
        ] {
            let rate = read(text).unwrap();
            assert_eq!(rate, Rate { number, bytes, per, burst }, "{text}");
            assert_eq!(rate.to_string(), written);
            assert_eq!(read(written).unwrap(), rate);
        }
    }

    #[test]
    fn a_source_may_have_two_rates() {
        for text in ["off", "1000/s", "1000000B/s", "10/min burst 30, 1000000B/s"] {
            assert_eq!(read_source_rate(text).unwrap().to_string(), text);
        }
        let swapped = read_source_rate("1MB/s ,5/s").unwrap();
        assert_eq!(swapped.to_string(), "5/s, 1000000B/s");
        for text in ["", "1/s, 2/s", "1MB/s, 1KB/h", "1/s,", "1/s, off"] {
            assert!(read_source_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn faulty_rates_get_help() {
        for text in [
            "",
            "50",
            "50/",
            "/s",
            "50/day",
            "50/s burst",
            "50/s 30",
            "50/s burst 3 4",
            "-1/s",
            "1.5/s",
            "x/s",
            "9999999999999/s",
        ] {
            let told = read(text).unwrap_err().to_string();
            assert!(told.contains("is not a rate; "), "{text}: {told}");
        }
        for (text, help) in [
            ("50", "say in what time: `50/s`, `50/min` or `50/h`"),
            ("50/m", "did you mean `50/min`?"),
            ("50 per second", "did you mean `50/s`?"),
            ("50/sec burst 70", "did you mean `50/s burst 70`?"),
            ("50/s burst", "write for example `50/s burst 30`"),
            ("x/s", "write for example `50/s`, `10/min burst 30` or, of bytes, `1MB/s`"),
        ] {
            assert_eq!(read(text).unwrap_err().help, help, "{text}");
        }
        let told = |text| read(text).unwrap_err().title;
        assert_eq!(told("0/s"), "`0/s` lets nobody in");
        assert_eq!(told("1/s burst 0"), "`1/s burst 0` lets nobody in");
        assert_eq!(told("1/s burst 64KiB"), "the burst of `1/s burst 64KiB` is of another kind");
        assert_eq!(
            told("1MB/s burst 1KB"),
            "the burst of `1MB/s burst 1KB` is shorter than a datagram may be"
        );
        assert_eq!(told("1/h burst 10000"), "`1/h burst 10000` takes more than a year to refill its burst");
    }
}
