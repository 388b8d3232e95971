//! Which datagrams of a batch are to be answered.

use std::{net::Ipv6Addr, sync::atomic::Ordering::Relaxed};

use crate::{
    access::guard::{Guard, Round, Source},
    config::{ServiceKind, embedded::embedded_v4},
    report::refusal_reason::Reason,
    serve::context::Duty,
    socket::listener::Listener,
    sys::{
        clock,
        mmsg::{Batch, Request},
        names::Origin,
    },
};

/// What the datagrams of a batch are judged by.
struct Judge<'a> {
    duty: &'a Duty,
    guard: Option<(&'a Guard, Round)>,
    /// In nanoseconds, where somebody asks.
    now: u64,
}

/// Marks those that are not to be answered, counts all of them, and returns how many are left.
pub(super) fn admit(duty: &Duty, listener: &Listener, batch: &mut Batch) -> usize {
    let judge = Judge::new(duty, listener);
    let (mut bytes, mut refused) = (0, 0);
    for (i, request) in batch.requests().enumerate() {
        bytes += request.length();
        if request.is_truncated() {
            duty.stats.truncated.fetch_add(1, Relaxed);
            refused |= 1 << i;
        } else if let Err(reason) = judge.judge(request) {
            duty.refuse(reason, 1, || super::source(duty, request));
            refused |= 1 << i;
        }
    }
    duty.stats.received(bytes);
    batch.refuse(refused);
    if let Some((_, round)) = judge.guard.filter(|_| duty.settings.allow_multicast) {
        // The answer to what was sent to many leaves from an address of ours.
        batch.forget_destinations(|destination| round.is_for_many(destination));
    }
    batch.received() - refused.count_ones() as usize
}

impl<'a> Judge<'a> {
    fn new(duty: &'a Duty, listener: &Listener) -> Judge<'a> {
        // One look at the clock for all, and none where nobody asks. Rates may be as fast as it goes, but nothing that the guard
        // remembers is younger than a tenth of a second.
        let now = match (&duty.guard, &duty.limits) {
            (_, Some(_)) => clock::now(),
            (Some(_), None) => clock::lately(),
            (None, None) => 0,
        };
        let guard = duty.guard.as_deref().map(|guard| (guard, Round::new(listener.place(), now)));
        Judge { duty, guard, now }
    }

    /// Whether a datagram may be answered.
    fn judge(&self, request: Request<'_>) -> Result<(), Reason> {
        let is_answered = self.duty.settings.service != ServiceKind::Discard;
        match request.origin() {
            Origin::Nameless | Origin::V4(_, 0) | Origin::V6(_, 0) if is_answered => {
                Err(Reason::Unanswerable)
            }
            Origin::Nameless | Origin::Unix => Ok(()),
            Origin::V4(v4, port) => self.judge_source(request, v4, port),
            Origin::V6(v6, port) => self.judge_v6(request, v6, port),
        }
    }

    #[inline(never)]
    fn judge_v6(&self, request: Request<'_>, v6: Ipv6Addr, port: u16) -> Result<(), Reason> {
        match embedded_v4(v6) {
            Some(v4) => self.judge_source(request, v4, port),
            None => self.judge_source(request, v6, port),
        }
    }

    /// The cheap tests first, and those that count last.
    #[inline(always)]
    fn judge_source(&self, request: Request<'_>, source: impl Source, port: u16) -> Result<(), Reason> {
        if let Some((guard, round)) = &self.guard {
            guard.addresses(round, source, request.destination())?;
        }
        self.duty.judge(source)?;
        if let Some((guard, round)) = &self.guard {
            guard.port(round, source, port)?;
        }
        self.duty.limit_datagram(source, request.length(), self.now)?;
        match &self.guard {
            Some((guard, round)) => guard.peer(round, source, port),
            None => Ok(()),
        }
    }
}
