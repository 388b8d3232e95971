//! Values that people write with a unit: durations (`1h 30m`), sizes (`64KiB`), permission bits (`0660`). Reading and
//! writing are here together, so that what is printed can be read again.

use std::time::Duration;

use jiff::SignedDuration;

use super::diagnostic::Diagnostic;

/// Longer waits are slips of the pen, and would overflow the kernel's clocks.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Reads `30s`, `1h 30m`, `500ms` or ISO 8601's `PT30S`.
pub(super) fn read_duration(text: &str) -> Result<Duration, Diagnostic> {
    let help = "write for example `30s`, `500ms` or `1h 30m`";
    let Ok(signed) = text.parse::<SignedDuration>() else {
        let number = text.trim();
        let is_number = number.parse::<f64>().is_ok_and(f64::is_finite) && !number.starts_with('-');
        if is_duration(text) {
            return Err(too_long());
        }
        let help = match (is_number, mentions_days(text)) {
            (true, _) => {
                format!("add a unit: `{number}s` are seconds, `{number}ms` milliseconds, `{number}m` minutes")
            }
            (false, true) => "count in hours: `24h` is a day".to_owned(),
            (false, false) => help.to_owned(),
        };
        return Err(Diagnostic::new(format!("{} is not a duration", super::quoted(text)), help));
    };
    match Duration::try_from(signed) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err(too_long()),
        Err(_) => Err(Diagnostic::new("a duration cannot be negative", help)),
    }
}

fn too_long() -> Diagnostic {
    Diagnostic::new("a duration of more than a year", "write at most `8784h`")
}

/// Whether it is a duration, be it one that is too long or negative.
pub(super) fn is_duration(text: &str) -> bool {
    let is_one = |text: &str| text.parse::<SignedDuration>().is_ok();
    is_one(text) || !text.contains(['.', ',']) && is_one(&small(text))
}

/// Numbers of one digit in the place of all whole ones.
fn small(text: &str) -> String {
    let is_digit = |c: char| c.is_ascii_digit();
    let mut last = ' ';
    let is_kept = move |c: &char| {
        let before = std::mem::replace(&mut last, *c);
        !(is_digit(before) && is_digit(*c))
    };
    text.chars().filter(is_kept).collect()
}

/// Writes a duration so that [`read_duration`] reads the same.
pub(super) fn write_duration(duration: Duration) -> String {
    // A duration that was read is a year at most, so it always fits.
    format!("{:#}", SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX))
}

/// Reads the size of a buffer: `65536`, `64KiB`, `1MB`.
pub(super) fn read_size(text: &str) -> Result<u32, Diagnostic> {
    size_in_bytes(i64::try_from(read_bytes(text)?).unwrap_or(i64::MAX))
}

/// Reads any number of bytes: `65536`, `64KiB`, `1GB`.
pub(super) fn read_bytes(text: &str) -> Result<u64, Diagnostic> {
    let not_a_size = || {
        let text = text.trim();
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = &text[..text.len() - unit.len()];
        let help = match unit.trim() {
            unit @ ("k" | "K" | "m" | "M" | "g" | "G") if !digits.is_empty() => {
                let unit = unit.to_uppercase();
                format!("write `{digits}{unit}iB` (of 1024) or `{digits}{unit}B` (of 1000)")
            }
            _ => "write whole bytes, or for example `64KiB` or `1MB`".to_owned(),
        };
        Diagnostic::new(format!("{} is not a size", super::quoted(text)), help)
    };
    match read_amount(text) {
        Some((number, _)) => Ok(number),
        None if is_too_many(text) => Err(too_many_bytes(text)),
        None => Err(not_a_size()),
    }
}

/// Whether it would be a number of bytes, if it were smaller.
pub(super) fn is_too_many(text: &str) -> bool {
    read_amount(text).is_none() && read_amount(&small(text)).is_some()
}

/// The file has no larger numbers.
pub(super) fn too_many_bytes(text: &str) -> Diagnostic {
    Diagnostic::new(
        format!("{} is more than a number of bytes can be", super::quoted(text)),
        format!("write at most `{}B`", i64::MAX),
    )
}

/// Reads a number, and whether a unit of bytes stands behind it: `50`, `64KiB`, `1 GB`.
pub(super) fn read_amount(text: &str) -> Option<(u64, bool)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return None,
    };
    // The file has no larger numbers.
    let number =
        number.parse::<u64>().ok()?.checked_mul(factor).filter(|number| i64::try_from(*number).is_ok())?;
    Some((number, !unit.is_empty()))
}

/// Checks a size that was written as a plain number. The kernel takes it as an `int`.
pub(super) fn size_in_bytes(number: i64) -> Result<u32, Diagnostic> {
    match u32::try_from(number) {
        Ok(size) if i32::try_from(size).is_ok() => Ok(size),
        _ => Err(Diagnostic::new(
            format!("a buffer cannot have {number} bytes"),
            "write a size from 0 (the kernel's default) to 2147483647 bytes",
        )),
    }
}

/// Reads octal permission bits: `0660`.
pub(super) fn read_mode(text: &str) -> Result<u32, Diagnostic> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = !digits.is_empty() && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(digits, 8).unwrap_or(u32::MAX);
    match octal && mode <= 0o7777 {
        true => Ok(mode),
        false => Err(Diagnostic::new(
            format!("{} is not an octal file mode", super::quoted(text)),
            "write for example \"0660\": octal digits, at most 7777",
        )),
    }
}

fn mentions_days(text: &str) -> bool {
    let units = ["d", "w", "mo", "y"];
    text.contains(|c: char| c.is_ascii_digit())
        && text
            .split(|c: char| !c.is_ascii_alphabetic())
            .filter(|word| !word.is_empty())
            .any(|word| units.iter().any(|unit| word.to_ascii_lowercase().starts_with(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let read = |text| read_duration(text).unwrap();
        assert_eq!(read("30s"), Duration::from_secs(30));
        assert_eq!(read("1h 30m"), Duration::from_secs(5400));
        assert_eq!(read("1h30m"), Duration::from_secs(5400));
        assert_eq!(read("500ms"), Duration::from_millis(500));
        assert_eq!(read("PT1M30S"), Duration::from_secs(90));
        assert_eq!(read("0s"), Duration::ZERO);
    }

    #[test]
    fn bad_durations_are_refused() {
        for text in
            ["", "30", "soon", "-5s", "5s ago", "1 month", "1d", "2 weeks", "P1D", "9000h", "99999999999999h"]
        {
            assert!(read_duration(text).is_err(), "{text:?} was read");
        }
        assert_eq!(read_duration("1d").unwrap_err().help, "count in hours: `24h` is a day");
        for text in ["9000h", "500000000000000h", "99999999999999999999h", "1h 99999999999999999999999s"] {
            assert_eq!(read_duration(text).unwrap_err().help, "write at most `8784h`", "{text}");
        }
    }

    #[test]
    fn written_durations_read_the_same() {
        for duration in [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::from_micros(1_500),
            Duration::from_millis(61_001),
            Duration::new(86_399, 999_999_999),
            LONGEST,
        ] {
            assert_eq!(read_duration(&write_duration(duration)).unwrap(), duration);
        }
        assert_eq!(write_duration(Duration::from_secs(5)), "5s");
        assert_eq!(write_duration(Duration::ZERO), "0s");
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(read_size("64KiB").unwrap(), 65_536);
        assert_eq!(read_size("1MB").unwrap(), 1_000_000);
        assert_eq!(read_size("1 mib").unwrap(), 1 << 20);
        assert_eq!(read_size("0").unwrap(), 0);
        assert_eq!(read_size("1GiB").unwrap(), 1 << 30);
        for text in ["", "KiB", "1.5MB", "64K", "-1", "2GiB", "9223372036854775807GiB", "1 byte"] {
            assert!(read_size(text).is_err(), "{text:?} was read");
        }
        assert!(size_in_bytes(-1).is_err());
    }

    #[test]
    fn a_number_is_one_of_bytes_if_it_says_so() {
        assert_eq!(read_amount(" 50 "), Some((50, false)));
        assert_eq!(read_amount("50B"), Some((50, true)));
        assert_eq!(read_amount("2 KiB"), Some((2048, true)));
        assert_eq!(read_amount("9223372036854775807B"), Some((i64::MAX as u64, true)));
        for text in ["", "B", "-1", "1.5", "50x", "4 7"] {
            assert!(read_amount(text).is_none() && !is_too_many(text), "{text:?}");
        }
        for text in ["99999999999999999999", "9223372036854775808B", "9223372036854775807 GiB"] {
            assert!(read_amount(text).is_none() && is_too_many(text), "{text:?}");
            assert!(read_bytes(text).unwrap_err().help.contains("9223372036854775807B"), "{text:?}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(read_mode("0660").unwrap(), 0o660);
        assert_eq!(read_mode("7777").unwrap(), 0o7777);
        assert_eq!(read_mode("0o600").unwrap(), 0o600);
        for text in ["", "0o", "680", "rw", "+7", "10000", "77777777777777777777"] {
            assert!(read_mode(text).is_err(), "{text:?} was read");
        }
    }
}
