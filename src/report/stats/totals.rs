//! A copy of all counters of a listener as plain data: it can be added, sent to another process and read there.
//!
//! A field that is missing or unknown is no error, because daemon and client may be of different versions.

use std::{borrow::Cow, collections::BTreeMap, ops::AddAssign, sync::atomic::Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use super::{CloseKind, FaultKind, RefusalReason, Stats};

/// What happened on a listener; [`COUNTERS`](super::COUNTERS) says what each field counts. `open` is missing, since it is a state and
/// no sum.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Totals {
    /// Connections and datagrams admitted.
    pub served: u64,
    /// Bytes from clients.
    pub received: u64,
    /// Bytes to clients.
    pub sent: u64,
    /// Failed system calls, and connections or datagrams lost to a fault of the daemon.
    pub errors: u64,
    /// Connections that ended without a byte in either direction.
    pub empty: u64,
    /// Processes that ended unasked, and services that panicked.
    pub died: u64,
    /// Times that accepting paused for lack of descriptors or memory.
    pub exhausted: u64,
    /// Datagrams dropped because they exceeded the buffer.
    pub truncated: u64,
    /// Answers dropped because the receiver's queue was full.
    pub dropped: u64,
    /// Answers that the packet filter forbade.
    pub forbidden: u64,
    /// Answers to an address without a route.
    pub unreachable: u64,
    /// Answers longer than the path allows.
    pub oversize: u64,
    /// Datagrams that the kernel dropped before they were received.
    pub undelivered: u64,
    /// Datagrams that the kernel has answered itself; they are in `served` too.
    pub offloaded: u64,
    /// Datagrams that the echo in the kernel has left to the socket, by the words of [`HANDED_ON`](super::HANDED_ON).
    pub handed_on: Counts,
    /// Refused connections and datagrams by the word of their [`RefusalReason`]; every reason is there.
    pub refused: Counts,
    /// Ended connections by the word of their [`CloseKind`]; every kind is there.
    pub ended: Counts,
    /// Faults on purpose by the word of their [`FaultKind`]; every kind is there.
    pub faults: Counts,
    /// Sources whose running number began anew, because the table of sources had no room for all.
    pub faults_untracked: u64,
    /// How many connections were open for a duration up to each of [`DURATION_BOUNDS`](super::DURATION_BOUNDS) and above the one
    /// before, and at last how many above all. A connection that was lost with the whole process of its listener is not in it.
    pub durations: Vec<u64>,
    /// The sum of these durations.
    pub duration_seconds_sum: f64,
}

/// Counts by word.
pub type Counts = BTreeMap<Cow<'static, str>, u64>;

impl Stats {
    /// A copy of all counters.
    pub fn totals(&self) -> Totals {
        let (durations, sum) = self.durations();
        let refused = RefusalReason::ALL.map(|reason| (reason.word(), self.refused(reason)));
        let faults = FaultKind::ALL.map(|kind| (kind.word(), self.injected(kind)));
        let ended = CloseKind::ALL.map(|kind| (kind.word(), self.ended_by(kind)));
        Totals {
            served: self.served.load(Relaxed),
            received: self.sum(|shard| &shard.received),
            sent: self.sum(|shard| &shard.sent),
            errors: self.errors.load(Relaxed),
            empty: self.empty.load(Relaxed),
            died: self.died.load(Relaxed).into(),
            exhausted: self.exhausted.load(Relaxed),
            truncated: self.truncated.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            forbidden: self.forbidden.load(Relaxed),
            unreachable: self.unreachable.load(Relaxed),
            oversize: self.oversize.load(Relaxed),
            undelivered: self.undelivered.load(Relaxed),
            offloaded: self.offloaded.load(Relaxed),
            handed_on: by_word(self.handed_on()),
            refused: by_word(refused),
            ended: by_word(ended),
            faults: by_word(faults),
            faults_untracked: self.faults_untracked.load(Relaxed),
            durations: durations.into(),
            duration_seconds_sum: sum.as_secs_f64(),
        }
    }
}

/// Inserts them one by one: to collect them would sort them first, by code for each kind.
fn by_word(counts: impl IntoIterator<Item = (&'static str, u64)>) -> Counts {
    let mut all = Counts::new();
    counts.into_iter().for_each(|(word, count)| _ = all.insert(word.into(), count));
    all
}

impl AddAssign<&Totals> for Totals {
    fn add_assign(&mut self, other: &Totals) {
        // Taken apart, so that no counter can be forgotten here.
        let Totals {
            served,
            received,
            sent,
            errors,
            empty,
            died,
            exhausted,
            truncated,
            dropped,
            forbidden,
            unreachable,
            oversize,
            undelivered,
            offloaded,
            handed_on,
            refused,
            ended,
            faults,
            faults_untracked,
            durations,
            duration_seconds_sum,
        } = other;
        for (sum, more) in [
            (&mut self.served, served),
            (&mut self.received, received),
            (&mut self.sent, sent),
            (&mut self.errors, errors),
            (&mut self.empty, empty),
            (&mut self.died, died),
            (&mut self.exhausted, exhausted),
            (&mut self.truncated, truncated),
            (&mut self.dropped, dropped),
            (&mut self.forbidden, forbidden),
            (&mut self.unreachable, unreachable),
            (&mut self.oversize, oversize),
            (&mut self.undelivered, undelivered),
            (&mut self.faults_untracked, faults_untracked),
            (&mut self.offloaded, offloaded),
        ] {
            *sum += more;
        }
        for (sums, more) in [
            (&mut self.refused, refused),
            (&mut self.ended, ended),
            (&mut self.faults, faults),
            (&mut self.handed_on, handed_on),
        ] {
            for (word, count) in more {
                *sums.entry(word.clone()).or_default() += count;
            }
        }
        if self.durations.len() < durations.len() {
            self.durations.resize(durations.len(), 0);
        }
        self.durations.iter_mut().zip(durations).for_each(|(sum, count)| *sum += count);
        self.duration_seconds_sum += duration_seconds_sum;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{report::close_reason::CloseReason, sys::shared::Shared};

    /// Every counter with another value, so that none can stand for another.
    fn stats() -> Shared<Stats> {
        let stats = Shared::<Stats>::new().unwrap();
        let counters = [
            &stats.served,
            &stats.errors,
            &stats.empty,
            &stats.exhausted,
            &stats.truncated,
            &stats.dropped,
            &stats.forbidden,
            &stats.unreachable,
            &stats.oversize,
            &stats.undelivered,
            &stats.offloaded,
        ];
        (1_u64..).zip(counters).for_each(|(number, counter)| _ = counter.fetch_add(number, Relaxed));
        stats.died.fetch_add(20, Relaxed);
        stats.received(21);
        stats.sent(22);
        stats.refuse(RefusalReason::Rate, 23);
        (0..25).for_each(|_| stats.inject(FaultKind::Reorder));
        stats.faults_untracked.fetch_add(26, Relaxed);
        (0..24).for_each(|_| stats.ended(CloseReason::PeerClosed, Duration::from_millis(250)));
        stats
    }

    /// What the status line says under the same name, the totals say too.
    #[test]
    fn the_totals_agree_with_the_status_line() {
        let stats = stats();
        let totals = serde_json::to_value(stats.totals()).unwrap();
        for (word, count) in stats.counted() {
            let total = match word {
                "open" => continue,
                "resets" => &totals["ended"]["peer-reset"],
                "idle-timeout" | "max-lifetime" | "max-bytes" => &totals["ended"][word],
                "refused" => &totals["refused"]["rate"],
                "rate" => &totals["refused"][word],
                "fault-reorder" => &totals["faults"]["reorder"],
                word => &totals[word],
            };
            assert_eq!(*total, count, "{word} in {totals}");
        }
        assert_eq!(totals["ended"]["peer-closed"], 24);
        assert_eq!(totals["durations"], serde_json::json!([0, 0, 0, 24, 0, 0, 0, 0, 0, 0]));
        assert_eq!(totals["duration-seconds-sum"], 6.0);
        let words = |map: &str| totals[map].as_object().unwrap().len();
        assert_eq!((words("refused"), words("ended")), (RefusalReason::ALL.len(), CloseKind::ALL.len()));
    }

    #[test]
    fn totals_are_added_field_by_field() {
        let once = stats().totals();
        let mut sum = Totals::default();
        sum += &once;
        assert_eq!(sum, once);
        sum += &once;
        assert_doubled(&serde_json::to_value(&once).unwrap(), &serde_json::to_value(&sum).unwrap());
    }

    fn assert_doubled(once: &serde_json::Value, sum: &serde_json::Value) {
        use serde_json::Value::{Array, Number, Object};
        match (once, sum) {
            (Object(once), Object(sum)) => {
                assert_eq!(once.len(), sum.len());
                once.iter().for_each(|(key, value)| assert_doubled(value, &sum[key]));
            }
            (Array(once), Array(sum)) => once.iter().zip(sum).for_each(|(a, b)| assert_doubled(a, b)),
            (Number(once), Number(sum)) => assert_eq!(once.as_f64().unwrap() * 2.0, sum.as_f64().unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_older_and_a_newer_version_are_understood() {
        let totals = stats().totals();
        let text = serde_json::to_string(&totals).unwrap();
        assert_eq!(serde_json::from_str::<Totals>(&text).unwrap(), totals);
        let newer = text.replacen('{', "{\"unheard-of\": {\"a\": 1}, ", 1);
        assert_eq!(serde_json::from_str::<Totals>(&newer).unwrap(), totals);
        let older =
            serde_json::from_str::<Totals>("{\"served\": 7, \"ended\": {\"peer-closed\": 3}}").unwrap();
        assert_eq!((older.served, older.ended["peer-closed"], older.received), (7, 3, 0));
    }
}
