//! Which datagrams of a batch are to be answered.

use std::sync::atomic::Ordering::Relaxed;

use crate::{
    config::ServiceKind,
    duty::Duty,
    guard::{Round, plain},
    listener::Listener,
    reason::Reason,
    sys::{clock, mmsg::Batch, names::Origin},
};

/// Marks those that are not to be answered, counts all of them, and returns how many are left.
pub(super) fn admit(duty: &Duty, listener: &Listener, batch: &mut Batch) -> usize {
    // One look at the clock for all, and none where nobody asks.
    let now = if duty.guard.is_some() || duty.limits.is_some() { clock::now() } else { 0 };
    let round = Round { place: listener.place(), now };
    let (mut bytes, mut let_in) = (0, 0);
    for i in 0..batch.received() {
        bytes += batch.length(i);
        if batch.truncated(i) {
            duty.stats.truncated.fetch_add(1, Relaxed);
            batch.refuse(i);
            continue;
        }
        match judge(duty, &round, batch, i) {
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
fn judge(duty: &Duty, round: &Round, batch: &mut Batch, i: usize) -> Result<(), Reason> {
    let is_answered = duty.settings.service != ServiceKind::Discard;
    let (source, port) = match batch.origin(i) {
        Origin::Nameless | Origin::Inet(_, 0) if is_answered => return Err(Reason::Unanswerable),
        Origin::Nameless | Origin::Unix => return Ok(()),
        Origin::Inet(source, port) => (plain(source), port),
    };
    let guard = duty.guard.as_ref();
    guard.map_or(Ok(()), |guard| guard.addresses(round, source, batch.destination(i)))?;
    duty.judge(source)?;
    guard.map_or(Ok(()), |guard| guard.port(round, source, port))?;
    duty.limit_datagram(source, batch.length(i), round.now)?;
    guard.map_or(Ok(()), |guard| guard.peer(round, source, port))?;
    if let Some(guard) = guard.filter(|_| duty.settings.allow_multicast)
        && guard.is_for_many(round, batch.destination(i))
    {
        batch.forget_destination(i);
    }
    Ok(())
}
