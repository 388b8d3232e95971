//! The end of a connection: counted, and told in one line of the log.

use std::{fmt, time::Duration};

use log::{debug, info, warn};

use super::Duty;
use crate::{conversation::Report, end::End, peer::Peer};

impl Duty {
    /// Counts and logs the end of a connection.
    pub fn farewell(&self, peer: &Peer, lasted: Duration, report: Report) {
        self.stats.ended(report.end);
        let Report { received, sent, end, carried } = report;
        let (name, url) = (self.settings.name.as_str(), peer.source(self.settings.protocol, carried));
        let time = Lasted(lasted);
        match end {
            End::Refused(reason) => {
                debug!(
                    listener = name, reason = reason.word();
                    "listener \"{name}\": {url} refused ({reason}) after {time}: {end}"
                );
                self.refuse(reason, 1);
            }
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

/// A time for people: three digits are enough.
struct Lasted(Duration);

impl fmt::Display for Lasted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3?}", self.0)
    }
}
