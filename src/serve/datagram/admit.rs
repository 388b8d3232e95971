//! Which datagrams of a batch are answered.

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

/// What the datagrams of a batch are checked against.
struct DatagramFilter<'a> {
    context: &'a ListenerContext,
    guard: Option<(&'a Guard, BatchContext)>,
    /// In nanoseconds; 0 if nothing needs the time.
    now: u64,
}

/// Marks the datagrams that are not answered, counts all of them, and returns how many are left.
pub(super) fn admit(context: &ListenerContext, listener: &Listener, batch: &mut Batch) -> usize {
    let filter = DatagramFilter::new(context, listener);
    let (mut bytes, mut refused) = (0, 0);
    for (i, request) in batch.requests().enumerate() {
        bytes += request.length();
        if request.is_truncated() {
            context.stats.truncated.fetch_add(1, Relaxed);
            refused |= 1 << i;
        } else if let Err(reason) = filter.check(request) {
            context.refuse(reason, 1, || super::source(context, request));
            refused |= 1 << i;
        }
    }
    context.stats.received(bytes);
    batch.refuse(refused);
    if let Some((_, batch_context)) = filter.guard.filter(|_| context.settings.allow_multicast) {
        // The answer to a multicast or broadcast datagram leaves from an address of our own.
        batch.forget_destinations(|destination| batch_context.is_for_many(destination));
    }
    batch.received() - refused.count_ones() as usize
}

impl<'a> DatagramFilter<'a> {
    fn new(context: &'a ListenerContext, listener: &Listener) -> DatagramFilter<'a> {
        // One reading of the clock for the whole batch, none if nothing needs it. Rates need the exact time; the guard
        // measures nothing shorter than a tenth of a second, so the coarse clock will do.
        let access = &context.access;
        let now = match (&access.guard, &access.limits) {
            (_, Some(_)) => clock::now(),
            (Some(_), None) => clock::lately(),
            (None, None) => 0,
        };
        let guard = access.guard.as_deref().map(|guard| (guard, BatchContext::new(listener.place(), now)));
        DatagramFilter { context, guard, now }
    }

    /// Whether a datagram may be answered.
    fn check(&self, request: Request<'_>) -> Result<(), RefusalReason> {
        let is_answered = self.context.settings.service != ServiceKind::Discard;
        match request.origin() {
            SourceAddr::Nameless | SourceAddr::V4(_, 0) | SourceAddr::V6(_, 0) if is_answered => {
                Err(RefusalReason::Unanswerable)
            }
            SourceAddr::Nameless | SourceAddr::Unix => Ok(()),
            SourceAddr::V4(v4, port) => self.check_source(request, v4, port),
            SourceAddr::V6(v6, port) => self.check_v6(request, v6, port),
        }
    }

    #[inline(never)]
    fn check_v6(&self, request: Request<'_>, v6: Ipv6Addr, port: u16) -> Result<(), RefusalReason> {
        match embedded_v4(v6) {
            Some(v4) => self.check_source(request, v4, port),
            None => self.check_source(request, v6, port),
        }
    }

    /// Cheap checks first, and those that charge a budget last.
    #[inline(always)]
    fn check_source(
        &self,
        request: Request<'_>,
        source: impl PlainAddress,
        port: u16,
    ) -> Result<(), RefusalReason> {
        if let Some((guard, batch_context)) = &self.guard {
            guard.addresses(batch_context, source, request.destination())?;
        }
        self.context.access.judge(source)?;
        if let Some((guard, batch_context)) = &self.guard {
            guard.port(batch_context, source, port)?;
        }
        self.context.access.limit_datagram(source, request.length(), self.now)?;
        match &self.guard {
            Some((guard, batch_context)) => guard.peer(batch_context, source, port),
            None => Ok(()),
        }
    }
}
