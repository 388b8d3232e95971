//! Numbers and durations for lines that are written for each connection. Half of such a line is digits, and std's formatter
//! checks width, sign and fill for each number.

use std::{fmt, time::Duration};

/// Displays a number in decimal. Ignores width, fill and sign of the format.
#[derive(Clone, Copy, Debug)]
pub struct Decimal<N>(pub N);

impl<N: itoa::Integer + Copy> fmt::Display for Decimal<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(itoa::Buffer::new().format(self.0))
    }
}

/// Displays a duration for people: three decimals of the largest unit that fits, in ASCII and in the notation of the
/// configuration.
#[derive(Clone, Copy, Debug)]
pub struct HumanDuration(pub Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (thousandth, unit) = match nanos {
            0..1_000_000 => (1, "us"),
            1_000_000..1_000_000_000 => (1_000, "ms"),
            _ => (1_000_000, "s"),
        };
        let thousandths = u64::try_from(nanos / thousandth).unwrap_or(u64::MAX);
        let rest = thousandths % 1000;
        Decimal(thousandths / 1000).fmt(f)?;
        f.write_str(match rest {
            0..10 => ".00",
            10..100 => ".0",
            _ => ".",
        })?;
        Decimal(rest).fmt(f)?;
        f.write_str(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_shown_in_the_largest_unit_that_fits() {
        let shown = |nanos| HumanDuration(Duration::from_nanos(nanos)).to_string();
        assert_eq!(shown(0), "0.000us");
        assert_eq!(shown(285_334), "285.334us");
        assert_eq!(shown(999_999), "999.999us");
        assert_eq!(shown(1_000_000), "1.000ms");
        assert_eq!(shown(20_050_999), "20.050ms");
        assert_eq!(shown(5_000_000_000), "5.000s");
        assert_eq!(shown(86_400_000_000_000), "86400.000s");
        assert_eq!(HumanDuration(Duration::MAX).to_string(), "18446744073709551.615s");
    }
}
