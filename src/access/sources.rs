//! What each source has open, and how fast it sends: a table of fixed size, in memory that all threads, loops and
//! forked processes of a listener share.
//!
//! The table is set-associative: a keyed hash maps a source to one of 8,192 sets of eight ways, so no client can choose
//! whose set it shares. A new source evicts one that has nothing open and was not seen lately (CLOCK eviction, a second
//! chance for each). So a million forged sources cost no memory and evict only each other. If every source of a set has
//! something open, a new source is under the limits of the listener alone.
//!
//! The identity of a source and its number of open connections are one atomic word: an increment cannot hit another
//! source, and an eviction cannot miss an open connection. Only a new source takes a lock, that of its set.

use std::{
    hash::{BuildHasher, Hasher},
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

use crate::{
    access::{
        memory::{KeyedHash, TableMemory},
        rate::RateLimiter,
    },
    config::{self, embedded::plain},
    report::refusal_reason::RefusalReason,
    sys::{
        clock,
        shared::{SharedArray, atomics},
    },
};

/// What is counted as one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKey {
    /// An address, or the network around it.
    Ip(IpAddr),
    /// A user of this machine, at the other end of a unix socket.
    User(u32),
}

const SETS: usize = 8192;
const WAYS: usize = 8;

/// The bits of a word: the number of open connections, whether the source was seen again, and its identity.
const OPEN: u64 = (1 << 20) - 1;
const SEEN: u64 = 1 << 20;
const IDENTITY: u64 = !(OPEN | SEEN);

/// The word of a way that the holder of the lock with this ticket is giving to another source: no source has it, and it
/// is not free.
fn taken(ticket: u64) -> u64 {
    ticket << IDENTITY.trailing_zeros() | OPEN
}

fn is_taken(word: u64) -> bool {
    word & OPEN == OPEN
}

/// In nanoseconds. A lock that is held for longer was left by a process that was killed, or its holder was descheduled.
/// That one notices when it runs again: the way that it had taken is no longer its own.
const LOCKED_AT_MOST: u64 = 10_000_000;

atomics! {
/// Eight sources. Their words share one cache line.
#[repr(C, align(64))]
struct SourceSet {
    words: [AtomicU64; WAYS],
    /// When the lock expires, in nanoseconds; 0 if it is free.
    locked_until: AtomicU64,
    /// The CLOCK hand: the way that is looked at next when one is needed.
    hand: AtomicU64,
    buckets: [Buckets; WAYS],
}
}

atomics! {
/// The rate buckets of a source.
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
    hash: KeyedHash,
    /// Bits of an IPv6 address that identify a source.
    prefix: u8,
    /// Connections that one source may have open; 0 for no limit.
    most: u32,
    count: Option<RateLimiter>,
    bytes: Option<RateLimiter>,
    /// The rates as they are configured, for those who ask.
    rates: config::SourceRate,
    cool_down: u64,
}

impl SourceTable {
    /// The table of a listener; `None` if nothing is limited by source.
    pub fn of(settings: &config::Listener, memory: &mut TableMemory<'_>) -> io::Result<Option<SourceTable>> {
        let config::SourceRate { count, bytes } = settings.rate_per_source;
        let most = settings.max_connections_per_source;
        if most == 0 && count.is_none() && bytes.is_none() {
            return Ok(None);
        }
        let limiter = |rate: Option<config::Rate>| rate.as_ref().map(RateLimiter::new);
        Ok(Some(SourceTable {
            sets: memory.array(SETS)?,
            hash: memory.hash(),
            prefix: settings.source_prefix,
            most,
            count: limiter(count),
            bytes: limiter(bytes),
            rates: settings.rate_per_source,
            cool_down: settings.cool_down.as_nanos() as u64,
        }))
    }

    /// Charges a connection at the time `now`. The slot of the source is released on drop.
    pub fn connect(
        self: &Arc<SourceTable>,
        source: SourceKey,
        now: u64,
    ) -> Result<Option<SourceSlot>, RefusalReason> {
        let mut charged = false;
        loop {
            let (set, owner) = self.look_up(source);
            let Some(way) = self.way(set, owner, now) else { return Ok(None) };
            if !charged {
                self.charge(&self.sets[set].buckets[way], 0, now)?;
                charged = true;
            }
            if self.most == 0 {
                return Ok(None);
            }
            let more = |word: u64| {
                let belongs = word & IDENTITY == owner && !is_taken(word);
                (belongs && word & OPEN < u64::from(self.most)).then(|| (word + 1) | SEEN)
            };
            match self.sets[set].words[way].fetch_update(AcqRel, Acquire, more) {
                Ok(_) => {
                    let number = (set * WAYS + way) as u32;
                    return Ok(Some(SourceSlot { sources: Arc::clone(self), number }));
                }
                Err(word) if word & IDENTITY == owner && !is_taken(word) => {
                    return Err(RefusalReason::SourceFull);
                }
                // Evicted meanwhile: the way belongs to another source now.
                Err(_) => {}
            }
        }
    }

    /// Charges a datagram of `bytes` bytes.
    pub fn datagram(&self, source: IpAddr, bytes: usize, now: u64) -> Result<(), RefusalReason> {
        let (set, owner) = self.look_up(SourceKey::Ip(source));
        match self.way(set, owner, now) {
            Some(way) => self.charge(&self.sets[set].buckets[way], bytes as u64, now),
            None => Ok(()),
        }
    }

    /// Releases a slot by its number; also that of a process that was killed.
    pub fn leave(&self, number: u32) {
        let (set, way) = (number as usize / WAYS, number as usize % WAYS);
        let Some(set) = self.sets.get(set) else { return };
        let less = |word: u64| (word & OPEN > 0 && !is_taken(word)).then(|| word - 1);
        let _ = set.words[way].fetch_update(AcqRel, Acquire, less);
    }

    /// Releases all slots, after all processes that had them have died.
    pub fn release_all(&self) {
        let none = |word: u64| match word & OPEN {
            0 => None,
            _ if is_taken(word) => Some(0),
            _ => Some(word & !OPEN),
        };
        for word in self.sets.iter().flat_map(|set| &set.words) {
            let _ = word.fetch_update(AcqRel, Acquire, none);
        }
    }

    /// Charges the rates of a source. Over a rate, the source has to cool down.
    fn charge(&self, buckets: &Buckets, bytes: u64, now: u64) -> Result<(), RefusalReason> {
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

    /// The set of a source, and its identity there.
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
        // A free way has word 0.
        (hash as usize % SETS, (hash & IDENTITY).max(SEEN << 1))
    }

    /// The way of a source in its set. A new source is given one, if one can be evicted.
    fn way(&self, number: usize, owner: u64, mut now: u64) -> Option<usize> {
        let set = &self.sets[number];
        if let Some(way) = set.find(owner) {
            let word = set.words[way].load(Relaxed);
            if word & (IDENTITY | SEEN) == owner && !is_taken(word) {
                // A thread that changes the word at the same moment has marked it as well.
                let _ = set.words[way].compare_exchange(word, word | SEEN, Relaxed, Relaxed);
            }
            return Some(way);
        }
        loop {
            let given = set.locked(now, |ticket| {
                // Another thread may have been faster.
                if let Some(way) = set.find(owner) {
                    return Some(Some(way));
                }
                let Some(way) = set.vacate(ticket) else { return Some(None) };
                set.give(way, ticket, owner).then_some(Some(way))
            });
            match given {
                Some(way) => return way,
                // The lock expired, and another thread has it.
                None => now = clock::now(),
            }
        }
    }
}

impl SourceSet {
    fn find(&self, owner: u64) -> Option<usize> {
        let is_it = |word: u64| word & IDENTITY == owner && !is_taken(word);
        self.words.iter().position(|word| is_it(word.load(Acquire)))
    }

    /// Takes a way from a source that has nothing open. A source that was seen again since the hand passed has a second
    /// chance. Only the holder of the lock may call this.
    fn vacate(&self, ticket: u64) -> Option<usize> {
        // Left by a holder that was killed or is late: a late one must not use the way any more.
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

    /// Gives a way that was taken with `ticket` to a source. False if the lock was lost meanwhile: its next holder
    /// either sees that the way is taken, and takes it back, or is seen here.
    fn give(&self, way: usize, ticket: u64, owner: u64) -> bool {
        let (word, taken) = (&self.words[way], taken(ticket));
        let Buckets { count, bytes, cool_until } = &self.buckets[way];
        let buckets = [count, bytes, cool_until].map(|bucket| (bucket, bucket.load(Acquire)));
        let next = if self.locked_until.load(SeqCst) == ticket { owner } else { 0 };
        if next == owner && word.load(SeqCst) == taken {
            // Only buckets of the evicted source: one that has changed since belongs to the next.
            for (bucket, old) in buckets {
                let _ = bucket.compare_exchange(old, 0, Relaxed, Relaxed);
            }
        }
        word.compare_exchange(taken, next, SeqCst, Relaxed).is_ok() && next == owner
    }

    /// Does some `work` of a few instructions under the lock of the set, with a ticket that no other holder has.
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
        // If that took too long, another thread has the lock by now.
        let _ = self.locked_until.compare_exchange(ticket, 0, SeqCst, Relaxed);
        result
    }
}

/// An open connection in the count of its source; dropping it decrements the count.
pub struct SourceSlot {
    sources: Arc<SourceTable>,
    number: u32,
}

impl SourceSlot {
    /// The number that [`SourceTable::leave`] takes, for a process that may be killed.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for SourceSlot {
    fn drop(&mut self) {
        self.sources.leave(self.number);
    }
}

mod look;

#[cfg(test)]
mod tests;
