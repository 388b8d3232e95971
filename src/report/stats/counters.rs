//! The status line that SIGUSR1 logs for a listener: its counters by name, then its refusals by reason.

use std::{fmt, sync::atomic::Ordering::Relaxed};

use super::{CloseKind, FaultKind, RefusalReason, Stats};

/// A counter of the status line.
pub struct Counter {
    /// Its name.
    pub word: &'static str,
    /// What it counts.
    pub about: &'static str,
    unit: &'static str,
    value: fn(&Stats) -> u64,
}

/// All counters, in the order of the status line. The reference of counters is generated from them.
pub const COUNTERS: [Counter; 20] = {
    const fn count(word: &'static str, value: fn(&Stats) -> u64, about: &'static str) -> Counter {
        Counter { word, about, unit: "", value }
    }
    const fn bytes(word: &'static str, value: fn(&Stats) -> u64, about: &'static str) -> Counter {
        Counter { word, about, unit: " bytes", value }
    }
    [
        count(
            "open",
            |stats| stats.open.load(Relaxed).into(),
            "connections that are open now, and datagrams that a thread or process of their own is answering",
        ),
        count("served", |stats| stats.served.load(Relaxed), "connections and datagrams that were let in"),
        bytes("received", |stats| stats.sum(|shard| &shard.received), "bytes from clients"),
        bytes("sent", |stats| stats.sum(|shard| &shard.sent), "bytes to clients"),
        count(
            "errors",
            |stats| stats.errors.load(Relaxed),
            "system calls that failed, and connections or datagrams lost to a fault of echod; the log says once a \
             minute why answers cannot be sent",
        ),
        count(
            "resets",
            |stats| stats.ended_by(CloseKind::PeerReset),
            "connections that the client reset, or left while there was more to send",
        ),
        count(
            "idle-timeout",
            |stats| stats.ended_by(CloseKind::IdleTimeout),
            "connections that were ended by `idle-timeout`",
        ),
        count(
            "max-lifetime",
            |stats| stats.ended_by(CloseKind::MaxLifetime),
            "connections that were ended by `max-lifetime`",
        ),
        count(
            "max-bytes",
            |stats| stats.ended_by(CloseKind::MaxBytes),
            "connections that were ended by `max-bytes`",
        ),
        count(
            "empty",
            |stats| stats.empty.load(Relaxed),
            "connections that ended without a byte in either direction, as health checks and port scans leave them",
        ),
        count(
            "died",
            |stats| stats.died.load(Relaxed).into(),
            "processes that ended without having been asked to, and services that panicked",
        ),
        count(
            "exhausted",
            |stats| stats.exhausted.load(Relaxed),
            "times that accepting paused because descriptors or memory had run out",
        ),
        count(
            "truncated",
            |stats| stats.truncated.load(Relaxed),
            "datagrams and records longer than 65,536 bytes (unix only): a datagram is dropped, a connection that keeps records apart ends",
        ),
        count(
            "dropped",
            |stats| stats.dropped.load(Relaxed),
            "answers dropped because the client's queue or the send buffer was full (see also `unread`)",
        ),
        count(
            "forbidden",
            |stats| stats.forbidden.load(Relaxed),
            "answers that a packet filter of this machine did not let out (EPERM, EACCES)",
        ),
        count(
            "unreachable",
            |stats| stats.unreachable.load(Relaxed),
            "answers to which no route leads (EHOSTUNREACH, ENETUNREACH)",
        ),
        count(
            "oversize",
            |stats| stats.oversize.load(Relaxed),
            "answers that were too long for their way (EMSGSIZE)",
        ),
        count(
            "undelivered",
            |stats| stats.undelivered.load(Relaxed),
            "udp: datagrams that the kernel dropped before echod saw them: refused by the socket filter, a full \
             receive buffer, or a wrong checksum; the kernel does not keep these apart",
        ),
        count(
            "offloaded",
            |stats| stats.offloaded.load(Relaxed),
            "udp: datagrams that the kernel has answered itself (`offload`); they are counted as served, too",
        ),
        count(
            "refused",
            Stats::all_refused,
            "connections and datagrams that were refused, for whatever reason",
        ),
    ]
};

impl Stats {
    /// Every counter by its name, then every reason for which something was refused, then every kind of fault on purpose.
    pub fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counters = COUNTERS.iter().map(|counter| (counter.word, (counter.value)(self)));
        let refused = self.reasons().map(|(reason, count)| (reason.word(), count));
        counters.chain(refused).chain(self.faults())
    }

    fn reasons(&self) -> impl Iterator<Item = (RefusalReason, u64)> {
        let refused = RefusalReason::ALL.map(|reason| (reason, self.refused(reason)));
        refused.into_iter().filter(|(_, count)| *count > 0)
    }

    /// The faults on purpose that have happened, under names that no counter or reason has.
    fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let injected = FaultKind::ALL.map(|fault| (fault.counter(), self.injected(fault)));
        injected.into_iter().filter(|(_, count)| *count > 0)
    }
}

/// The status line, as SIGUSR1 logs it.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Counter { word, unit, value, .. }) in COUNTERS.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{word} {}{unit}", value(self))?;
        }
        self.reasons().try_for_each(|(reason, count)| write!(f, ", {reason} {count}"))?;
        self.faults().try_for_each(|(fault, count)| write!(f, ", {fault} {count}"))
    }
}
