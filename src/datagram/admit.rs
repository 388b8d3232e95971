//! Which datagrams of a batch are to be answered.

use std::sync::atomic::Ordering::Relaxed;

use crate::{
    config::ServiceKind,
    duty::Duty,
    guard::{Guard, Round, Source, embedded_v4},
    listener::Listener,
    reason::Reason,
    sys::{clock, mmsg::Batch, names::Origin},
};

/// Marks those that are not to be answered, counts all of them, and returns how many are left.
pub(super) fn admit(duty: &Duty, listener: &Listener, batch: &mut Batch) -> usize {
    // One look at the clock for all, and none where nobody asks. Rates may be as fast as it goes, but nothing that the guard
    // remembers is younger than a tenth of a second.
    let now = match (&duty.guard, &duty.limits) {
        (_, Some(_)) => clock::now(),
        (Some(_), None) => clock::lately(),
        (None, None) => 0,
    };
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

/// Whether a datagram may be answered.
fn judge(
    duty: &Duty,
    guard: Option<&(&Guard, Round)>,
    now: u64,
    batch: &mut Batch,
    i: usize,
) -> Result<(), Reason> {
    let is_answered = duty.settings.service != ServiceKind::Discard;
    match batch.origin(i) {
        Origin::Nameless | Origin::V4(_, 0) | Origin::V6(_, 0) if is_answered => Err(Reason::Unanswerable),
        Origin::Nameless | Origin::Unix => Ok(()),
        Origin::V4(v4, port) => judge_source(duty, guard, now, batch, i, (v4, port)),
        Origin::V6(v6, port) => match embedded_v4(v6) {
            Some(v4) => judge_source(duty, guard, now, batch, i, (v4, port)),
            None => judge_source(duty, guard, now, batch, i, (v6, port)),
        },
    }
}

/// The cheap tests first, and those that count last.
#[inline]
fn judge_source(
    duty: &Duty,
    guard: Option<&(&Guard, Round)>,
    now: u64,
    batch: &mut Batch,
    i: usize,
    (source, port): (impl Source, u16),
) -> Result<(), Reason> {
    if let Some((guard, round)) = guard {
        guard.addresses(round, source, batch.destination(i))?;
    }
    duty.judge(source)?;
    if let Some((guard, round)) = guard {
        guard.port(round, source, port)?;
    }
    duty.limit_datagram(source, batch.length(i), now)?;
    if let Some((guard, round)) = guard {
        guard.peer(round, source, port)?;
        if duty.settings.allow_multicast && round.is_for_many(batch.destination(i)) {
            batch.forget_destination(i);
        }
    }
    Ok(())
}
