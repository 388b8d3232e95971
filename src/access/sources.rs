//! What each source has open, and how fast it comes: a table of bounded size in memory that all threads, loops and forked
//! processes of a listener share.
//!
//! A source has its place in one of 8,192 sets of eight, by a keyed hash, so nobody can choose whom to meet there. Whoever
//! is new takes the place of one that has nothing open and was not seen for long (second chance). A million forged
//! sources therefore cost no memory and push out only each other; and if a set is full of those who have something open,
//! the newcomer is under the limits of the listener alone.
//!
//! What identifies a source and what it has open are one atomic number: who counts up cannot mistake one source for
//! another, and who replaces one cannot overlook what it has open. Only newcomers take a lock, that of their set.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    hint::spin_loop,
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
        },
    },
    thread::yield_now,
};

use crate::access::rate::RateLimiter;
use crate::{
    config::{self, embedded::plain},
    report::refusal_reason::RefusalReason,
    sys::{
        clock,
        shared::{SharedArray, atomics},
    },
};

/// Who is counted as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKey {
    /// An address, or the network around it.
    Ip(IpAddr),
    /// A user of this machine, at the other end of a unix socket.
    User(u32),
}

const SETS: usize = 8192;
const WAYS: usize = 8;

/// The bits of a word: how many are open, whether it was seen again, and whose it is.
const OPEN: u64 = (1 << 20) - 1;
const SEEN: u64 = 1 << 20;
const WHOSE: u64 = !(OPEN | SEEN);

/// The word of a way that is being given to another source, by the holder of the lock with this ticket: it is nobody's, and not
/// free.
fn taken(ticket: u64) -> u64 {
    ticket << WHOSE.trailing_zeros() | OPEN
}

fn is_taken(word: u64) -> bool {
    word & OPEN == OPEN
}

/// A lock that is held for longer was left by a process that was killed, or its holder was put off the processor. That one notices
/// when it goes on: the way that it had taken is not its own any more.
const LOCKED_AT_MOST: u64 = 10_000_000;

atomics! {
/// Eight sources. Their words are one cache line.
#[repr(C, align(64))]
struct SourceSet {
    words: [AtomicU64; WAYS],
    /// When the lock is over, or 0.
    locked_until: AtomicU64,
    /// Who is looked at next when a place is needed.
    hand: AtomicU64,
    buckets: [Buckets; WAYS],
}
}

atomics! {
/// How fast a source may come.
#[repr(C)]
struct Buckets {
    count: AtomicU64,
    bytes: AtomicU64,
    cool_until: AtomicU64,
}
}

/// The sources of one listener.
pub struct SourceTable {
    sets: SharedArray<SourceSet>,
    hash: RandomState,
    /// How many bits of an IPv6 address make a source.
    prefix: u8,
    /// How many connections one may have open; 0 for any number.
    most: u32,
    count: Option<RateLimiter>,
    bytes: Option<RateLimiter>,
    cool_down: u64,
}

impl SourceTable {
    /// Those of a listener; `None` if nothing is limited by source.
    pub fn of(settings: &config::Listener) -> io::Result<Option<SourceTable>> {
        let config::SourceRate { count, bytes } = settings.rate_per_source;
        let most = settings.max_connections_per_source;
        if most == 0 && count.is_none() && bytes.is_none() {
            return Ok(None);
        }
        let limiter = |rate: Option<config::Rate>| rate.as_ref().map(RateLimiter::new);
        Ok(Some(SourceTable {
            sets: SharedArray::new(SETS)?,
            hash: RandomState::new(),
            prefix: settings.source_prefix,
            most,
            count: limiter(count),
            bytes: limiter(bytes),
            cool_down: settings.cool_down.as_nanos() as u64,
        }))
    }

    /// Lets in a connection, at the time `now`. Its place is to be given back when it has ended.
    pub fn connect(
        self: &Arc<SourceTable>,
        source: SourceKey,
        now: u64,
    ) -> Result<Option<SourceSlot>, RefusalReason> {
        let mut paced = false;
        loop {
            let (set, owner) = self.look_up(source);
            let Some(way) = self.way(set, owner, now) else { return Ok(None) };
            if !paced {
                self.limiter(&self.sets[set].buckets[way], 0, now)?;
                paced = true;
            }
            if self.most == 0 {
                return Ok(None);
            }
            let more = |word: u64| {
                let belongs = word & WHOSE == owner && !is_taken(word);
                (belongs && word & OPEN < u64::from(self.most)).then(|| (word + 1) | SEEN)
            };
            match self.sets[set].words[way].fetch_update(AcqRel, Acquire, more) {
                Ok(_) => {
                    let number = (set * WAYS + way) as u32;
                    return Ok(Some(SourceSlot { sources: Arc::clone(self), number }));
                }
                Err(word) if word & WHOSE == owner && !is_taken(word) => {
                    return Err(RefusalReason::SourceFull);
                }
                // Somebody else has it now.
                Err(_) => {}
            }
        }
    }

    /// Lets in a datagram of so many bytes.
    pub fn datagram(&self, source: IpAddr, bytes: usize, now: u64) -> Result<(), RefusalReason> {
        let (set, owner) = self.look_up(SourceKey::Ip(source));
        match self.way(set, owner, now) {
            Some(way) => self.limiter(&self.sets[set].buckets[way], bytes as u64, now),
            None => Ok(()),
        }
    }

    /// Gives a place back; also that of a process that was killed.
    pub fn leave(&self, number: u32) {
        let (set, way) = (number as usize / WAYS, number as usize % WAYS);
        let Some(set) = self.sets.get(set) else { return };
        let less = |word: u64| (word & OPEN > 0 && !is_taken(word)).then(|| word - 1);
        let _ = set.words[way].fetch_update(AcqRel, Acquire, less);
    }

    /// One more of a source, of so many bytes: over the rate it has to cool down.
    fn limiter(&self, buckets: &Buckets, bytes: u64, now: u64) -> Result<(), RefusalReason> {
        if now < buckets.cool_until.load(Relaxed) {
            return Err(RefusalReason::CoolDown);
        }
        let within = |limiter: &Option<RateLimiter>, bucket, count| {
            limiter.as_ref().is_none_or(|limiter| limiter.take(bucket, count, now))
        };
        if within(&self.count, &buckets.count, 1) && within(&self.bytes, &buckets.bytes, bytes) {
            return Ok(());
        }
        buckets.cool_until.store(now + self.cool_down, Relaxed);
        Err(RefusalReason::Rate)
    }

    /// Its set, and the bits that tell it from the others there.
    fn look_up(&self, source: SourceKey) -> (usize, u64) {
        let mut hasher = self.hash.build_hasher();
        match source {
            SourceKey::Ip(ip) => match plain(ip) {
                IpAddr::V4(ip) => hasher.write_u32(ip.to_bits()),
                IpAddr::V6(ip) => {
                    let kept = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                    hasher.write_u128(ip.to_bits() & kept);
                }
            },
            SourceKey::User(user) => hasher.write_u64(u64::from(user)),
        }
        let hash = hasher.finish();
        // Nobody's word is 0.
        (hash as usize % SETS, (hash & WHOSE).max(SEEN << 1))
    }

    /// The way of a source in its set; a new one is given a way if there is one to be had.
    fn way(&self, number: usize, owner: u64, mut now: u64) -> Option<usize> {
        let set = &self.sets[number];
        if let Some(way) = set.find(owner) {
            let word = set.words[way].load(Relaxed);
            if word & (WHOSE | SEEN) == owner && !is_taken(word) {
                // Whoever changes it at the same moment has seen it as well.
                let _ = set.words[way].compare_exchange(word, word | SEEN, Relaxed, Relaxed);
            }
            return Some(way);
        }
        loop {
            let given = set.locked(now, |ticket| {
                // Another one may have been quicker.
                if let Some(way) = set.find(owner) {
                    return Some(Some(way));
                }
                let Some(way) = set.vacate(ticket) else { return Some(None) };
                set.give(way, ticket, owner).then_some(Some(way))
            });
            match given {
                Some(way) => return way,
                // The lock was held for too long, and somebody else has it.
                None => now = clock::now(),
            }
        }
    }
}

impl SourceSet {
    fn find(&self, owner: u64) -> Option<usize> {
        let is_it = |word: u64| word & WHOSE == owner && !is_taken(word);
        self.words.iter().position(|word| is_it(word.load(Acquire)))
    }

    /// Takes a way from a source that has nothing open; who was seen again since the hand came by has a second chance. Only
    /// who holds the lock may call this.
    fn vacate(&self, ticket: u64) -> Option<usize> {
        // Left behind by somebody who was killed, or who is late: that one is not to use it any more.
        for word in &self.words {
            let left = word.load(SeqCst);
            if is_taken(left) {
                let _ = word.compare_exchange(left, 0, SeqCst, Relaxed);
            }
        }
        let mut hand = self.hand.load(Relaxed);
        let found = (0..2 * WAYS).find_map(|_| {
            let way = hand as usize % WAYS;
            hand = hand.wrapping_add(1);
            let word = &self.words[way];
            let seen = word.load(Acquire);
            if seen & OPEN > 0 {
                return None;
            }
            let free = seen & SEEN == 0;
            let next = if free { taken(ticket) } else { seen & !SEEN };
            let changed = word.compare_exchange(seen, next, SeqCst, Acquire).is_ok();
            (changed && free).then_some(way)
        });
        self.hand.store(hand, Relaxed);
        found
    }

    /// Gives a way that was taken with `ticket` to a source. False if the lock was lost meanwhile: whoever has it now either sees
    /// that the way is taken, and takes it back, or is seen here.
    fn give(&self, way: usize, ticket: u64, owner: u64) -> bool {
        let (word, taken) = (&self.words[way], taken(ticket));
        let Buckets { count, bytes, cool_until } = &self.buckets[way];
        let buckets = [count, bytes, cool_until].map(|bucket| (bucket, bucket.load(Acquire)));
        let next = if self.locked_until.load(SeqCst) == ticket { owner } else { 0 };
        if next == owner && word.load(SeqCst) == taken {
            // Only of the source that had it before.
            for (bucket, old) in buckets {
                let _ = bucket.compare_exchange(old, 0, Relaxed, Relaxed);
            }
        }
        word.compare_exchange(taken, next, SeqCst, Relaxed).is_ok() && next == owner
    }

    /// Does some `work` of a handful of instructions that one at a time may do, with a ticket that nobody else has.
    fn locked<T>(&self, mut now: u64, work: impl FnOnce(u64) -> T) -> T {
        let ticket = 'locked: loop {
            for _ in 0..100 {
                let (before, until) = (self.locked_until.load(Relaxed), now + LOCKED_AT_MOST);
                let free = before < now;
                if free && self.locked_until.compare_exchange(before, until, SeqCst, Relaxed).is_ok() {
                    break 'locked until;
                }
                spin_loop();
            }
            yield_now();
            now = clock::now();
        };
        let result = work(ticket);
        // If it took too long, somebody else has the lock by now.
        let _ = self.locked_until.compare_exchange(ticket, 0, SeqCst, Relaxed);
        result
    }
}

/// A connection that its source has open. Dropping it gives the place back.
pub struct SourceSlot {
    sources: Arc<SourceTable>,
    number: u32,
}

impl SourceSlot {
    /// What [`SourceTable::leave`] knows it by, for a process that may be killed.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for SourceSlot {
    fn drop(&mut self) {
        self.sources.leave(self.number);
    }
}

#[cfg(test)]
mod tests;
