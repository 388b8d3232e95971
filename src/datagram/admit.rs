//! Which datagrams of a batch are to be answered.

use std::sync::atomic::Ordering::Relaxed;

use crate::{
    config::ServiceKind,
    duty::Duty,
    guard::{Guard, Round, plain},
    listener::Listener,
    reason::Reason,
    sys::{clock, mmsg::Batch, names::Origin},
};

/// Marks those that are not to be answered, counts all of them, and returns how many are left.
pub(super) fn admit(duty: &Duty, listener: &Listener, batch: &mut Batch) -> usize {
    // One look at the clock for all, and none where nobody asks.
    let now = if duty.guard.is_some() || duty.limits.is_some() { clock::now() } else { 0 };
    let guard = duty.guard.as_deref().map(|guard| (guard, Round::new(listener.place(), now)));
    let (mut bytes, mut let_in) = (0, 0);
    for i in 0..batch.received() {
        bytes += batch.length(i);
        if batch.truncated(i) {
            duty.stats.truncated.fetch_add(1, Relaxed);
            batch.refuse(i);
            continue;
        }
        match judge(duty, guard.as_ref(), now, batch, i) {
            Ok(()) => let_in += 1,
            Err(reason) => {
                duty.refuse(reason, 1);
                batch.refuse(i);
            }
        }
    }
    duty.stats.received(bytes);
    let_in
}

/// Whether a datagram may be answered: the cheap tests first, and those that count last.
fn judge(
    duty: &Duty,
    guard: Option<&(&Guard, Round)>,
    now: u64,
    batch: &mut Batch,
    i: usize,
) -> Result<(), Reason> {
    let is_answered = duty.settings.service != ServiceKind::Discard;
    let (source, port) = match batch.origin(i) {
        Origin::Nameless | Origin::Inet(_, 0) if is_answered => return Err(Reason::Unanswerable),
        Origin::Nameless | Origin::Unix => return Ok(()),
        Origin::Inet(source, port) => (plain(source), port),
    };
    guard.map_or(Ok(()), |(guard, round)| guard.addresses(round, source, batch.destination(i)))?;
    duty.judge(source)?;
    guard.map_or(Ok(()), |(guard, round)| guard.port(round, source, port))?;
    duty.limit_datagram(source, batch.length(i), now)?;
    guard.map_or(Ok(()), |(guard, round)| guard.peer(round, source, port))?;
    if duty.settings.allow_multicast
        && let Some((_, round)) = guard
        && round.is_for_many(batch.destination(i))
    {
        batch.forget_destination(i);
    }
    Ok(())
}
