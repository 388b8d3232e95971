//! Counters of one listener, in memory that all its threads and processes share.

use std::{
    cell::Cell,
    fmt,
    sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use crate::{end::End, sys::shared::atomics};

/// How many places bytes are counted in, so that threads on different cores seldom write the same cache line.
const SHARDS: usize = 16;

thread_local! {
    /// The shard of this thread, and of the processes that it forks from now on.
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Chooses another shard for the next process to be forked.
pub fn turn_shard() {
    MINE.set(MINE.get().wrapping_add(1) % SHARDS);
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
    /// Calls that failed in a way that is neither the peer's doing nor a shortage.
    pub errors: AtomicU64,
    /// Times that accepting had to rest for want of descriptors or memory.
    pub exhausted: AtomicU64,
    /// Connections that `select` could not watch, closed.
    pub unwatchable: AtomicU64,
    /// Datagrams that were longer than any buffer, dropped.
    pub truncated: AtomicU64,
    /// Datagrams refused because their source cannot be answered.
    pub unanswerable: AtomicU64,
    /// Datagrams refused because their answer would have been longer than they were.
    pub amplifying: AtomicU64,
    /// Answers dropped because the receiver's queue was full.
    pub dropped: AtomicU64,
    shards: [Shard; SHARDS],
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
    /// Counts bytes that arrived.
    pub fn received(&self, bytes: usize) {
        self.shard().received.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts bytes that were sent.
    pub fn sent(&self, bytes: u64) {
        self.shard().sent.fetch_add(bytes, Relaxed);
    }

    /// Counts a connection that ended.
    pub fn ended(&self, end: End) {
        match end {
            End::PeerReset => self.resets.fetch_add(1, Relaxed),
            End::Failed(_) => self.errors.fetch_add(1, Relaxed),
            End::Panicked | End::Killed(_) | End::Vanished => {
                self.died.fetch_add(1, Relaxed);
                self.errors.fetch_add(1, Relaxed)
            }
            End::PeerClosed | End::ServiceClosed | End::Stopped => 0,
        };
    }

    /// A number that changes whenever something is served.
    pub fn activity(&self) -> u64 {
        let bytes = self.shards.iter().map(|shard| shard.received.load(Relaxed) + shard.sent.load(Relaxed));
        bytes.sum::<u64>().wrapping_add(self.served.load(Relaxed))
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
}

/// The state of a listener in one line, as SIGUSR1 logs it.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |count: fn(&Shard) -> &AtomicU64| -> u64 {
            self.shards.iter().map(|shard| count(shard).load(Relaxed)).sum()
        };
        let refused = [&self.unanswerable, &self.amplifying, &self.unwatchable];
        let refused: u64 = refused.iter().map(|count| count.load(Relaxed)).sum();
        write!(
            f,
            "open {}, served {}, received {} bytes, sent {} bytes, refused {refused}, errors {}, resets {}, \
             died {}, exhausted {}, unwatchable {}, truncated {}, unanswerable {}, amplifying {}, dropped {}",
            self.open.load(Relaxed),
            self.served.load(Relaxed),
            sum(|shard| &shard.received),
            sum(|shard| &shard.sent),
            self.errors.load(Relaxed),
            self.resets.load(Relaxed),
            self.died.load(Relaxed),
            self.exhausted.load(Relaxed),
            self.unwatchable.load(Relaxed),
            self.truncated.load(Relaxed),
            self.unanswerable.load(Relaxed),
            self.amplifying.load(Relaxed),
            self.dropped.load(Relaxed),
        )
    }
}
