//! The counters of one listener, in memory that all its threads and processes share.

use std::{
    cell::Cell,
    sync::atomic::{
        AtomicU32, AtomicU64, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
};

pub use counters::{COUNTERS, Counter};
pub use endings::DURATION_BOUNDS;
pub use offloaded::{HANDED_ON, Offloaded};
pub use totals::{Counts, Totals};

use crate::{
    report::{close_reason::CloseKind, fault_kind::FaultKind, refusal_reason::RefusalReason},
    sys::shared::atomics,
};

mod counters;
mod endings;
mod offloaded;
mod totals;

/// The number of byte counters, so that threads on different cores rarely write to the same cache line.
const SHARDS: usize = 16;

/// The interval between two log lines about refusals for one reason, in nanoseconds.
const MINUTE: u64 = 60_000_000_000;

thread_local! {
    /// The shard of this thread. Processes that it forks inherit it.
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Makes this process count in shard `number`, modulo the number of shards.
pub fn use_shard(number: usize) {
    MINE.set(number % SHARDS);
}

atomics! {
/// What happened on one listener since it was bound.
#[repr(C)]
pub struct Stats {
    /// Open connections, and datagrams that a thread or process of its own is answering.
    pub open: AtomicU32,
    /// Processes that ended unasked, and threads or processes whose service panicked.
    pub died: AtomicU32,
    /// Connections and datagrams admitted.
    pub served: AtomicU64,
    /// Requests of `max-requests` that are reserved by a waiting worker or committed.
    pub claimed: AtomicU64,
    /// Requests of `max-requests` that are committed.
    pub taken: AtomicU64,
    /// Connections that have ended, by [`CloseKind`].
    ended: [AtomicU64; CloseKind::ALL.len()],
    /// How long they were open, by [`DURATION_BOUNDS`]; the last one counts those beyond all bounds.
    durations: [AtomicU64; DURATION_BOUNDS.len() + 1],
    /// The sum of these durations, in microseconds: nanoseconds would wrap after 584 years of all connections together.
    duration_sum: AtomicU64,
    /// Connections that have ended without a byte in either direction.
    pub empty: AtomicU64,
    /// Failed system calls, unless the peer or a shortage caused the failure.
    pub errors: AtomicU64,
    /// Times that accepting paused for lack of descriptors or memory.
    pub exhausted: AtomicU64,
    /// Datagrams dropped because they exceeded the buffer.
    pub truncated: AtomicU64,
    /// Answers dropped because the receiver's queue was full.
    pub dropped: AtomicU64,
    /// Answers that the packet filter forbade.
    pub forbidden: AtomicU64,
    /// Answers to an address without a route.
    pub unreachable: AtomicU64,
    /// Answers longer than the path allows.
    pub oversize: AtomicU64,
    /// Datagrams that the kernel dropped before they were received.
    pub undelivered: AtomicU64,
    /// Datagrams that the kernel has answered itself; they are in `served` too.
    pub offloaded: AtomicU64,
    /// Datagrams that the echo in the kernel has left to the socket, by [`HANDED_ON`].
    handed_on: [AtomicU64; HANDED_ON.len()],
    refusals: [Refusals; RefusalReason::ALL.len()],
    /// Faults on purpose, by [`FaultKind`].
    faults: [AtomicU64; FaultKind::ALL.len()],
    /// Sources whose running number began anew, because the table of sources had no room for all.
    pub faults_untracked: AtomicU64,
    /// The earliest time of the next log line about answers that could not be sent, by kind, in nanoseconds of `CLOCK_MONOTONIC`.
    unsent_next_log: [AtomicU64; 5],
    /// The number of pings sent to the process of a forking listener.
    pub pings: AtomicU32,
    /// The number of the last ping that it acknowledged.
    pub acknowledged: AtomicU32,
    /// The orders to the process of a forking listener, see [`Order`].
    orders: AtomicU32,
    /// What the hashes of the listener's tables are keyed with; 0 until that was drawn. The tables are behind the counters.
    pub table_seed: [AtomicU64; 2],
    shards: [Shard; SHARDS],
}
}

/// An order to the process of a forking listener. A signal tells it to look here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Stop.
    Stop = 1,
    /// Leave the sockets to the next generation.
    HandOver = 2,
}

atomics! {
/// Refusals for one reason.
#[repr(C)]
struct Refusals {
    count: AtomicU64,
    /// How many of them the log has reported.
    logged: AtomicU64,
    /// The earliest time of the next log line, in nanoseconds of `CLOCK_MONOTONIC`.
    next_log: AtomicU64,
}
}

atomics! {
#[repr(C, align(64))]
struct Shard {
    received: AtomicU64,
    sent: AtomicU64,
}
}

impl Stats {
    /// Gives an order to the process of a forking listener. The caller signals it afterwards.
    pub fn order(&self, order: Order) {
        self.orders.fetch_or(order as u32, SeqCst);
    }

    /// Whether this order was given.
    pub fn is_ordered(&self, order: Order) -> bool {
        self.orders.load(SeqCst) & order as u32 != 0
    }

    /// Counts received bytes.
    pub fn received(&self, bytes: usize) {
        self.shard().received.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts sent bytes.
    pub fn sent(&self, bytes: u64) {
        self.shard().sent.fetch_add(bytes, Relaxed);
    }

    /// Counts `count` refused connections or datagrams.
    pub fn refuse(&self, reason: RefusalReason, count: u64) {
        self.refusals[reason as usize].count.fetch_add(count, Relaxed);
    }

    /// The number refused for `reason`.
    pub fn refused(&self, reason: RefusalReason) -> u64 {
        self.refusals[reason as usize].count.load(Relaxed)
    }

    /// Counts a fault on purpose.
    pub fn inject(&self, fault: FaultKind) {
        self.faults[fault as usize].fetch_add(1, Relaxed);
    }

    /// The number of faults on purpose of this kind.
    pub fn injected(&self, fault: FaultKind) -> u64 {
        self.faults[fault as usize].load(Relaxed)
    }

    /// Returns the number of refusals that the log has not reported, if it may report them now: once a minute for each reason,
    /// because the refused client could otherwise fill the log. All threads and processes of the listener share the minute.
    pub fn refusals_to_log(&self, reason: RefusalReason, now: u64) -> Option<u64> {
        let Refusals { count, logged, next_log } = &self.refusals[reason as usize];
        let until = next_log.load(Relaxed);
        // Of several threads at the same moment, the one whose exchange succeeds reports.
        let may_log =
            now >= until && next_log.compare_exchange(until, now + MINUTE, Relaxed, Relaxed).is_ok();
        let all = count.load(Relaxed);
        may_log.then(|| all.saturating_sub(logged.swap(all, Relaxed)))
    }

    /// Whether the log may report answers that could not be sent, once a minute for each `kind`.
    pub fn may_log_unsent(&self, kind: usize, now: u64) -> bool {
        self.unsent_next_log.get(kind).is_some_and(|next_log| {
            let until = next_log.load(Relaxed);
            now >= until && next_log.compare_exchange(until, now + MINUTE, Relaxed, Relaxed).is_ok()
        })
    }

    /// A number that changes with every arrival, admitted or refused.
    pub fn arrived(&self) -> u64 {
        self.all_refused().wrapping_add(self.served.load(Relaxed))
    }

    /// Acknowledges a ping, if there is one.
    pub fn acknowledge(&self) {
        let pings = self.pings.load(Relaxed);
        if self.acknowledged.load(Relaxed) != pings {
            self.acknowledged.store(pings, Relaxed);
        }
    }

    /// A number that changes whenever something is served.
    pub fn activity(&self) -> u64 {
        let bytes = self.sum(|shard| &shard.received).wrapping_add(self.sum(|shard| &shard.sent));
        bytes.wrapping_add(self.served.load(Relaxed))
    }

    fn shard(&self) -> &Shard {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let mine = MINE.get();
        if mine < SHARDS {
            return &self.shards[mine];
        }
        let mine = NEXT.fetch_add(1, Relaxed) % SHARDS;
        MINE.set(mine);
        &self.shards[mine]
    }

    fn sum(&self, count: fn(&Shard) -> &AtomicU64) -> u64 {
        self.shards.iter().map(|shard| count(shard).load(Relaxed)).sum()
    }

    fn all_refused(&self) -> u64 {
        RefusalReason::ALL.into_iter().map(|reason| self.refused(reason)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::shared::Shared;

    #[test]
    fn the_status_line_names_the_reasons_that_occurred() {
        let stats = Shared::<Stats>::new().unwrap();
        let none = "open 0, served 0, received 0 bytes, sent 0 bytes, errors 0, resets 0, idle-timeout 0, \
                    max-lifetime 0, max-bytes 0, empty 0, died 0, exhausted 0, truncated 0, dropped 0, \
                    forbidden 0, unreachable 0, oversize 0, undelivered 0, offloaded 0, refused 0";
        assert_eq!(stats.to_string(), none);
        stats.refuse(RefusalReason::Denied, 2);
        stats.refuse(RefusalReason::LoopBreaker, 1);
        assert!(stats.to_string().ends_with(", refused 3, denied 2, loop-breaker 1"), "{}", *stats);
    }

    #[test]
    fn refusals_are_logged_once_a_minute_with_their_count() {
        let stats = Shared::<Stats>::new().unwrap();
        let log = |count, now| {
            stats.refuse(RefusalReason::Rate, count);
            stats.refusals_to_log(RefusalReason::Rate, now)
        };
        assert_eq!(log(1, 5), Some(1));
        assert_eq!(log(1000, 6), None);
        assert_eq!(log(1, 4 + MINUTE), None);
        assert_eq!(
            stats.refusals_to_log(RefusalReason::Denied, 7),
            Some(0),
            "each reason has a minute of its own"
        );
        assert_eq!(log(1, 5 + MINUTE), Some(1002));
        assert_eq!(log(1, 5 + 2 * MINUTE), Some(1));
    }
}
