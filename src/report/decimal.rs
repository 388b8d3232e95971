//! Numbers and times for lines that are written for each connection: half of such a line is digits, and the formatter of the
//! standard library looks for width, sign and fill at each of them.

use std::{fmt, time::Duration};

/// Displays a number in decimal, as it is: width, fill and sign of the format are not heeded.
#[derive(Clone, Copy, Debug)]
pub struct Decimal<N>(pub N);

impl<N: itoa::Integer + Copy> fmt::Display for Decimal<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(itoa::Buffer::new().format(self.0))
    }
}

/// A time for people: in the largest unit of which it is at least one, to a thousandth of it. Written as in the configuration, and
/// so in ASCII.
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
    fn a_time_is_told_in_a_unit_that_suits_it() {
        let told = |nanos| HumanDuration(Duration::from_nanos(nanos)).to_string();
        assert_eq!(told(0), "0.000us");
        assert_eq!(told(285_334), "285.334us");
        assert_eq!(told(999_999), "999.999us");
        assert_eq!(told(1_000_000), "1.000ms");
        assert_eq!(told(20_050_999), "20.050ms");
        assert_eq!(told(5_000_000_000), "5.000s");
        assert_eq!(told(86_400_000_000_000), "86400.000s");
        assert_eq!(HumanDuration(Duration::MAX).to_string(), "18446744073709551.615s");
    }
}
