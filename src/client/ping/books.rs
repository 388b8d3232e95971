//! The books of one target: each probe has exactly one fate, whatever comes back and when.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use super::{event::Event, pattern::Pattern};
use crate::client::{
    histogram::Histogram,
    measurement::{Fates, Flow, Replies},
    probe::Probes,
};

mod answers;

pub(super) use answers::Arrival;

/// How many probes are remembered. An answer to one before them is a stray one.
const REMEMBERED: usize = 65_536;

/// What is known of a probe.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When it was sent, by `CLOCK_MONOTONIC`.
    sent: u64,
    /// The clock of the wall minus that, then.
    offset: i64,
    /// How many its flow had sent with it.
    ordinal: u64,
    flow: u16,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Answered {
        time: u64,
    },
    /// An answer may still come.
    Lost,
    Refused,
    /// Nothing can come: it never left, or its connection is gone.
    Over,
}

/// One flow.
#[derive(Clone, Copy, Debug)]
struct FlowBook {
    flow: Flow,
    /// The highest sequence that was answered.
    highest: u64,
    last_ttl: Option<u8>,
    late: u64,
}

/// The books of one target.
#[derive(Debug)]
pub(super) struct Books {
    /// What is sent.
    pub(super) probes: Probes,
    /// What has happened since it was last taken.
    pub(super) events: Vec<Event>,
    /// The fates so far. Probes that wait have none yet, except that they are planned.
    pub(super) fates: Fates,
    /// What replies were besides.
    pub(super) replies: Replies,
    /// From the send to the answer.
    pub(super) service: Histogram,
    /// Differences between successive times of a flow.
    pub(super) ipdv: Histogram,
    /// How late sends were.
    pub(super) schedule_error: Histogram,
    /// The time of the first probe.
    pub(super) first: Option<u64>,
    /// The moving average of times that ping(8) prints.
    pub(super) average: Option<f64>,
    /// Errors that are no fate, such as a host that cannot be reached.
    pub(super) other_errors: u64,
    /// Stamps that were not used, because the clock of the wall was set meanwhile.
    pub(super) steps: u64,
    /// When something was last sent or received.
    pub(super) last_event: u64,
    /// When the first probe was sent.
    pub(super) first_sent: Option<u64>,
    timeout: u64,
    entries: VecDeque<Entry>,
    /// The sequence number of the first entry.
    oldest: u64,
    /// The first sequence that may still wait.
    unexpired: u64,
    waiting: u64,
    flows: Vec<FlowBook>,
    pattern: Pattern,
    scratch: Vec<u8>,
}

impl Books {
    /// Empty books of `flows` flows.
    pub(super) fn new(probes: Probes, timeout: Duration, flows: u16) -> Self {
        let flow = Flow { source: None, sent: 0, ok: 0, ttl: None };
        Self {
            probes,
            events: Vec::new(),
            fates: Fates::default(),
            replies: Replies::default(),
            service: Histogram::default(),
            ipdv: Histogram::default(),
            schedule_error: Histogram::default(),
            first: None,
            average: None,
            other_errors: 0,
            steps: 0,
            last_event: 0,
            first_sent: None,
            timeout: timeout.as_nanos() as u64,
            entries: VecDeque::new(),
            oldest: 1,
            unexpired: 1,
            waiting: 0,
            flows: vec![FlowBook { flow, highest: 0, last_ttl: None, late: 0 }; usize::from(flows)],
            pattern: Pattern::default(),
            scratch: vec![0; probes.size()],
        }
    }

    /// The number of the next probe.
    pub(super) fn next(&self) -> u64 {
        self.oldest + self.entries.len() as u64
    }

    /// Whether the answer to another probe could be told from those that wait: a short one carries a short number.
    pub(super) fn may_send(&self) -> bool {
        self.waiting < self.probes.mask().max(1)
    }

    /// Notes from where a flow sends.
    pub(super) fn set_source(&mut self, flow: u16, source: Option<SocketAddr>) {
        self.flows[usize::from(flow)].flow.source = source;
    }

    /// Each flow so far.
    pub(super) fn flows(&self) -> impl ExactSizeIterator<Item = &Flow> {
        self.flows.iter().map(|book| &book.flow)
    }

    /// Probes of a flow that were answered too late.
    pub(super) fn late_of(&self, flow: usize) -> u64 {
        self.flows[flow].late
    }

    /// Notes that the next probe was sent at `sent`.
    pub(super) fn sent(&mut self, sent: u64, offset: i64, flow: u16) -> u64 {
        let sequence = self.push(sent, offset, flow, State::Waiting);
        self.waiting += 1;
        sequence
    }

    /// Notes that the next probe could not be sent.
    pub(super) fn unsent(&mut self, now: u64, flow: u16, why: String) {
        let sequence = self.push(now, 0, flow, State::Over);
        self.flows[usize::from(flow)].flow.sent -= 1;
        self.fates.unsent += 1;
        self.events.push(Event::Unsent { sequence, flow, sent: now, why });
    }

    /// Notes that the next probe was not sent, because the plan could not be held.
    pub(super) fn skipped(&mut self, now: u64) {
        let sequence = self.push(now, 0, 0, State::Over);
        self.flows[0].flow.sent -= 1;
        self.fates.skipped += 1;
        match self.events.last_mut() {
            Some(Event::Skipped { first, count, .. }) if *first + *count == sequence => *count += 1,
            _ => self.events.push(Event::Skipped { first: sequence, count: 1, planned: now }),
        }
    }

    /// Notes an error that is not the fate of a probe.
    pub(super) fn note(&mut self, text: String) {
        self.other_errors += 1;
        self.events.push(Event::Note(text));
    }

    fn push(&mut self, sent: u64, offset: i64, flow: u16, state: State) -> u64 {
        let sequence = self.next();
        self.fates.planned += 1;
        self.last_event = sent;
        let book = &mut self.flows[usize::from(flow)].flow;
        book.sent += 1;
        if state == State::Waiting {
            self.first_sent.get_or_insert(sent);
        }
        self.entries.push_back(Entry { sent, offset, ordinal: book.sent, flow, state });
        while self.entries.len() > REMEMBERED && self.oldest < self.unexpired {
            if let Some(Entry { state: State::Lost, ordinal, .. }) = self.entries.pop_front() {
                self.pattern.add(ordinal);
            }
            self.oldest += 1;
        }
        sequence
    }

    /// Whether a probe waits for its answer.
    pub(super) fn is_waiting(&self, sequence: u64) -> bool {
        self.entry(sequence).is_some_and(|entry| entry.state == State::Waiting)
    }

    /// Notes that a probe that had to wait for a connection leaves only now.
    pub(super) fn sent_only_now(&mut self, sequence: u64, now: u64) {
        if let Some(entry) = self.entry_mut(sequence) {
            entry.sent = now;
        }
    }

    fn entry(&self, sequence: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(sequence.checked_sub(self.oldest)?).ok()?)
    }

    fn entry_mut(&mut self, sequence: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(sequence.checked_sub(self.oldest)?).ok()?)
    }

    /// Notes what has waited too long.
    pub(super) fn expire(&mut self, now: u64) {
        while let Some(entry) = self.entry(self.unexpired).copied() {
            if entry.state == State::Waiting {
                if entry.sent + self.timeout > now {
                    return;
                }
                self.lose(self.unexpired, State::Lost);
            }
            self.unexpired += 1;
        }
    }

    /// When the next one has waited too long.
    pub(super) fn next_expiry(&mut self) -> Option<u64> {
        while self.entry(self.unexpired).is_some_and(|entry| entry.state != State::Waiting) {
            self.unexpired += 1;
        }
        Some(self.entry(self.unexpired)?.sent + self.timeout)
    }

    fn lose(&mut self, sequence: u64, state: State) {
        let Some(entry) = self.entry_mut(sequence) else { return };
        entry.state = state;
        let Entry { flow, sent, .. } = *entry;
        self.waiting -= 1;
        self.fates.lost += 1;
        self.events.push(Event::Lost { sequence, flow, sent });
    }

    /// Notes that a probe was refused: `sequence`, or the one of the flow that waits longest.
    pub(super) fn refused(&mut self, sequence: Option<u64>, flow: u16, why: &str) {
        let waits = |sequence: &u64| self.is_waiting(*sequence);
        let oldest = || {
            (self.unexpired..self.next()).find(|sequence| {
                self.entry(*sequence).is_some_and(|entry| entry.flow == flow && entry.state == State::Waiting)
            })
        };
        let Some(sequence) = sequence.filter(waits).or_else(oldest) else { return };
        let Some(entry) = self.entry_mut(sequence) else { return };
        entry.state = State::Refused;
        let sent = entry.sent;
        self.waiting -= 1;
        self.fates.refused += 1;
        self.events.push(Event::Refused { sequence, flow, sent, why: why.to_owned() });
    }

    /// Notes that the answer to a probe cannot come any more.
    pub(super) fn broken(&mut self, sequence: u64) {
        if self.is_waiting(sequence) {
            self.lose(sequence, State::Over);
        }
    }

    /// All probes that wait: there is one connection, and it is gone.
    pub(super) fn all_broken(&mut self) {
        (self.unexpired..self.next()).for_each(|sequence| self.broken(sequence));
    }

    /// Until when an answer is waited for after the last probe: the time-out, or three times the longest time.
    pub(super) fn waits_until(&self) -> Option<u64> {
        let linger = self.timeout.max(self.service.max().unwrap_or_default().saturating_mul(3));
        let is_open = |entry: &&Entry| matches!(entry.state, State::Waiting | State::Lost);
        self.entries.iter().rev().find(is_open).map(|entry| entry.sent + linger)
    }

    /// Closes the books: what still waits is lost. Returns how many were still in time.
    pub(super) fn close(&mut self, now: u64) -> u64 {
        self.expire(now);
        let in_time = self.waiting;
        let left: Vec<u64> =
            (self.unexpired..self.next()).filter(|sequence| self.is_waiting(*sequence)).collect();
        left.into_iter().for_each(|sequence| self.lose(sequence, State::Lost));
        in_time
    }

    /// Every how many datagrams one is lost, if that is so.
    pub(super) fn step_of_losses(&self) -> Option<u64> {
        let mut pattern = self.pattern;
        let lost = self.entries.iter().filter(|entry| entry.state == State::Lost);
        lost.for_each(|entry| pattern.add(entry.ordinal));
        pattern.step(self.flows().map(|flow| flow.sent))
    }
}

#[cfg(test)]
mod tests;
