//! The books of one round: what became of each message, and how long it took.

use std::collections::BTreeMap;

use super::super::{
    histogram::Histogram,
    measurement::{Fates, Replies},
};

/// What a round has found out so far. A message that is in flight is in none of the fates but `planned`.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) fates: Fates,
    pub(super) replies: Replies,
    /// From the send to the answer.
    pub(super) service: Histogram,
    /// From the planned moment to the answer, and from there to the send; only of an open loop.
    pub(super) open: Option<OpenTimes>,
    /// When the last answer came.
    pub(super) last_answer: u64,
    /// The longest time of an answer, from its send.
    pub(super) longest: u64,
    /// Sends that the kernel refused for want of memory (ENOBUFS).
    pub(super) no_buffers: u64,
    pub(super) errors: BTreeMap<&'static str, u64>,
}

/// The times that only a plan has.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenTimes {
    pub(super) response: Histogram,
    pub(super) schedule_error: Histogram,
}

impl Tally {
    pub(super) fn new(has_plan: bool) -> Self {
        Self { open: has_plan.then(OpenTimes::default), ..Self::default() }
    }

    /// A message was sent at `now` that was to be sent at `planned`.
    pub(super) fn sent(&mut self, planned: u64, now: u64) {
        if let Some(open) = &mut self.open {
            open.schedule_error.record(now.saturating_sub(planned));
        }
    }

    /// The answer to a message came at `now`, each byte as sent.
    pub(super) fn answered(&mut self, (planned, sent): (u64, u64), now: u64, timeout: u64) {
        let time = now.saturating_sub(sent);
        match time > timeout {
            true => self.fates.late += 1,
            false => self.fates.ok += 1,
        }
        // Late ones, too: without them the slow times would be the only ones that are missing.
        self.service.record(time);
        if let Some(open) = &mut self.open {
            open.response.record(now.saturating_sub(planned));
        }
        self.longest = self.longest.max(time);
        self.last_answer = now;
    }

    /// Whether anything came otherwise than it should.
    pub(super) fn is_odd(&self) -> bool {
        let Replies { duplicate, reordered, corrupt, stray, .. } = self.replies;
        self.fates.lost + self.fates.late + duplicate + reordered + corrupt + stray > 0
    }

    pub(super) fn error(&mut self, word: &'static str) {
        *self.errors.entry(word).or_default() += 1;
    }
}
