//! What is remembered of peers that were answered: how many times in a row, and whether they wanted it.
//!
//! **The loop breaker.** Two servers that answer each other conserve their datagrams: each one received causes one to
//! be sent. So a single withheld answer removes a circulating datagram for good. No other client is harmed by the loss
//! of one answer in many thousands.
//!
//! **Victims.** A host that receives answers it never asked for replies with an ICMP port unreachable. It counts only
//! if that host was answered a moment ago, so that forged ICMP messages alone silence no client.

use std::{
    hash::BuildHasher,
    io,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{
    kernel::KernelPeers,
    table::{CounterEntry, CounterTable, REPLACEABLE},
};
use crate::{
    access::{
        memory::{KeyedHash, TableMemory},
        state::{Level, PeerState},
    },
    report::refusal_reason::RefusalReason,
    sys::shared::SharedArray,
};

/// Sets of four entries: 65,536 sources, a megabyte at most.
const SETS: usize = 16_384;
/// Sets of four entries for port unreachables.
const UNREACHABLE_SETS: usize = 1024;

/// In milliseconds, as all below. A pause of this length ends a run.
const PAUSE: u32 = 1000;
/// A port unreachable counts only for a peer that was answered within this time.
const ANSWERED: u32 = 5000;
/// Port unreachables within this time are counted together.
const WINDOW: u32 = 1000;
/// So many of them silence one address and port,
const ENOUGH: u32 = 3;
/// for this long.
const SILENCE: u32 = 60_000;
/// If so many ports of an address are silenced within that time, the whole address is.
const PORTS: u32 = 10;

/// The number of an entry that is silenced.
const SILENT: u32 = REPLACEABLE + 1;

/// All that is remembered for one listener; threads and forked processes share it.
pub(super) struct Peers {
    hasher: KeyedHash,
    answered: CounterTable,
    unreachables: CounterTable,
    /// When the last of the addresses that are silenced as a whole may be answered again, in milliseconds; 0 if there
    /// is none.
    addresses_until: SharedArray<AtomicU64>,
}

impl Peers {
    /// Tables without entries.
    pub(super) fn new(memory: &mut TableMemory<'_>) -> io::Result<Peers> {
        Ok(Peers {
            hasher: memory.hash(),
            answered: CounterTable::new(memory.array(SETS)?, ANSWERED, SILENCE),
            unreachables: CounterTable::new(memory.array(UNREACHABLE_SETS)?, SILENCE, SILENCE),
            addresses_until: memory.array(1)?,
        })
    }

    /// Whether `address` and `port` may be answered at `now`, in nanoseconds. In a run every `breaker`-th answer is
    /// withheld; 0 withholds none.
    pub(super) fn answer(
        &self,
        address: IpAddr,
        port: u16,
        now: u64,
        breaker: u32,
    ) -> Result<(), RefusalReason> {
        let millis = millis(now);
        if self.is_silenced_as_a_whole(address, now) {
            return Err(RefusalReason::Victim);
        }
        let most = if breaker == 0 { REPLACEABLE } else { breaker };
        let mut withheld = false;
        let entry = self.answered.change(self.key(address, Some(port)), millis, |entry| {
            withheld = false;
            let Some(entry) = entry else { return CounterEntry { changed_at: millis, number: 1 } };
            let age = entry.age(millis);
            if entry.number == SILENT && age < SILENCE {
                return entry;
            }
            let run = if age >= PAUSE || entry.number == SILENT { 1 } else { entry.number + 1 };
            withheld = run >= most;
            CounterEntry { changed_at: millis, number: if withheld { 0 } else { run } }
        });
        match entry {
            Some(CounterEntry { number: SILENT, .. }) => Err(RefusalReason::Victim),
            _ if withheld && breaker > 0 => Err(RefusalReason::LoopBreaker),
            _ => Ok(()),
        }
    }

    /// Counts a port unreachable from `address` about `port`. True if they are silenced from now on, in the `kernel` too.
    pub(super) fn on_port_unreachable(
        &self,
        address: IpAddr,
        port: u16,
        now: u64,
        kernel: Option<&dyn KernelPeers>,
    ) -> bool {
        let (millis, key) = (millis(now), self.key(address, Some(port)));
        let entry = self.answered.get(key);
        if entry.is_some_and(|entry| entry.number == SILENT && entry.age(millis) < SILENCE) {
            return false;
        }
        let was_answered = |entry: CounterEntry| entry.number != SILENT && entry.age(millis) <= ANSWERED;
        let by_the_kernel = || {
            let run = kernel.and_then(|kernel| kernel.run(address, port));
            run.is_some_and(|run| now.saturating_sub(run.last) <= u64::from(ANSWERED) * MILLI)
        };
        if !entry.is_some_and(was_answered) && !by_the_kernel() {
            return false;
        }
        if self.count(key, millis, WINDOW) < ENOUGH {
            return false;
        }
        let silent = CounterEntry { changed_at: millis, number: SILENT };
        self.answered.change(key, millis, |_| silent);
        let until = now + u64::from(SILENCE) * MILLI;
        kernel.inspect(|kernel| kernel.silence(address, Some(port), until));
        let whole = self.key(address, None);
        if self.count(whole, millis, SILENCE) >= PORTS {
            self.answered.change(whole, millis, |_| silent);
            self.addresses_until[0].store(now / MILLI + u64::from(SILENCE), Relaxed);
            kernel.inspect(|kernel| kernel.silence(address, None, until));
        }
        true
    }

    /// What is remembered of a peer. Looking changes nothing.
    pub(super) fn look(
        &self,
        address: IpAddr,
        port: Option<u16>,
        now: u64,
        breaker: u32,
        kernel: Option<&dyn KernelPeers>,
    ) -> PeerState {
        let entry = |port| self.answered.get(self.key(address, port));
        let silent = |entry: &CounterEntry| {
            let age = entry.age(millis(now));
            (entry.number == SILENT && age < SILENCE).then(|| f64::from(SILENCE - age) / 1000.0)
        };
        let of_address = entry(None).filter(|_| self.is_silenced_as_a_whole(address, now));
        let of_port = port.and_then(|port| entry(Some(port)));
        let victim = [of_address, of_port].iter().flatten().filter_map(silent).reduce(f64::max);
        let run = |entry: CounterEntry| {
            let runs = entry.number < REPLACEABLE && entry.age(millis(now)) < PAUSE;
            if runs { entry.number } else { 0 }
        };
        let by_the_kernel = |port| {
            let run = kernel.and_then(|kernel| kernel.run(address, port));
            run.filter(|run| now.saturating_sub(run.last) < u64::from(PAUSE) * MILLI)
                .map_or(0, |run| run.answers)
        };
        let run = port.filter(|_| breaker > 0).map(|port| Level {
            now: u64::from(of_port.map_or(0, run)).max(by_the_kernel(port)),
            of: breaker.into(),
        });
        PeerState { victim, run, trusted: false }
    }

    /// Counts a port unreachable; a count that began longer than `window` ago starts again.
    fn count(&self, key: u64, millis: u32, window: u32) -> u32 {
        let counted = self.unreachables.change(key, millis, |entry| match entry {
            Some(entry) if entry.age(millis) < window => CounterEntry { number: entry.number + 1, ..entry },
            _ => CounterEntry { changed_at: millis, number: 1 },
        });
        counted.map_or(0, |entry| entry.number)
    }

    fn is_silenced_as_a_whole(&self, address: IpAddr, now: u64) -> bool {
        // Nearly always no address is silenced, and nothing has to be looked up.
        now / MILLI < self.addresses_until[0].load(Relaxed)
            && self
                .answered
                .get(self.key(address, None))
                .is_some_and(|entry| entry.number == SILENT && entry.age(millis(now)) < SILENCE)
    }

    /// Never 0, which marks a free entry.
    fn key(&self, address: IpAddr, port: Option<u16>) -> u64 {
        let bits = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        // Two numbers are hashed faster than the parts of an address.
        self.hasher.hash_one((bits, port.map_or(u32::MAX, u32::from))).max(1)
    }
}

const MILLI: u64 = 1_000_000;

/// The clock of the tables: milliseconds, which wrap after 49 days.
fn millis(now: u64) -> u32 {
    (now / MILLI) as u32
}

#[cfg(test)]
mod tests;
