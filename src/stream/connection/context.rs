//! What the connections of a listener have in common.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::{config, report::stats::Stats, sys::interrupt};

/// What every connection of a listener shares.
pub struct Context<'a> {
    /// The listener's settings.
    pub settings: &'a config::Listener,
    /// Where bytes are counted.
    pub stats: &'a Stats,
    /// When whoever is still there is cut, once that is decided.
    pub cut: &'a OnceLock<Instant>,
    /// In a process that decides for itself when to cut: so long after it was interrupted.
    pub drain: Option<Duration>,
}

impl Context<'_> {
    /// When the time to drain is over, if it has begun.
    pub fn cut_at(&self) -> Option<Instant> {
        match self.drain {
            Some(time) if interrupt::is_interrupted() => {
                Some(*self.cut.get_or_init(|| Instant::now() + time))
            }
            _ => self.cut.get().copied(),
        }
    }

    /// Whether the time to drain is over.
    pub fn is_cut(&self) -> bool {
        self.cut_at().is_some_and(|cut| cut <= Instant::now())
    }

    /// `max-bytes`, which no connection reaches if there is none.
    pub(super) fn most_bytes(&self) -> u64 {
        match self.settings.max_bytes {
            0 => u64::MAX,
            most => most,
        }
    }
}
