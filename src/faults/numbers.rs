//! The running numbers of sources, in memory that all processes of a listener share.
//!
//! A number must not depend on which worker is faster. So datagrams are received and numbered under one lock. Its holder makes
//! one system call that does not wait. A lock that is held for long was left by a process that was killed; it is taken over.

use std::{
    io,
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
    thread,
};

use crate::{
    access::memory::TableMemory,
    sys::{
        clock,
        shared::{SharedArray, atomics},
    },
};

const SETS: usize = 4096;
const WAYS: usize = 8;

/// In nanoseconds: far longer than any holder takes, unless it was stopped or killed.
const LOCKED_AT_MOST: u64 = 1_000_000_000;

atomics! {
/// A source.
#[repr(C)]
struct Entry {
    /// The identity of the source; 0 if the entry is free.
    identity: AtomicU64,
    /// The number of its last datagram or connection.
    number: AtomicU64,
    /// The highest number whose reply has gone, or will not.
    gone: AtomicU64,
    /// When it was seen last, as a number of `Head::clock`.
    seen: AtomicU64,
    /// Whether a burst of losses took its last reply.
    in_burst: AtomicU64,
}
}

atomics! {
#[repr(C)]
struct Head {
    /// When the lock expires, in nanoseconds; 0 if it is free.
    locked_until: AtomicU64,
    /// Counts what was numbered.
    clock: AtomicU64,
}
}

/// The table of a listener with a plan.
pub(super) struct Numbers {
    head: SharedArray<Head>,
    entries: SharedArray<Entry>,
}

/// The lock; released on drop. A forgotten one expires.
pub struct Locked<'a> {
    numbers: &'a Numbers,
    until: u64,
}

/// What a source was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    /// The place of the source in the table.
    pub(super) place: u32,
    /// The running number, from 1 on.
    pub(super) number: u64,
    /// Whether a burst of losses takes the reply.
    pub(super) in_burst: bool,
    /// Whether another source lost its place, and with it its number.
    pub(super) has_evicted: bool,
}

impl Numbers {
    /// The table in `memory`.
    pub(super) fn new(memory: &mut TableMemory<'_>) -> io::Result<Numbers> {
        Ok(Numbers { head: memory.array(1)?, entries: memory.array(SETS * WAYS)? })
    }

    /// Waits for the lock.
    pub(super) fn lock(&self) -> Locked<'_> {
        loop {
            let now = clock::now();
            let until = now + LOCKED_AT_MOST;
            let lock = &self.head[0].locked_until;
            let held = lock.load(Relaxed);
            if held <= now && lock.compare_exchange(held, until, Acquire, Relaxed).is_ok() {
                return Locked { numbers: self, until };
            }
            thread::yield_now();
        }
    }

    /// The highest number of the source in this place whose reply has gone, or will not.
    pub(super) fn gone(&self, place: u32) -> u64 {
        self.entries[place as usize % (SETS * WAYS)].gone.load(Acquire)
    }

    /// Notes that reply `number` to the source in this place has gone.
    pub(super) fn note_gone(&self, place: u32, number: u64) {
        self.entries[place as usize % (SETS * WAYS)].gone.fetch_max(number, AcqRel);
    }
}

impl Locked<'_> {
    /// The next number of a source. `in_burst` decides about the number from whether the last one was in a burst.
    pub(super) fn number(&self, identity: u64, in_burst: impl FnOnce(u64, bool) -> bool) -> Numbered {
        let Numbers { head, entries } = self.numbers;
        let first = (identity >> 32) as usize % SETS * WAYS;
        let set = &entries[first..first + WAYS];
        let now = head[0].clock.fetch_add(1, Relaxed) + 1;
        let mut has_evicted = false;
        let way =
            set.iter().position(|entry| entry.identity.load(Relaxed) == identity).unwrap_or_else(|| {
                // A free entry was never seen.
                let oldest = (0..WAYS).min_by_key(|way| set[*way].seen.load(Relaxed)).unwrap_or(0);
                let entry = &set[oldest];
                has_evicted = entry.identity.swap(identity, Relaxed) != 0;
                for word in [&entry.number, &entry.gone, &entry.in_burst] {
                    word.store(0, Relaxed);
                }
                oldest
            });
        let entry = &set[way];
        entry.seen.store(now, Relaxed);
        let number = entry.number.fetch_add(1, Relaxed) + 1;
        let in_burst = in_burst(number, entry.in_burst.load(Relaxed) != 0);
        entry.in_burst.store(in_burst.into(), Relaxed);
        Numbered { place: (first + way) as u32, number, in_burst, has_evicted }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // If it has expired, it may be another's.
        let lock = &self.numbers.head[0].locked_until;
        let _ = lock.compare_exchange(self.until, 0, Release, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::stats::Stats, sys::shared::Shared};

    fn numbers() -> Numbers {
        let stats = Shared::<Stats>::new().unwrap();
        Numbers::new(&mut TableMemory::of(&stats)).unwrap()
    }

    fn next(numbers: &Numbers, identity: u64) -> Numbered {
        numbers.lock().number(identity, |_, before| !before)
    }

    #[test]
    fn each_source_is_numbered_by_itself() {
        let numbers = numbers();
        let given: Vec<_> = [7, 7, 8, 7].map(|source| next(&numbers, source << 32)).into();
        assert_eq!(given.iter().map(|it| it.number).collect::<Vec<_>>(), [1, 2, 1, 3]);
        assert_eq!(given.iter().map(|it| it.in_burst).collect::<Vec<_>>(), [true, false, true, true]);
        assert!(given.iter().all(|it| !it.has_evicted));
        [2, 1].into_iter().for_each(|number| numbers.note_gone(given[0].place, number));
        assert_eq!((numbers.gone(given[1].place), numbers.gone(given[2].place)), (2, 0));
    }

    /// The source that was not seen for longest makes room.
    #[test]
    fn a_full_set_forgets_the_source_that_was_seen_first() {
        let numbers = numbers();
        let of_one_set = |n: u64| (1 << 32) | n;
        (0..WAYS as u64).for_each(|n| _ = next(&numbers, of_one_set(n)));
        assert_eq!(next(&numbers, of_one_set(0)).number, 2);
        let new = next(&numbers, of_one_set(100));
        assert!(new.has_evicted && new.number == 1);
        assert_eq!(next(&numbers, of_one_set(0)).number, 3);
        assert_eq!(next(&numbers, of_one_set(1)).number, 1, "it had to make room");
    }

    #[test]
    fn no_two_threads_get_the_same_number() {
        let numbers = numbers();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| _ = next(&numbers, 1 << 40)));
            }
        });
        assert_eq!(next(&numbers, 1 << 40).number, 4001);
    }
}
