//! Numbers as people read them: three digits and a unit.

/// A time in nanoseconds: `850 ns`, `78.3 µs`, `1.24 ms`, `12.0 s`.
pub fn time(nanoseconds: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    // From where it would be rounded to 1.00 of the unit.
    let found = units.iter().find(|(size, _)| nanoseconds >= size * 0.9995);
    found.map_or_else(
        || format!("{nanoseconds:.0} ns"),
        |(size, unit)| format!("{} {unit}", three_digits(nanoseconds / size)),
    )
}

/// A whole number with commas: `600,000`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Events a second: `20,000/s`, `12.5/s`.
pub fn rate(per_second: f64) -> String {
    match per_second < 1000.0 {
        true => format!("{}/s", three_digits(per_second)),
        false => format!("{}/s", count(per_second.round() as u64)),
    }
}

/// A part of a whole: `100 %`, `4.1 %`, `0.012 %`; nothing of nothing is `-`.
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    percent(part as f64 / whole as f64)
}

/// A ratio in percent, with two digits and never rounded to 0 or 100 % unless it is that.
pub fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    match percent {
        _ if percent.fract() == 0.0 => format!("{percent:.0} %"),
        99.0..100.0 => format!("{:.3} %", percent.min(99.999)),
        10.0.. => format!("{percent:.1} %"),
        _ => {
            let decimals = (1.0 - percent.log10().floor()).clamp(1.0, 6.0) as usize;
            format!("{percent:.decimals$} %")
        }
    }
}

/// A number of bytes: `512 B`, `1.24 MiB`.
pub fn bytes(number: u64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let found = units.iter().find(|(size, _)| number >= *size);
    found.map_or_else(
        || format!("{number} B"),
        |(size, unit)| format!("{} {unit}", three_digits(number as f64 / *size as f64)),
    )
}

fn three_digits(number: f64) -> String {
    match number {
        ..9.995 => format!("{number:.2}"),
        ..99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let times = [850.0, 999.6, 1_240.0, 78_310.0, 99_960.0, 999_600.0, 3_904_000.0, 12e9];
        let written = ["850 ns", "1.00 µs", "1.24 µs", "78.3 µs", "100 µs", "1.00 ms", "3.90 ms", "12.0 s"];
        assert_eq!(times.map(time), written);
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.5, 20_000.4].map(rate), ["0.50/s", "20,000/s"]);
        assert_eq!([512, 1 << 20, 5 << 29].map(bytes), ["512 B", "1.00 MiB", "2.50 GiB"]);
    }

    #[test]
    fn a_share_is_0_or_100_percent_only_if_it_is() {
        let written = [(0, 9), (9, 9), (1, 2), (1, 1000), (999_999, 1_000_000), (1, 10_000_000), (0, 0)]
            .map(|(part, whole)| share(part, whole));
        assert_eq!(written, ["0 %", "100 %", "50 %", "0.10 %", "99.999 %", "0.000010 %", "-"]);
    }
}
