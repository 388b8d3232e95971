//! What a scrape sees, and the series of what every listener has.

use super::Series;
use crate::{
    config::Protocol,
    observe::{process::ProcessFigures, requests::Seen, snapshot::ListenerView},
    report::stats::{Counts, Totals},
};

/// What a scrape sees.
pub(super) struct Look<'a> {
    pub(super) seen: &'a Seen<'a>,
    pub(super) process: ProcessFigures,
}

impl Look<'_> {
    /// All listeners.
    pub(super) fn listeners(&self) -> impl Iterator<Item = &ListenerView> {
        self.seen.daemon.listeners.iter()
    }

    /// One series for each listener.
    pub(super) fn each(&self, to: &mut Series, count: fn(&ListenerView) -> u64) {
        self.listeners().for_each(|listener| to.count(&[&listener.name], count(listener)));
    }

    /// The listeners with a socket that the kernel knows more of.
    pub(super) fn of_udp(&self) -> impl Iterator<Item = &ListenerView> {
        self.listeners().filter(|listener| listener.known_protocol() == Some(Protocol::Udp))
    }

    /// One series for each of those.
    pub(super) fn each_of_udp(&self, to: &mut Series, count: fn(&ListenerView) -> u64) {
        self.of_udp().for_each(|listener| to.count(&[&listener.name], count(listener)));
    }

    /// The same for those with connections, or with datagrams.
    pub(super) fn each_of(&self, streams: bool, to: &mut Series, count: fn(&Totals) -> u64) {
        let fitting = self.listeners().filter(|listener| listener.is_stream() == streams);
        fitting.for_each(|listener| to.count(&[&listener.name], count(&listener.totals)));
    }
}

/// A count by its word.
pub(super) fn of(counts: &Counts, word: &'static str) -> u64 {
    counts.get(word).copied().unwrap_or_default()
}
