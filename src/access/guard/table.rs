//! A number for each of many keys, in memory of fixed size that threads and processes share without a lock.
//!
//! A key is 64 bits of a keyed hash, so no client can aim at it. It may be in one of the four ways of its set. If all
//! are taken, an entry that has been quiet for long enough is evicted, or else the one with the lowest number: a flood
//! of new keys evicts other new ones, never one that has been counted for long.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::sys::shared::{SharedArray, atomics};

/// The ways of a set.
const WAYS: usize = 4;

atomics! {
/// The entries for keys with the same low bits: one cache line.
#[repr(C, align(64))]
pub(super) struct KeySet {
    keys: [AtomicU64; WAYS],
    entries: [AtomicU64; WAYS],
}
}

/// The table.
pub(super) struct CounterTable {
    sets: SharedArray<KeySet>,
    /// An entry that was not changed for so many milliseconds may be evicted,
    quiet: u32,
    /// but one with a number above [`REPLACEABLE`] only after so many.
    held: u32,
}

/// The entry of a key: when it was changed last, in milliseconds of a clock that wraps, and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CounterEntry {
    pub(super) changed_at: u32,
    pub(super) number: u32,
}

impl CounterEntry {
    fn read(bits: u64) -> CounterEntry {
        CounterEntry { changed_at: (bits >> 32) as u32, number: bits as u32 }
    }

    fn bits(self) -> u64 {
        u64::from(self.changed_at) << 32 | u64::from(self.number)
    }

    /// How long ago it was changed. The clock of another thread may be a little ahead.
    pub(super) fn age(self, now: u32) -> u32 {
        let age = now.wrapping_sub(self.changed_at);
        if age > u32::MAX / 2 { 0 } else { age }
    }
}

impl CounterTable {
    /// A table of these sets, with four entries each.
    pub(super) fn new(sets: SharedArray<KeySet>, quiet: u32, held: u32) -> CounterTable {
        CounterTable { sets, quiet, held }
    }

    /// The entry of `key`, if it has one.
    pub(super) fn get(&self, key: u64) -> Option<CounterEntry> {
        let set = self.set(key);
        let way = set.keys.iter().position(|there| there.load(Relaxed) == key)?;
        Some(CounterEntry::read(set.entries[way].load(Relaxed)))
    }

    /// Replaces the entry of `key` by what `change` makes of it, and returns that. A new entry is made from `None`.
    /// Returns `None` if there is no entry, and none can be evicted.
    pub(super) fn change(
        &self,
        key: u64,
        now: u32,
        mut change: impl FnMut(Option<CounterEntry>) -> CounterEntry,
    ) -> Option<CounterEntry> {
        let set = self.set(key);
        if let Some(way) = set.keys.iter().position(|there| there.load(Relaxed) == key) {
            let entry = &set.entries[way];
            let mut bits = entry.load(Relaxed);
            loop {
                let changed = change(Some(CounterEntry::read(bits)));
                match entry.compare_exchange_weak(bits, changed.bits(), Relaxed, Relaxed) {
                    Ok(_) => return Some(changed),
                    Err(other) => bits = other,
                }
            }
        }
        let worth = |way: usize| {
            let entry = CounterEntry::read(set.entries[way].load(Relaxed));
            let quiet = if entry.number > REPLACEABLE { self.held } else { self.quiet };
            let free = set.keys[way].load(Relaxed) == 0 || entry.age(now) >= quiet;
            if free { 0 } else { entry.number.max(1) }
        };
        let way = (0..WAYS).min_by_key(|&way| worth(way)).filter(|&way| worth(way) <= REPLACEABLE)?;
        let fresh = change(None);
        let (old, entry) = (set.keys[way].load(Relaxed), set.entries[way].load(Relaxed));
        // Of two threads that want the same entry one fails; its next datagram is another chance. A late one fails as
        // well, when a third key has the entry by now.
        set.keys[way].compare_exchange(old, key, Relaxed, Relaxed).ok()?;
        set.entries[way].compare_exchange(entry, fresh.bits(), Relaxed, Relaxed).ok()?;
        Some(fresh)
    }

    fn set(&self, key: u64) -> &KeySet {
        &self.sets[key as usize % self.sets.len()]
    }
}

/// Entries with a number above this one are evicted last.
pub(super) const REPLACEABLE: u32 = u32::MAX / 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn table(sets: usize) -> CounterTable {
        CounterTable::new(SharedArray::new(sets).unwrap(), 1000, 2000)
    }

    fn count(table: &CounterTable, key: u64, now: u32) -> Option<u32> {
        let change = |entry: Option<CounterEntry>| CounterEntry {
            changed_at: now,
            number: entry.map_or(0, |e| e.number) + 1,
        };
        table.change(key, now, change).map(|entry| entry.number)
    }

    #[test]
    fn a_flood_of_new_keys_replaces_newcomers_only() {
        let table = table(1);
        for number in 1..=100 {
            assert_eq!(count(&table, 7, 5), Some(number));
        }
        for key in 1000..100_000 {
            assert_eq!(count(&table, key, 6), Some(1));
        }
        assert_eq!(count(&table, 7, 7), Some(101));
        // Once quiet, it is evicted like any other.
        (200_000..200_004).for_each(|key| assert_eq!(count(&table, key, 1007), Some(1)));
        assert_eq!(table.get(7), None);
    }

    #[test]
    fn what_may_not_be_replaced_keeps_newcomers_out() {
        let table = table(1);
        for key in 1..=4 {
            table.change(key, 5, |_| CounterEntry { changed_at: 5, number: REPLACEABLE + 1 }).unwrap();
        }
        assert_eq!(count(&table, 9, 2004), None);
        assert_eq!(count(&table, 9, 2005), Some(1));
    }

    #[test]
    fn the_clock_may_wrap() {
        let entry = CounterEntry { changed_at: u32::MAX - 10, number: 1 };
        assert_eq!((entry.age(u32::MAX), entry.age(9), entry.age(u32::MAX - 11)), (10, 20, 0));
        assert_eq!(CounterEntry::read(entry.bits()), entry);
    }

    #[test]
    fn threads_lose_no_count() {
        let table = table(16);
        count(&table, 7, 5);
        std::thread::scope(|scope| {
            (0..4).for_each(|_| _ = scope.spawn(|| (0..10_000).for_each(|_| _ = count(&table, 7, 5))));
        });
        assert_eq!(table.get(7).unwrap().number, 40_001);
    }
}
