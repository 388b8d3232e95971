//! What the echo in the kernel has counted for a listener (`offload`).

use std::sync::atomic::Ordering::Relaxed;

use super::{RefusalReason, Stats};

/// Why the echo in the kernel leaves a datagram to the socket, which decides about it: a word, and what it says.
pub const HANDED_ON: [(&str, &str); 5] = [
    ("unusual", "it has a traffic class, no checksum, or lengths or a header checksum that do not fit"),
    ("source-address", "its source is an address that the kernel might not have let in"),
    ("source-port", "its source port is one that is not answered, or seldom, or one of echod's own"),
    ("rules", "its source is not in `allow`, or in `deny`"),
    ("victim", "its source refuses our answers"),
];

/// What was counted since some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloaded {
    /// Datagrams answered.
    pub answered: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Answers that the loop breaker has withheld.
    pub withheld: u64,
    /// Datagrams left to the socket, by [`HANDED_ON`].
    pub handed_on: [u64; HANDED_ON.len()],
}

impl Stats {
    /// Counts what the kernel has done: as if the socket had done it, and apart.
    pub fn count_offloaded(&self, more: &Offloaded) {
        let Offloaded { answered, bytes, withheld, handed_on } = more;
        self.served.fetch_add(*answered, Relaxed);
        self.offloaded.fetch_add(*answered, Relaxed);
        self.shard().received.fetch_add(*bytes, Relaxed);
        self.sent(*bytes);
        self.refuse(RefusalReason::LoopBreaker, *withheld);
        for (sum, more) in self.handed_on.iter().zip(handed_on) {
            sum.fetch_add(*more, Relaxed);
        }
    }

    /// How many datagrams the echo in the kernel has left to the socket, by the words of [`HANDED_ON`].
    pub fn handed_on(&self) -> impl Iterator<Item = (&'static str, u64)> {
        HANDED_ON.iter().zip(&self.handed_on).map(|((word, _), count)| (*word, count.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::shared::Shared;

    #[test]
    fn the_kernel_counts_as_the_socket_does() {
        let stats = Shared::<Stats>::new().unwrap();
        let once = Offloaded { answered: 3, bytes: 30, withheld: 1, handed_on: [1, 2, 3, 4, 5] };
        stats.count_offloaded(&once);
        stats.count_offloaded(&once);
        let totals = stats.totals();
        assert_eq!((totals.served, totals.offloaded, totals.received, totals.sent), (6, 6, 60, 60));
        assert_eq!(totals.refused["loop-breaker"], 2);
        let handed_on: Vec<_> =
            totals.handed_on.iter().map(|(word, count)| (word.as_ref(), *count)).collect();
        assert_eq!(
            handed_on,
            [("rules", 8), ("source-address", 4), ("source-port", 6), ("unusual", 2), ("victim", 10)]
        );
    }
}
