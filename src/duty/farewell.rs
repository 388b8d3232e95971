//! The end of a connection: counted, and told in one line of the log.

use std::time::Duration;

use log::{Level, debug, info, warn};

use super::Duty;
use crate::{
    conversation::Report,
    digits::{Digits, Lasted},
    end::End,
    peer::Peer,
};

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
