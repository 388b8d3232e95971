//! The running numbers of sources, in memory that all processes of a listener share.
//!
//! A number must not depend on which worker is faster. So datagrams are received and numbered under one lock. Its holder makes
//! one system call that does not wait. A lock that is held for long was left by a process that was killed; it is taken over.
//! Under the same lock it is noted which replies have gone.

use std::{
    io,
    ops::RangeInclusive,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
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
    /// The highest number whose reply has gone.
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
    /// For each source a bit for each of the last numbers up to [`Entry::gone`], at the number divided by how many bits there are:
    /// whether that reply has gone.
    gone: SharedArray<AtomicU64>,
    /// How many words of them a source has.
    words: usize,
}

/// The bits of consecutive numbers that are in one word: the number of the word, and a mask.
fn masks(numbers: RangeInclusive<u64>, words: usize) -> impl Iterator<Item = (usize, u64)> {
    let (mut next, last) = (*numbers.start(), *numbers.end());
    std::iter::from_fn(move || {
        let (first, bit) = (next, next % 64);
        let count = (last.checked_sub(first)? + 1).min(64 - bit);
        next += count;
        Some(((first / 64) as usize % words, (u64::MAX >> (64 - count)) << bit))
    })
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
    /// The table in `memory`, for a plan by which a reply waits for the `later` next ones, or for itself, or (`None`) for none.
    pub(super) fn new(memory: &mut TableMemory<'_>, later: Option<u32>) -> io::Result<Numbers> {
        let words = later.map_or(0, words_for);
        let (head, entries) = (memory.array(1)?, memory.array(SETS * WAYS)?);
        Ok(Numbers { head, entries, gone: memory.array(SETS * WAYS * words)?, words })
    }

    /// Whether it is noted which replies have gone.
    pub(super) fn notes_gone(&self) -> bool {
        self.words > 0
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

    /// Whether reply `number` to the source in this place has gone.
    pub(super) fn has_gone(&self, place: u32, number: u64) -> bool {
        let (latest, window) = (self.latest(place), self.window());
        let is_noted = || self.count(place, number..=number) > 0;
        latest >= number.saturating_add(window) || number <= latest && is_noted()
    }

    /// Whether `count` replies to the source in this place have gone that came after reply `number`.
    pub(super) fn have_gone_after(&self, place: u32, number: u64, count: u32) -> bool {
        let (latest, window) = (self.latest(place), self.window());
        // Cheap, and mostly the answer.
        if latest < number.saturating_add(count.into()) {
            return false;
        }
        latest > number.saturating_add(window) || self.count(place, number + 1..=latest) >= count
    }

    fn latest(&self, place: u32) -> u64 {
        self.entries[place as usize % (SETS * WAYS)].gone.load(Acquire)
    }

    /// How many of these numbers have gone. There must be a bit for each.
    fn count(&self, place: u32, numbers: RangeInclusive<u64>) -> u32 {
        let bits = self.bits(place);
        masks(numbers, self.words).map(|(word, mask)| (bits[word].load(Acquire) & mask).count_ones()).sum()
    }

    fn window(&self) -> u64 {
        self.words as u64 * 64
    }

    fn bits(&self, place: u32) -> &[AtomicU64] {
        &self.gone[place as usize % (SETS * WAYS) * self.words..][..self.words]
    }
}

/// A source has four times as many bits as replies that one waits for: some of them may be lost, or be late themselves. What is older
/// than all bits counts as gone.
fn words_for(later: u32) -> usize {
    (later.max(64) as usize * 4).next_power_of_two() / 64
}

impl Locked<'_> {
    /// The next number of a source. `in_burst` decides about the number from whether the last one was in a burst.
    pub(super) fn number(&self, identity: u64, in_burst: impl FnOnce(u64, bool) -> bool) -> Numbered {
        let Numbers { head, entries, .. } = self.numbers;
        let first = (identity >> 32) as usize % SETS * WAYS;
        let set = &entries[first..first + WAYS];
        let now = head[0].clock.fetch_add(1, Relaxed) + 1;
        let mut has_evicted = false;
        let way =
            set.iter().position(|entry| entry.identity.load(Relaxed) == identity).unwrap_or_else(|| {
                // A free entry was never seen.
                let oldest = (0..WAYS).min_by_key(|way| set[*way].seen.load(Relaxed)).unwrap_or(0);
                let entry = &set[oldest];
                let bits = self.numbers.bits((first + oldest) as u32);
                bits.iter().for_each(|word| word.store(0, Relaxed));
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

    /// Notes that reply `number` to the source in this place has gone.
    pub(super) fn note_gone(&self, place: u32, number: u64) {
        let numbers = self.numbers;
        let (bits, latest, window) = (numbers.bits(place), numbers.latest(place), numbers.window());
        if latest >= number.saturating_add(window) {
            return;
        }
        // The bits of the new numbers are those of numbers that are too old now.
        let oldest = number.saturating_sub(window - 1).max(latest + 1);
        for (word, mask) in masks(oldest..=number, numbers.words).filter(|_| number > latest) {
            bits[word].fetch_and(!mask, Relaxed);
        }
        masks(number..=number, numbers.words).for_each(|(word, mask)| _ = bits[word].fetch_or(mask, Release));
        // Last: whoever sees it sees the bits.
        numbers.entries[place as usize % (SETS * WAYS)].gone.fetch_max(number, Release);
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
        Numbers::new(&mut TableMemory::of(&stats), Some(3)).unwrap()
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
    }

    /// Replies that have not gone, or went before, are none of those that go first.
    #[test]
    fn later_replies_are_counted_as_they_go() {
        let numbers = numbers();
        let note = |number| numbers.lock().note_gone(7, number);
        let after = |number, count| numbers.have_gone_after(7, number, count);
        [1, 2, 3, 5, 8].into_iter().for_each(note);
        assert!(after(4, 2) && !after(4, 3) && after(3, 2) && !after(3, 3) && after(0, 5) && !after(8, 1));
        assert!(numbers.has_gone(7, 5) && !numbers.has_gone(7, 4) && !numbers.has_gone(7, 9));
        note(4);
        note(4);
        assert!(numbers.has_gone(7, 4) && after(3, 3) && !after(3, 4));
        assert!(!numbers.has_gone(8, 4) && !numbers.have_gone_after(8, 0, 1), "of another source");
    }

    /// Against a list of all that have gone, over the ends of words and of the bits that a source has.
    #[test]
    fn bits_are_used_again_for_later_numbers() {
        let numbers = numbers();
        let window = numbers.window();
        let mut gone = std::collections::BTreeSet::new();
        for number in
            (1..3 * window).filter(|number| !number.is_multiple_of(7)).chain([7 * window, 10 * window])
        {
            numbers.lock().note_gone(1, number);
            gone.insert(number);
            for before in
                [1, 3, 62, 63, 64, 65, 200, window - 1, window].map(|back| number.saturating_sub(back))
            {
                let count = gone.range(before + 1..).count() as u32;
                assert!(numbers.have_gone_after(1, before, count), "{number} {before}");
                assert!(!numbers.have_gone_after(1, before, count + 1), "{number} {before}");
                let has_gone = before == 0 || gone.contains(&before) || before + window <= number;
                assert_eq!(
                    before > 0 && numbers.has_gone(1, before),
                    before > 0 && has_gone,
                    "{number} {before}"
                );
            }
        }
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
