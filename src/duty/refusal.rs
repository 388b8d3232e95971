//! Refusing: counted by reason, told once per connection at level debug, and otherwise at most once a minute.

use log::{debug, warn};

use super::Duty;
use crate::{peer::Peer, reason::Reason, sys::clock};

impl Duty {
    /// Refuses `count` datagrams for one reason. The log tells of that reason at most once a minute.
    pub fn refuse(&self, reason: Reason, count: u64) {
        self.stats.refuse(reason, count);
        if let Some(count) = self.stats.tell_refusals(reason, clock::now()) {
            let name = self.settings.name.as_str();
            let line = reason.line();
            warn!(
                listener = name, reason = reason.word();
                "listener \"{name}\": {count} refused ({reason}): {line}"
            );
        }
    }

    /// Refuses a connection. To be closed is all that its peer learns.
    pub fn turn_away(&self, peer: &Peer, reason: Reason) {
        let (name, url, line) =
            (self.settings.name.as_str(), peer.url(self.settings.protocol), reason.line());
        debug!(
            listener = name, reason = reason.word();
            "listener \"{name}\": {url} refused ({reason}): {line}"
        );
        self.refuse(reason, 1);
    }
}
