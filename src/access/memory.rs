//! Where the tables of a listener are: in the memory of its counters, behind these. Every process that has the counters
//! has the same tables, and finds a source by the same hash: the processes that serve, and the supervisor that looks.

use std::{
    hash::{BuildHasher, DefaultHasher, Hasher, RandomState},
    io,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use crate::{
    report::stats::Stats,
    sys::shared::{ArraysBehind, Atomics, Shared, SharedArray},
};

/// The memory for the tables of one listener. All processes take the same tables in the same order.
pub struct TableMemory<'a> {
    arrays: ArraysBehind<'a>,
    hash: KeyedHash,
}

impl<'a> TableMemory<'a> {
    /// The memory behind these counters. The first process draws the key of the hashes.
    pub fn of(stats: &'a Shared<Stats>) -> TableMemory<'a> {
        let drawn = |word: &AtomicU64| {
            let fresh = RandomState::new().hash_one(0).max(1);
            word.compare_exchange(0, fresh, SeqCst, SeqCst).map_or_else(|there| there, |_| fresh)
        };
        let [first, second] = &stats.table_seed;
        TableMemory { arrays: stats.arrays(), hash: KeyedHash::new([drawn(first), drawn(second)]) }
    }

    /// The next table, of `count` elements.
    pub fn array<T: Atomics>(&mut self, count: usize) -> io::Result<SharedArray<T>> {
        self.arrays.next(count)
    }

    /// The hash of the tables.
    pub fn hash(&self) -> KeyedHash {
        self.hash.clone()
    }
}

/// A hash with a secret key, so that no client can choose what it collides with. [`RandomState`] cannot be given a key
/// that another process has; this one is SipHash as well, in the state after the key.
#[derive(Clone)]
pub struct KeyedHash(DefaultHasher);

impl KeyedHash {
    fn new(key: [u64; 2]) -> KeyedHash {
        let mut state = DefaultHasher::new();
        key.iter().for_each(|&word| state.write_u64(word));
        KeyedHash(state)
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = DefaultHasher;

    #[inline]
    fn build_hasher(&self) -> DefaultHasher {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn processes_that_share_the_counters_share_the_hash_and_others_do_not() {
        let ours = Shared::<Stats>::new().unwrap();
        let theirs = Shared::<Stats>::open(ours.as_fd().try_clone_to_owned().unwrap()).unwrap();
        let other = Shared::<Stats>::new().unwrap();
        let hashed = |stats| TableMemory::of(stats).hash().hash_one(7);
        assert_eq!(hashed(&ours), hashed(&theirs));
        assert_eq!(hashed(&ours), hashed(&ours));
        assert_ne!(hashed(&ours), hashed(&other));
    }
}
