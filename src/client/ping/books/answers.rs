//! Answers: whose they are, what they are, and how long they took.

use super::{Books, Entry, State};
use crate::client::{
    ping::event::{Event, Wrong},
    probe::{Answer, HEADER},
};

/// A stamp of the kernel is of no use if the clock of the wall was set by more than this meanwhile.
const STEP: u64 = 1_000_000;

/// When and how an answer came.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::client::ping) struct Arrival {
    /// When the client had read it, by `CLOCK_MONOTONIC`.
    pub(in crate::client::ping) read: u64,
    /// When it arrived, by the clock of the wall, if the kernel stamped it.
    pub(in crate::client::ping) stamp: Option<u64>,
    /// The clock of the wall minus `CLOCK_MONOTONIC`, now.
    pub(in crate::client::ping) offset: i64,
    /// The flow whose socket received it.
    pub(in crate::client::ping) flow: u16,
    /// The TTL or hop limit it came with.
    pub(in crate::client::ping) ttl: Option<u8>,
}

impl Books {
    /// Checks an answer byte for byte, and notes whose it is.
    ///
    /// A corrupt answer is none: its probe is lost, unless a whole one comes too.
    pub(in crate::client::ping) fn answer(&mut self, bytes: &[u8], arrival: Arrival) {
        self.last_event = arrival.read;
        let flow = arrival.flow;
        let known = match self.probes.check(bytes) {
            Answer::Whole { sequence } => self.full(sequence),
            Answer::Corrupt => {
                self.replies.corrupt += 1;
                let (sequence, wrong) = self.wrong(bytes);
                self.events.push(Event::Corrupt { sequence, flow, wrong });
                return;
            }
            Answer::Stray => None,
        };
        let found = known.and_then(|sequence| Some((sequence, *self.entry(sequence)?)));
        let can_be = |entry: &Entry| entry.flow == flow && entry.state != State::Over;
        let Some((sequence, entry)) = found.filter(|(_, entry)| can_be(entry)) else {
            self.replies.stray += 1;
            self.events.push(Event::Stray { flow, length: bytes.len() });
            return;
        };
        let time = self.arrived(&entry, &arrival).saturating_sub(entry.sent);
        self.settle(sequence, time, time > self.timeout, arrival.ttl);
    }

    /// The sequence number of which a short probe carries the last bytes only: that of the latest one that was sent with them.
    fn full(&self, sequence: u64) -> Option<u64> {
        let (last, mask) = (self.next() - 1, self.probes.mask());
        if mask == u64::MAX {
            return Some(sequence);
        }
        let latest = last.checked_sub(last.wrapping_sub(sequence) & mask)?;
        let each = std::iter::successors(Some(latest), |sequence| sequence.checked_sub(mask + 1));
        let mut each = each.map_while(|sequence| Some((sequence, self.entry(sequence)?)));
        each.find(|(_, entry)| entry.state != State::Over).map(|(sequence, _)| sequence)
    }

    /// When an answer arrived, by the clock by which its probe was sent.
    fn arrived(&mut self, entry: &Entry, arrival: &Arrival) -> u64 {
        let Some(stamp) = arrival.stamp else { return arrival.read };
        if arrival.offset.abs_diff(entry.offset) > STEP {
            self.steps += 1;
            return arrival.read;
        }
        // A stamp outside of what is possible is that of a clock that was being set.
        let arrived = stamp.wrapping_sub(arrival.offset as u64);
        if (entry.sent..=arrival.read).contains(&arrived) { arrived } else { arrival.read }
    }

    /// Notes the whole answer to a probe, which took `time`.
    pub(in crate::client::ping) fn settle(
        &mut self,
        sequence: u64,
        time: u64,
        is_late: bool,
        ttl: Option<u8>,
    ) {
        let flows = self.flows.len() as u64;
        let Some(entry) = self.entry_mut(sequence) else { return };
        let Entry { flow, sent, state: before, .. } = *entry;
        if !matches!(before, State::Answered { .. } | State::Over) {
            entry.state = State::Answered { time };
        }
        match before {
            State::Over => return,
            State::Answered { .. } => {
                self.replies.duplicate += 1;
                self.events.push(Event::Duplicate { sequence, flow, time, ttl });
                return;
            }
            State::Waiting => self.waiting -= 1,
            State::Lost => self.fates.lost -= 1,
            State::Refused => self.fates.refused -= 1,
        }
        match is_late {
            true => self.fates.late += 1,
            false => self.fates.ok += 1,
        }
        let book = &mut self.flows[usize::from(flow)];
        book.flow.ok += u64::from(!is_late);
        book.late += u64::from(is_late);
        let is_reordered = sequence < book.highest;
        book.highest = book.highest.max(sequence);
        self.replies.reordered += u64::from(is_reordered);
        let ttl_before = ttl.and(book.last_ttl).filter(|_| book.last_ttl != ttl);
        if let Some(ttl) = ttl {
            let (least, most) = book.flow.ttl.unwrap_or((ttl, ttl));
            book.flow.ttl = Some((least.min(ttl), most.max(ttl)));
            book.last_ttl = Some(ttl);
        }
        self.service.record(time);
        self.average =
            Some(self.average.map_or(time as f64, |average| average + (time as f64 - average) / 8.0));
        if sequence == 1 {
            self.first = Some(time);
        }
        for neighbour in [sequence.checked_sub(flows), sequence.checked_add(flows)].into_iter().flatten() {
            if let Some(Entry { state: State::Answered { time: other }, .. }) = self.entry(neighbour) {
                self.ipdv.record(other.abs_diff(time));
            }
        }
        self.events.push(Event::Answered {
            sequence,
            flow,
            sent,
            time,
            is_late,
            is_reordered,
            ttl,
            ttl_before,
        });
    }

    /// Where a corrupt answer differs, and from which probe, if it says so.
    fn wrong(&mut self, bytes: &[u8]) -> (Option<u64>, Wrong) {
        let size = self.probes.size();
        let sequence = bytes.get(8..16).filter(|_| size >= HEADER && bytes.len() >= HEADER);
        let sequence = sequence.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
        let sequence = sequence.filter(|sequence| self.entry(*sequence).is_some());
        if bytes.len() != size {
            return (sequence, Wrong::Length(bytes.len()));
        }
        let Some(known) = sequence else { return (None, Wrong::Bytes(None)) };
        self.probes.write(known, self.probes.sent(bytes).unwrap_or_default(), &mut self.scratch);
        let differs = |at: &usize| bytes[*at] != self.scratch[*at];
        (sequence, Wrong::Bytes((HEADER..size).find(differs)))
    }
}
