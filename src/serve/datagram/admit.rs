//! Which datagrams of a batch are to be answered.

use std::{net::Ipv6Addr, sync::atomic::Ordering::Relaxed};

use crate::{
    access::guard::{BatchContext, Guard, PlainAddress},
    config::{ServiceKind, embedded::embedded_v4},
    report::refusal_reason::RefusalReason,
    serve::context::ListenerContext,
    socket::listener::Listener,
    sys::{
        clock,
        mmsg::{Batch, Request},
        names::SourceAddr,
    },
};

/// What the datagrams of a batch are judged by.
struct DatagramFilter<'a> {
    context: &'a ListenerContext,
    guard: Option<(&'a Guard, BatchContext)>,
    /// In nanoseconds, where somebody asks.
    now: u64,
}

/// Marks those that are not to be answered, counts all of them, and returns how many are left.
pub(super) fn admit(context: &ListenerContext, listener: &Listener, batch: &mut Batch) -> usize {
    let judge = DatagramFilter::new(context, listener);
    let (mut bytes, mut refused) = (0, 0);
    for (i, request) in batch.requests().enumerate() {
        bytes += request.length();
        if request.is_truncated() {
            context.stats.truncated.fetch_add(1, Relaxed);
            refused |= 1 << i;
        } else if let Err(reason) = judge.judge(request) {
            context.refuse(reason, 1, || super::source(context, request));
            refused |= 1 << i;
        }
    }
    context.stats.received(bytes);
    batch.refuse(refused);
    if let Some((_, round)) = judge.guard.filter(|_| context.settings.allow_multicast) {
        // The answer to what was sent to many leaves from an address of ours.
        batch.forget_destinations(|destination| round.is_for_many(destination));
    }
    batch.received() - refused.count_ones() as usize
}

impl<'a> DatagramFilter<'a> {
    fn new(context: &'a ListenerContext, listener: &Listener) -> DatagramFilter<'a> {
        // One look at the clock for all, and none where nobody asks. Rates may be as fast as it goes, but nothing that the guard
        // remembers is younger than a tenth of a second.
        let now = match (&context.guard, &context.limits) {
            (_, Some(_)) => clock::now(),
            (Some(_), None) => clock::lately(),
            (None, None) => 0,
        };
        let guard = context.guard.as_deref().map(|guard| (guard, BatchContext::new(listener.place(), now)));
        DatagramFilter { context, guard, now }
    }

    /// Whether a datagram may be answered.
    fn judge(&self, request: Request<'_>) -> Result<(), RefusalReason> {
        let is_answered = self.context.settings.service != ServiceKind::Discard;
        match request.origin() {
            SourceAddr::Nameless | SourceAddr::V4(_, 0) | SourceAddr::V6(_, 0) if is_answered => {
                Err(RefusalReason::Unanswerable)
            }
            SourceAddr::Nameless | SourceAddr::Unix => Ok(()),
            SourceAddr::V4(v4, port) => self.judge_source(request, v4, port),
            SourceAddr::V6(v6, port) => self.judge_v6(request, v6, port),
        }
    }

    #[inline(never)]
    fn judge_v6(&self, request: Request<'_>, v6: Ipv6Addr, port: u16) -> Result<(), RefusalReason> {
        match embedded_v4(v6) {
            Some(v4) => self.judge_source(request, v4, port),
            None => self.judge_source(request, v6, port),
        }
    }

    /// The cheap tests first, and those that count last.
    #[inline(always)]
    fn judge_source(
        &self,
        request: Request<'_>,
        source: impl PlainAddress,
        port: u16,
    ) -> Result<(), RefusalReason> {
        if let Some((guard, round)) = &self.guard {
            guard.addresses(round, source, request.destination())?;
        }
        self.context.judge(source)?;
        if let Some((guard, round)) = &self.guard {
            guard.port(round, source, port)?;
        }
        self.context.limit_datagram(source, request.length(), self.now)?;
        match &self.guard {
            Some((guard, round)) => guard.peer(round, source, port),
            None => Ok(()),
        }
    }
}
