//! The end of a connection: counted, and told in one line of the log.

use std::{fmt, time::Duration};

use log::{Level, debug, info, warn};

use super::Duty;
use crate::{conversation::Report, digits::Digits, end::End, peer::Peer};

impl Duty {
    /// Counts and logs the end of a connection.
    pub fn farewell(&self, peer: &Peer, lasted: Duration, report: Report) {
        self.count_end(report.end);
        self.tell_end(peer, lasted, report);
    }

    /// The first half of [`Duty::farewell`].
    pub fn count_end(&self, end: End) {
        self.stats.ended(end);
        if let End::Refused(reason) = end {
            self.refuse(reason, 1);
        }
    }

    /// Whether the log has a line for such an end.
    pub fn tells_end(&self, end: End) -> bool {
        let level = match end {
            End::Refused(_) => Level::Debug,
            End::Panicked | End::Killed(_) | End::Vanished => Level::Warn,
            _ => Level::Info,
        };
        level <= log::max_level()
    }

    /// The second half of [`Duty::farewell`], which may come later.
    pub fn tell_end(&self, peer: &Peer, lasted: Duration, report: Report) {
        let Report { received, sent, end, carried } = report;
        let (received, sent) = (Digits(received), Digits(sent));
        let (name, url) = (self.settings.name.as_str(), peer.source(self.settings.protocol, carried));
        let time = Lasted(lasted);
        match end {
            End::Refused(reason) => debug!(
                listener = name, reason = reason.word();
                "listener \"{name}\": {url} refused ({reason}) after {time}: {end}"
            ),
            End::Panicked | End::Killed(_) | End::Vanished => warn!(
                listener = name;
                "listener \"{name}\": {url} lost after {time}: {end}"
            ),
            _ => info!(
                listener = name;
                "listener \"{name}\": {url} closed after {time}, {received} bytes in, {sent} bytes out: {end}"
            ),
        }
    }
}

/// A time for people: in the largest unit of which it is at least one, to a thousandth of it. Written as in the configuration, and
/// so in ASCII.
struct Lasted(Duration);

impl fmt::Display for Lasted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (thousandth, unit) = match nanos {
            0..1_000_000 => (1, "us"),
            1_000_000..1_000_000_000 => (1_000, "ms"),
            _ => (1_000_000, "s"),
        };
        let thousandths = u64::try_from(nanos / thousandth).unwrap_or(u64::MAX);
        let rest = thousandths % 1000;
        Digits(thousandths / 1000).fmt(f)?;
        f.write_str(match rest {
            0..10 => ".00",
            10..100 => ".0",
            _ => ".",
        })?;
        Digits(rest).fmt(f)?;
        f.write_str(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_a_unit_that_suits_it() {
        let told = |nanos| Lasted(Duration::from_nanos(nanos)).to_string();
        assert_eq!(told(0), "0.000us");
        assert_eq!(told(285_334), "285.334us");
        assert_eq!(told(999_999), "999.999us");
        assert_eq!(told(1_000_000), "1.000ms");
        assert_eq!(told(20_050_999), "20.050ms");
        assert_eq!(told(5_000_000_000), "5.000s");
        assert_eq!(told(86_400_000_000_000), "86400.000s");
        assert_eq!(Lasted(Duration::MAX).to_string(), "18446744073709551.615s");
    }
}
