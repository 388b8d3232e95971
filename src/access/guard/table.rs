//! A number for each of many keys, in memory of a fixed size that threads and processes share without a lock.
//!
//! A key is 64 bits of a keyed hash, which nobody outside can aim at. It may stand in one of four places. If all are taken, the
//! one that was quiet for longest enough gives way, or else the one with the lowest number: a flood of new keys replaces
//! newcomers, and never one that has been counted for long.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::sys::shared::{SharedArray, atomics};

/// Places that a key may stand in.
const WAYS: usize = 4;

atomics! {
/// The places for keys with the same low bits: as large as a cache line.
#[repr(C, align(64))]
struct KeySet {
    keys: [AtomicU64; WAYS],
    entries: [AtomicU64; WAYS],
}
}

/// The table.
pub(super) struct Table {
    sets: SharedArray<KeySet>,
    /// An entry that nobody has touched for so many milliseconds may be replaced,
    quiet: u32,
    /// but one with a number above [`REPLACEABLE`] only after so many.
    held: u32,
}

/// What stands beside a key: when it was touched last, in milliseconds of a clock that wraps, and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Touched {
    pub(super) touched: u32,
    pub(super) number: u32,
}

impl Touched {
    fn read(bits: u64) -> Touched {
        Touched { touched: (bits >> 32) as u32, number: bits as u32 }
    }

    fn bits(self) -> u64 {
        u64::from(self.touched) << 32 | u64::from(self.number)
    }

    /// How long ago it was touched. Another thread may be a little ahead of our clock.
    pub(super) fn age(self, now: u32) -> u32 {
        let age = now.wrapping_sub(self.touched);
        if age > u32::MAX / 2 { 0 } else { age }
    }
}

impl Table {
    /// A table of `sets` times four places.
    pub(super) fn new(sets: usize, quiet: u32, held: u32) -> std::io::Result<Table> {
        Ok(Table { sets: SharedArray::new(sets)?, quiet, held })
    }

    /// The entry of `key`, if it has one.
    pub(super) fn get(&self, key: u64) -> Option<Touched> {
        let set = self.set(key);
        let way = set.keys.iter().position(|there| there.load(Relaxed) == key)?;
        Some(Touched::read(set.entries[way].load(Relaxed)))
    }

    /// Puts in the place of the entry of `key` what `change` makes of it, and returns that; `None` if there is no entry and no
    /// place for one. A new entry is made from nothing.
    pub(super) fn change(
        &self,
        key: u64,
        now: u32,
        mut change: impl FnMut(Option<Touched>) -> Touched,
    ) -> Option<Touched> {
        let set = self.set(key);
        if let Some(way) = set.keys.iter().position(|there| there.load(Relaxed) == key) {
            let entry = &set.entries[way];
            let mut bits = entry.load(Relaxed);
            loop {
                let changed = change(Some(Touched::read(bits)));
                match entry.compare_exchange_weak(bits, changed.bits(), Relaxed, Relaxed) {
                    Ok(_) => return Some(changed),
                    Err(other) => bits = other,
                }
            }
        }
        let worth = |way: usize| {
            let entry = Touched::read(set.entries[way].load(Relaxed));
            let quiet = if entry.number > REPLACEABLE { self.held } else { self.quiet };
            let free = set.keys[way].load(Relaxed) == 0 || entry.age(now) >= quiet;
            if free { 0 } else { entry.number.max(1) }
        };
        let way = (0..WAYS).min_by_key(|&way| worth(way)).filter(|&way| worth(way) <= REPLACEABLE)?;
        let fresh = change(None);
        let (old, entry) = (set.keys[way].load(Relaxed), set.entries[way].load(Relaxed));
        // Of two that want the same place one goes without; the next time there is another chance. So does one that is late, when
        // the place has gone to yet another one.
        set.keys[way].compare_exchange(old, key, Relaxed, Relaxed).ok()?;
        set.entries[way].compare_exchange(entry, fresh.bits(), Relaxed, Relaxed).ok()?;
        Some(fresh)
    }

    fn set(&self, key: u64) -> &KeySet {
        &self.sets[key as usize % self.sets.len()]
    }
}

/// Entries with a number above this one are replaced last of all.
pub(super) const REPLACEABLE: u32 = u32::MAX / 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn count(table: &Table, key: u64, now: u32) -> Option<u32> {
        let change =
            |entry: Option<Touched>| Touched { touched: now, number: entry.map_or(0, |e| e.number) + 1 };
        table.change(key, now, change).map(|entry| entry.number)
    }

    #[test]
    fn a_flood_of_new_keys_replaces_newcomers_only() {
        let table = Table::new(1, 1000, 2000).unwrap();
        for number in 1..=100 {
            assert_eq!(count(&table, 7, 5), Some(number));
        }
        for key in 1000..100_000 {
            assert_eq!(count(&table, key, 6), Some(1));
        }
        assert_eq!(count(&table, 7, 7), Some(101));
        // Once it is quiet, it gives way like any other.
        (200_000..200_004).for_each(|key| assert_eq!(count(&table, key, 1007), Some(1)));
        assert_eq!(table.get(7), None);
    }

    #[test]
    fn what_may_not_be_replaced_keeps_newcomers_out() {
        let table = Table::new(1, 1000, 2000).unwrap();
        for key in 1..=4 {
            table.change(key, 5, |_| Touched { touched: 5, number: REPLACEABLE + 1 }).unwrap();
        }
        assert_eq!(count(&table, 9, 2004), None);
        assert_eq!(count(&table, 9, 2005), Some(1));
    }

    #[test]
    fn the_clock_may_wrap() {
        let entry = Touched { touched: u32::MAX - 10, number: 1 };
        assert_eq!((entry.age(u32::MAX), entry.age(9), entry.age(u32::MAX - 11)), (10, 20, 0));
        assert_eq!(Touched::read(entry.bits()), entry);
    }

    #[test]
    fn threads_lose_no_count() {
        let table = Table::new(16, 1000, 2000).unwrap();
        count(&table, 7, 5);
        std::thread::scope(|scope| {
            (0..4).for_each(|_| _ = scope.spawn(|| (0..10_000).for_each(|_| _ = count(&table, 7, 5))));
        });
        assert_eq!(table.get(7).unwrap().number, 40_001);
    }
}
