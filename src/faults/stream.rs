//! What a plan does to one connection: the state of its faults.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Faults,
    decision::{Question, SourceDecisions},
    fate::late,
};
use crate::{
    config::{After, FaultPlan},
    report::fault_kind::FaultKind,
    socket::address::Peer,
};

/// How soon a connection that is to be reset looks again whether the peer's kernel has acknowledged everything.
const SOONEST_LOOK: Duration = Duration::from_millis(1);

/// How late it looks again, at most.
const LATEST_LOOK: Duration = Duration::from_secs(1);

/// What a rate allows at once after a pause, as a time of it.
const BURST: Duration = Duration::from_millis(20);

/// An answer that waits for its rate goes on once that pays for so long: not byte by byte.
const PORTION: Duration = Duration::from_millis(5);

/// The faults of one connection.
pub struct ConnectionFaults {
    faults: Arc<Faults>,
    /// The decisions about the connection; `None` while its client is not known, or if the plan does not hit it.
    decisions: Option<SourceDecisions>,
    /// Whether a PROXY header is still to name the client.
    pub(super) is_undecided: bool,
    opened: Instant,
    reads: u64,
    /// Bytes of answers that were sent.
    pub(super) sent: u64,
    /// Until when nothing is received or sent.
    hold: Hold,
    /// Until when nothing is sent.
    send_hold: Option<Instant>,
    /// The time up to which the rate has paid for what was sent.
    paid_until: Option<Instant>,
    /// When the next piece is due.
    next_piece: Option<Instant>,
    pub(super) stage: Stage,
    has_stalled: bool,
    /// The peer has ended its side, and the plan ignores that.
    pub(super) ignores_end: bool,
    /// A byte was answered and left in the socket, so that closing it is a reset (unix).
    pub(super) left_unread: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    No,
    Until(Instant),
    ForEver,
}

/// How far the plan is with ending a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is due.
    Open,
    /// The connection is to be reset, once the peer's kernel has acknowledged everything. It waits for that since then.
    Resetting(Instant),
    /// An order was given.
    Ordered(EndOrder),
    /// The order was taken.
    Over,
}

/// What the driver of the connection is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOrder {
    /// Close it in order, without what is pending.
    Close(FaultKind),
    /// Reset it.
    Reset(FaultKind),
}

impl Faults {
    /// The faults of a connection from this peer; `None` if the plan does not hit it. `awaits_header` is whether a PROXY header
    /// will name its client.
    pub fn connect(self: &Arc<Self>, peer: &Peer, awaits_header: bool) -> Option<Box<ConnectionFaults>> {
        let mut faults = ConnectionFaults::undecided(self);
        if !awaits_header {
            faults.decide(peer);
            faults.decisions?;
        }
        Some(Box::new(faults))
    }

    /// The decisions about the next connection from this peer.
    fn number_connection(&self, peer: &Peer) -> Option<SourceDecisions> {
        let source = match peer {
            Peer::Inet(address) => {
                let ip = address.ip();
                self.hits(ip).then(|| self.decisions.of_address(ip, None))
            }
            _ => self.hits_nameless().then(|| self.decisions.of_name(b"")),
        }?;
        let numbered = self.numbers.lock().number(source.identity(), |_, _| false);
        self.count_evicted(numbered.has_evicted);
        Some(source.within(numbered.number))
    }

    pub(super) fn plan(&self) -> &FaultPlan {
        &self.plan
    }
}

impl ConnectionFaults {
    fn undecided(faults: &Arc<Faults>) -> ConnectionFaults {
        ConnectionFaults {
            faults: Arc::clone(faults),
            decisions: None,
            is_undecided: true,
            opened: Instant::now(),
            reads: 0,
            sent: 0,
            hold: Hold::No,
            send_hold: None,
            paid_until: None,
            next_piece: None,
            stage: Stage::Open,
            has_stalled: false,
            ignores_end: false,
            left_unread: false,
        }
    }

    /// Call when the client is known.
    pub fn decide(&mut self, client: &Peer) {
        self.is_undecided = false;
        self.decisions = self.faults.number_connection(client);
        let Some(decisions) = self.decisions else { return };
        let plan = Arc::clone(&self.faults.plan);
        if plan.reset_now.hits(decisions.draw(0, Question::ResetNow)) {
            self.stage = Stage::Ordered(EndOrder::Reset(FaultKind::ResetNow));
        } else if let Some(time) = plan.accept_delay {
            self.inject(FaultKind::AcceptDelay);
            self.hold = Hold::Until(self.opened + time);
        }
    }

    pub(super) fn inject(&self, fault: FaultKind) {
        self.faults.stats.inject(fault);
    }

    pub(super) fn plan(&self) -> Option<&FaultPlan> {
        self.decisions.map(|_| self.faults.plan())
    }

    /// The plan, if it hits the client or may come to do so.
    pub(super) fn possible_plan(&self) -> Option<&FaultPlan> {
        if self.is_undecided { Some(self.faults.plan()) } else { self.plan() }
    }

    /// Takes the order that the plan gives, once. That is when it counts: until then, the peer may end the connection first.
    pub fn take_order(&mut self) -> Option<EndOrder> {
        let Stage::Ordered(order) = self.stage else { return None };
        let (EndOrder::Close(fault) | EndOrder::Reset(fault)) = order;
        self.inject(fault);
        self.stage = Stage::Over;
        Some(order)
    }

    /// Call when the connection ends for another reason: from now on nothing is held.
    pub fn release(&mut self) {
        (self.decisions, self.is_undecided) = (None, false);
        (self.hold, self.send_hold, self.stage) = (Hold::No, None, Stage::Over);
    }

    /// Whether the connection, which wants to read or to write, is to be left alone whatever its socket is ready for: until it is
    /// due, or something else happens, such as a limit.
    pub fn is_parked(&self, wants_to_write: bool) -> bool {
        let now = Instant::now();
        let is_held = match self.hold {
            Hold::No => self.ignores_end && !wants_to_write,
            Hold::Until(end) => end > now,
            Hold::ForEver => true,
        };
        let is_send_held = wants_to_write && self.send_hold.is_some_and(|end| end > now);
        is_held || is_send_held
    }

    /// Whether a time lets go of the connection, of what is received or of what is sent.
    pub(super) fn goes_on(&self) -> bool {
        match self.hold {
            Hold::Until(_) => true,
            Hold::ForEver => false,
            Hold::No => self.send_hold.is_some(),
        }
    }

    /// When the connection is to be advanced, whatever its socket is ready for.
    pub fn due(&self) -> Option<Instant> {
        let hold = match self.hold {
            Hold::Until(end) => Some(end),
            Hold::No => None,
            Hold::ForEver => return None,
        };
        // A time that has come was acted on in the last step, unless it is held off by another one.
        let times = self.times().filter(|at| hold.is_none_or(|hold| *at > hold));
        hold.into_iter().chain(self.send_hold).chain(times).min()
    }

    /// The times at which the plan stalls or ends the connection.
    fn times(&self) -> impl Iterator<Item = Instant> {
        let plan = self.plan().filter(|_| self.stage == Stage::Open);
        let stall = plan.and_then(|plan| plan.stall_after).filter(|_| !self.has_stalled);
        let marks = [
            stall.map(|stall| stall.after),
            plan.and_then(|plan| plan.close_after),
            plan.and_then(|plan| plan.reset_after),
        ];
        let opened = self.opened;
        marks.into_iter().flatten().filter_map(move |after| match after {
            After::Time(time) => Some(opened + time),
            After::Bytes(_) => None,
        })
    }

    /// Acts on what is due; returns whether bytes may be received and answers made.
    pub(super) fn may_move(&mut self, now: Instant) -> bool {
        if let Hold::Until(end) = self.hold
            && end <= now
        {
            self.hold = Hold::No;
        }
        if self.send_hold.is_some_and(|end| end <= now) {
            self.send_hold = None;
        }
        if self.hold == Hold::No {
            self.reach_marks(now);
        }
        self.hold == Hold::No && matches!(self.stage, Stage::Open | Stage::Over)
    }

    /// Whether bytes that may move may be sent as well.
    pub(super) fn may_send(&self) -> bool {
        self.send_hold.is_none()
    }

    /// Begins what the bytes sent so far, or the time, call for.
    fn reach_marks(&mut self, now: Instant) {
        let Some(plan) = self.plan().filter(|_| self.stage == Stage::Open) else { return };
        let (stall, close, reset) = (plan.stall_after, plan.close_after, plan.reset_after);
        let is_reached = |after: After| match after {
            After::Bytes(bytes) => self.sent >= bytes,
            After::Time(time) => self.opened + time <= now,
        };
        if let Some(stall) = stall.filter(|stall| !self.has_stalled && is_reached(stall.after)) {
            self.has_stalled = true;
            self.hold = stall.lasts.map_or(Hold::ForEver, |time| Hold::Until(now + time));
            self.inject(FaultKind::StallAfter);
        } else if close.is_some_and(is_reached) {
            self.stage = Stage::Ordered(EndOrder::Close(FaultKind::CloseAfter));
        } else if reset.is_some_and(is_reached) {
            self.stage = Stage::Resetting(now);
            // The next step looks for the first time.
            self.hold = Hold::Until(now);
        }
    }

    /// The peer's kernel has acknowledged everything, or not: resets the connection, or looks again a little later.
    pub(super) fn reset_when(&mut self, is_acknowledged: bool, now: Instant) {
        let Stage::Resetting(since) = self.stage else { return };
        match is_acknowledged {
            true => self.stage = Stage::Ordered(EndOrder::Reset(FaultKind::ResetAfter)),
            false => self.hold = Hold::Until(now + next_look(now.saturating_duration_since(since))),
        }
    }

    /// Call after each read that has brought something. A PROXY header does not count: nothing is decided before it.
    pub(super) fn note_read(&mut self, now: Instant) {
        let Some(decisions) = self.decisions else { return };
        self.reads += 1;
        if let Some(delay) = self.faults.plan.delay {
            self.inject(FaultKind::Delay);
            self.hold_sending(now + late(delay, decisions.draw(self.reads, Question::Delay)));
        }
    }

    /// Call before an answer is sent: one without a read that counts, unasked or to what came with a PROXY header, is late, too.
    pub(super) fn note_answer(&mut self, now: Instant) {
        if self.reads == 0 {
            self.note_read(now);
        }
    }

    /// How many of `length` bytes may be sent now, at least one.
    pub(super) fn allowance(&mut self, length: usize, now: Instant) -> usize {
        let Some(plan) = self.plan() else { return length };
        let to_mark = |after: After| match after {
            After::Bytes(bytes) => bytes.checked_sub(self.sent).filter(|left| *left > 0),
            After::Time(_) => None,
        };
        let stall = plan.stall_after.filter(|_| !self.has_stalled).map(|stall| stall.after);
        let marks = [stall, plan.close_after, plan.reset_after].into_iter().flatten().filter_map(to_mark);
        // The byte to spoil is sent alone.
        let spoilt = plan.corrupt_at.and_then(|number| match number.checked_sub(self.sent)? {
            0 => None,
            1 => Some(1),
            left => Some(left - 1),
        });
        let chunk = plan.chunk.map(|chunk| u64::from(chunk.bytes));
        let rate = plan.rate.map(|rate| self.affordable(rate, now));
        let least = marks.chain(spoilt).chain(chunk).chain(rate).min().unwrap_or(u64::MAX);
        usize::try_from(least).map_or(length, |least| length.min(least.max(1)))
    }

    /// How many bytes the rate pays for now, at least one.
    fn affordable(&self, rate: u64, now: Instant) -> u64 {
        let from =
            self.paid_until.map_or(now - BURST.min(self.opened.elapsed()), |paid| paid.max(now - BURST));
        let time = now.saturating_duration_since(from);
        u64::try_from(u128::from(rate) * time.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX).max(1)
    }

    /// Whether the next byte that is sent is to be spoilt.
    pub(super) fn spoils_next(&self) -> bool {
        self.plan().and_then(|plan| plan.corrupt_at).is_some_and(|number| number == self.sent + 1)
    }

    /// Call after `n` bytes were sent, of an answer of which `left` bytes are left.
    pub(super) fn note_sent(&mut self, n: usize, left: usize, now: Instant) {
        let Some(plan) = self.plan() else { return };
        let (chunk, rate) = (plan.chunk, plan.rate);
        if self.spoils_next() && n > 0 {
            self.inject(FaultKind::CorruptAt);
        }
        self.sent += n as u64;
        if let Some(chunk) = chunk {
            if left > 0 {
                self.inject(FaultKind::Chunk);
            }
            if !chunk.every.is_zero() {
                // One that was late by less than the interval does not make the next one late.
                let on_time = self.next_piece.filter(|due| now.saturating_duration_since(*due) < chunk.every);
                let next = on_time.unwrap_or(now) + chunk.every;
                self.next_piece = Some(next);
                self.hold_sending(next);
            }
        }
        if let Some(rate) = rate {
            let from = self.paid_until.map_or(now, |paid| paid.max(now - BURST));
            let paid = from + cost(rate, n);
            self.paid_until = Some(paid);
            let next = paid + PORTION.min(cost(rate, left));
            if next > now {
                self.inject(FaultKind::Rate);
                self.hold_sending(next);
            }
        }
        self.reach_marks(now);
    }

    /// Sends nothing until then, or longer if something else says so.
    fn hold_sending(&mut self, until: Instant) {
        self.send_hold = Some(self.send_hold.map_or(until, |hold| hold.max(until)));
    }
}

/// When to look again for what was `waited` for so long: soon at first, and ever less often while the peer does not read.
fn next_look(waited: Duration) -> Duration {
    (waited / 8).clamp(SOONEST_LOOK, LATEST_LOOK)
}

/// The time that a rate takes to pay for `n` bytes.
fn cost(rate: u64, n: usize) -> Duration {
    let nanoseconds = n as u128 * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_that_has_to_wait_looks_ever_less_often() {
        let (mut waited, mut looks) = (Duration::ZERO, 0);
        while waited < Duration::from_secs(60) {
            let pause = next_look(waited);
            assert!(pause <= SOONEST_LOOK.max(waited / 8) && pause <= LATEST_LOOK);
            waited += pause;
            looks += 1;
        }
        assert!(looks < 120, "{looks} looks in a minute");
    }
}
