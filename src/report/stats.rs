//! Counters of one listener, in memory that all its threads and processes share.

use std::{
    cell::Cell,
    sync::atomic::{
        AtomicU32, AtomicU64, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
};

pub use counters::{COUNTERS, Counter};

use crate::{
    report::{close_reason::CloseReason, refusal_reason::RefusalReason},
    sys::shared::atomics,
};

mod counters;

/// How many places bytes are counted in, so that threads on different cores seldom write the same cache line.
const SHARDS: usize = 16;

/// How long the log is silent after it has told of refusals for one reason, in nanoseconds.
const MINUTE: u64 = 60_000_000_000;

thread_local! {
    /// The shard of this thread, and of the processes that it forks from now on.
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Has this process count in another shard than those with other numbers, as far as there are enough.
pub fn use_shard(number: usize) {
    MINE.set(number % SHARDS);
}

atomics! {
/// What happened on one listener since it was bound.
#[repr(C)]
pub struct Stats {
    /// Connections that are open now, and datagrams that are being answered by a thread or process of their own.
    pub open: AtomicU32,
    /// Processes that ended without having been asked to, and threads or processes whose service panicked.
    pub died: AtomicU32,
    /// Connections and datagrams that were served, or are being served.
    pub served: AtomicU64,
    /// Requests of `max-requests` that somebody waits for or has taken.
    pub claimed: AtomicU64,
    /// Requests of `max-requests` that were taken.
    pub taken: AtomicU64,
    /// Connections that the peer reset.
    pub resets: AtomicU64,
    /// Connections that were ended by `idle-timeout`.
    pub idle_timeout: AtomicU64,
    /// Connections that were ended by `max-lifetime`.
    pub max_lifetime: AtomicU64,
    /// Connections that were ended by `max-bytes`.
    pub max_bytes: AtomicU64,
    /// Connections that were cut because their listener was removed.
    pub cut: AtomicU64,
    /// Calls that failed in a way that is neither the peer's doing nor a shortage.
    pub errors: AtomicU64,
    /// Times that accepting had to rest for want of descriptors or memory.
    pub exhausted: AtomicU64,
    /// Datagrams that were longer than any buffer, dropped.
    pub truncated: AtomicU64,
    /// Answers dropped because the receiver's queue was full.
    pub dropped: AtomicU64,
    /// Answers that a rule of the packet filter forbade.
    pub forbidden: AtomicU64,
    /// Answers to where no route leads.
    pub unreachable: AtomicU64,
    /// Answers that were too long for their way.
    pub oversize: AtomicU64,
    /// Datagrams that the kernel dropped before they were received.
    pub undelivered: AtomicU64,
    refusals: [Refusals; RefusalReason::ALL.len()],
    /// When the log may tell again of answers that could not be sent, by their kind, in nanoseconds of the machine's clock.
    unsent_silent_until: [AtomicU64; 5],
    /// How often the process of a forking listener was asked for a sign of life.
    pub asked: AtomicU32,
    /// To which of these questions it has answered last.
    pub answered: AtomicU32,
    /// What the daemon has ordered the process of a forking listener to do, see [`Order`].
    orders: AtomicU32,
    shards: [Shard; SHARDS],
}
}

/// What the daemon may order the process of a forking listener to do, by a signal that tells it to look here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To end.
    Stop = 1,
    /// To leave its sockets to another generation.
    HandOver = 2,
}

atomics! {
/// What was refused for one reason.
#[repr(C)]
struct Refusals {
    count: AtomicU64,
    /// How many of them the log has told of.
    told: AtomicU64,
    /// When it may tell again, in nanoseconds of the machine's clock.
    silent_until: AtomicU64,
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
    /// Orders the process of a forking listener to do something, before it is signalled.
    pub fn order(&self, order: Order) {
        self.orders.fetch_or(order as u32, SeqCst);
    }

    /// Whether the daemon has ordered that.
    pub fn is_ordered(&self, order: Order) -> bool {
        self.orders.load(SeqCst) & order as u32 != 0
    }

    /// Counts bytes that arrived.
    pub fn received(&self, bytes: usize) {
        self.shard().received.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts bytes that were sent.
    pub fn sent(&self, bytes: u64) {
        self.shard().sent.fetch_add(bytes, Relaxed);
    }

    /// Counts a connection that ended.
    pub fn ended(&self, end: CloseReason) {
        match end {
            CloseReason::PeerReset => self.resets.fetch_add(1, Relaxed),
            CloseReason::IdleTimeout => self.idle_timeout.fetch_add(1, Relaxed),
            CloseReason::MaxLifetime => self.max_lifetime.fetch_add(1, Relaxed),
            CloseReason::MaxBytes => self.max_bytes.fetch_add(1, Relaxed),
            CloseReason::DrainTimeout => self.cut.fetch_add(1, Relaxed),
            CloseReason::Io(_) => self.errors.fetch_add(1, Relaxed),
            CloseReason::Panicked
            | CloseReason::LoopFailed
            | CloseReason::Killed(_)
            | CloseReason::ChildExited => {
                self.died.fetch_add(1, Relaxed);
                self.errors.fetch_add(1, Relaxed)
            }
            // Counted by its reason.
            CloseReason::Refused(_) => 0,
            CloseReason::PeerClosed | CloseReason::ServiceClosed | CloseReason::Stopped => 0,
        };
    }

    /// Counts `count` connections or datagrams that were refused.
    pub fn refuse(&self, reason: RefusalReason, count: u64) {
        self.refusals[reason as usize].count.fetch_add(count, Relaxed);
    }

    /// How many were refused for that reason.
    pub fn refused(&self, reason: RefusalReason) -> u64 {
        self.refusals[reason as usize].count.load(Relaxed)
    }

    /// Whether the log may tell of refusals for that reason now, and if so, of how many that it has not told of yet. Once a
    /// minute: whoever is refused could provoke a line at will. All threads and processes of the listener share the minute.
    pub fn tell_refusals(&self, reason: RefusalReason, now: u64) -> Option<u64> {
        let Refusals { count, told, silent_until } = &self.refusals[reason as usize];
        let until = silent_until.load(Relaxed);
        // Of those that come at the same moment, the one whose exchange succeeds tells.
        let tells =
            now >= until && silent_until.compare_exchange(until, now + MINUTE, Relaxed, Relaxed).is_ok();
        let all = count.load(Relaxed);
        tells.then(|| all.saturating_sub(told.swap(all, Relaxed)))
    }

    /// Whether the log may tell now of answers that could not be sent for a reason of this kind, once a minute.
    pub fn tells_unsent(&self, kind: usize, now: u64) -> bool {
        self.unsent_silent_until.get(kind).is_some_and(|silent_until| {
            let until = silent_until.load(Relaxed);
            now >= until && silent_until.compare_exchange(until, now + MINUTE, Relaxed, Relaxed).is_ok()
        })
    }

    /// A number that changes whenever somebody is accepted or a datagram is received, refused or not.
    pub fn arrived(&self) -> u64 {
        self.all_refused().wrapping_add(self.served.load(Relaxed))
    }

    /// Says that this process is alive, if it was asked.
    pub fn answer(&self) {
        let asked = self.asked.load(Relaxed);
        if self.answered.load(Relaxed) != asked {
            self.answered.store(asked, Relaxed);
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
    fn the_state_names_the_reasons_that_there_were() {
        let stats = Shared::<Stats>::new().unwrap();
        let none = "open 0, served 0, received 0 bytes, sent 0 bytes, errors 0, resets 0, idle-timeout 0, \
                    max-lifetime 0, max-bytes 0, died 0, exhausted 0, truncated 0, dropped 0, forbidden 0, \
                    unreachable 0, oversize 0, undelivered 0, refused 0";
        assert_eq!(stats.to_string(), none);
        stats.refuse(RefusalReason::Denied, 2);
        stats.refuse(RefusalReason::LoopBreaker, 1);
        assert!(stats.to_string().ends_with(", refused 3, denied 2, loop-breaker 1"), "{}", *stats);
    }

    #[test]
    fn refusals_are_told_once_a_minute_with_their_count() {
        let stats = Shared::<Stats>::new().unwrap();
        let tell = |count, now| {
            stats.refuse(RefusalReason::Rate, count);
            stats.tell_refusals(RefusalReason::Rate, now)
        };
        assert_eq!(tell(1, 5), Some(1));
        assert_eq!(tell(1000, 6), None);
        assert_eq!(tell(1, 4 + MINUTE), None);
        assert_eq!(
            stats.tell_refusals(RefusalReason::Denied, 7),
            Some(0),
            "each reason has a minute of its own"
        );
        assert_eq!(tell(1, 5 + MINUTE), Some(1002));
        assert_eq!(tell(1, 5 + 2 * MINUTE), Some(1));
    }
}
