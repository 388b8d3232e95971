//! What makes the figures of a run doubtful: its own limits, and those of the machine that it runs on.

use std::time::Duration;

use socket2::Socket;

use super::{
    super::{measurement::Warning, options::Bench, target::Target},
    crowd,
    engine::RoundOutcome,
};
use crate::{report::decimal::HumanDuration, sys::socket_drops};

/// From this part of a processor on the loop itself may be what is slow.
const BUSY: f64 = 0.9;

/// This part of a plan may be left out.
const SKIPPED: f64 = 0.001;

/// The clock of the wall may move so much against the monotonic one, in nanoseconds.
const STEP: i64 = 1_000_000;

/// Judges a run.
pub(super) struct Doubts<'a> {
    pub(super) options: &'a Bench,
    /// By how much the clock of the wall has moved against the monotonic one.
    pub(super) clock_moved: i64,
}

/// What a closed loop cannot find out.
pub(super) fn closed_loop() -> Warning {
    let text = "closed loop: the client waits with the server; tail figures are a lower bound";
    Warning { id: "closed-loop", text: text.to_owned(), is_fatal: false }
}

impl Doubts<'_> {
    /// What the rounds of a target say.
    pub(super) fn of(&self, target: &Target, outcomes: &[RoundOutcome]) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut fatal = |id, text| warnings.push(Warning { id, text, is_fatal: true });
        let share = |outcome: &RoundOutcome| outcome.busy as f64 / outcome.wall.max(1) as f64;
        let busiest = outcomes.iter().map(share).fold(0.0, f64::max);
        if busiest > BUSY && !self.options.spin {
            let percent = (busiest * 100.0).min(100.0);
            fatal(
                "client-limited",
                format!(
                    "the client used {percent:.0} % of a processor for {}: a faster one may find the server faster",
                    target.url
                ),
            );
        }
        let no_buffers: u64 = outcomes.iter().map(|outcome| outcome.tally.no_buffers).sum();
        if no_buffers > 0 {
            fatal(
                "client-limited",
                format!(
                    "the kernel had no memory for {no_buffers} sends to {} (ENOBUFS): send at a lower rate",
                    target.url
                ),
            );
        }
        let sum = |of: fn(&RoundOutcome) -> u64| outcomes.iter().map(of).sum::<u64>();
        let planned = sum(|outcome| outcome.tally.fates.planned);
        let left_out = sum(|outcome| outcome.tally.fates.skipped + outcome.tally.fates.unsent);
        let is_open = outcomes.iter().any(|outcome| outcome.tally.open.is_some());
        if is_open && left_out as f64 > planned as f64 * SKIPPED {
            let percent = left_out as f64 / planned as f64 * 100.0;
            fatal(
                "schedule-not-held",
                format!(
                    "{left_out} of {planned} messages to {} ({percent:.2} %) were not sent within 10 ms of their moment: ask for a \
                     lower --rate, or for more --connections",
                    target.url
                ),
            );
        }
        let over = outcomes.last().map_or(0, |outcome| outcome.over);
        if over > 0 {
            fatal(
                "connections-closed",
                format!(
                    "{} closed {over} of {} connections, and the others carried on: look at its limits and its log",
                    target.url, self.options.connections
                ),
            );
        }
        warnings
    }

    /// What the sockets say at the end.
    pub(super) fn sockets<'a>(
        &self,
        target: &Target,
        sockets: impl Iterator<Item = &'a Socket>,
        idle: &[Socket],
    ) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let dropped: u64 = match target.protocol.is_stream() {
            true => 0,
            false => sockets.filter_map(|socket| socket_drops::drops(socket).ok()).map(u64::from).sum(),
        };
        if dropped > 0 {
            let text = format!(
                "the client's sockets dropped {dropped} datagrams from {} for want of room; they count as lost: send at a lower rate, or \
                 from more --connections",
                target.url
            );
            warnings.push(Warning { id: "client-limited", text, is_fatal: true });
        }
        let over = crowd::ended(idle);
        if over > 0 {
            let text = format!(
                "{} closed {over} of {} silent connections: look at its limit of connections and its idle time-out",
                target.url,
                idle.len()
            );
            warnings.push(Warning { id: "idle-closed", text, is_fatal: true });
        }
        warnings
    }

    /// Whether the clock of the wall was set meanwhile.
    pub(super) fn clock(&self) -> Option<Warning> {
        (self.clock_moved.abs() > STEP).then(|| {
            let by = HumanDuration(Duration::from_nanos(self.clock_moved.unsigned_abs()));
            let text = format!(
                "the clock of this machine was set by {by} during the run; times are by another clock, and the start may be wrong"
            );
            Warning { id: "clock-stepped", text, is_fatal: true }
        })
    }
}
