//! What a child reports to its parent about the connection it served, in shared memory.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::Duration,
};

use nix::sys::wait::WaitStatus;

use crate::{
    access::sources::SourceSlot,
    report::{close_reason::CloseReason, fault_kind::FaultKind, refusal_reason::RefusalReason},
    stream::blocking::ConnectionSummary,
    sys::{credentials::PeerProcess, shared::atomics},
};

atomics! {
/// What a child reports about the connection it served.
#[repr(C)]
pub(super) struct ChildReport {
    received: AtomicU64,
    sent: AtomicU64,
    end: AtomicU64,
    /// One more than the number of its [`SourceSlot`]; 0 for none.
    source_slot: AtomicU32,
    proxied_source: ProxiedSource,
    /// User id of the client's process, and its process id plus one; 0 for none.
    process: AtomicU64,
    /// Nanoseconds.
    lasted: AtomicU64,
    lingered: AtomicU64,
}
}

atomics! {
/// The source that a PROXY header named: an IPv6 address (IPv4 as mapped) and a port.
#[repr(C)]
struct ProxiedSource {
    high: AtomicU64,
    low: AtomicU64,
    /// The port plus one; 0 for none.
    port: AtomicU64,
}
}

impl ProxiedSource {
    fn store(&self, proxied_source: Option<SocketAddr>) {
        let bits = match proxied_source.as_ref().map(SocketAddr::ip) {
            Some(IpAddr::V4(ip)) => ip.to_ipv6_mapped().to_bits(),
            Some(IpAddr::V6(ip)) => ip.to_bits(),
            None => 0,
        };
        self.high.store((bits >> 64) as u64, Relaxed);
        self.low.store(bits as u64, Relaxed);
        self.port.store(proxied_source.map_or(0, |address| u64::from(address.port()) + 1), Relaxed);
    }

    fn load(&self) -> Option<SocketAddr> {
        let port = self.port.load(Relaxed).checked_sub(1)?;
        let bits = u128::from(self.high.load(Relaxed)) << 64 | u128::from(self.low.load(Relaxed));
        Some(SocketAddr::new(Ipv6Addr::from_bits(bits).to_canonical(), port as u16))
    }
}

impl ChildReport {
    pub(super) fn clear(&self) {
        for slot in [&self.end, &self.received, &self.sent, &self.lasted, &self.lingered] {
            slot.store(0, Relaxed);
        }
        self.proxied_source.store(None);
        self.process.store(0, Relaxed);
    }

    /// Leaves a source slot to the process that releases it first: the child, or the parent if the child is killed.
    pub(super) fn hold(&self, source_slot: SourceSlot) {
        self.source_slot.store(source_slot.number() + 1, Relaxed);
        std::mem::forget(source_slot);
    }

    /// Notes the source slot that the child will hold once it runs.
    pub(super) fn offer(&self, source_slot: Option<&SourceSlot>) {
        self.source_slot.store(source_slot.map_or(0, |source_slot| source_slot.number() + 1), Relaxed);
    }

    /// The source slot that the child holds, for
    /// [`Access::release_source`](crate::access::checks::Access::release_source).
    pub(super) fn source_slot(&self) -> &AtomicU32 {
        &self.source_slot
    }

    pub(super) fn store(&self, report: ConnectionSummary) {
        self.received.store(report.received, Relaxed);
        self.sent.store(report.sent, Relaxed);
        self.proxied_source.store(report.proxied_source);
        let process = report.process.map_or(0, |p| u64::from(p.user) << 32 | (u64::from(p.pid) + 1));
        self.process.store(process, Relaxed);
        for (slot, time) in [(&self.lasted, report.lasted), (&self.lingered, report.lingered)] {
            slot.store(time.as_nanos() as u64, Relaxed);
        }
        let end = match report.end {
            CloseReason::PeerClosed => 1,
            CloseReason::ServiceClosed => 2,
            CloseReason::Stopped => 3,
            CloseReason::PeerReset => 4,
            CloseReason::Panicked => 5,
            CloseReason::IdleTimeout => 7,
            CloseReason::MaxLifetime => 8,
            CloseReason::MaxBytes => 9,
            CloseReason::DrainTimeout => 11,
            CloseReason::LongRecord => 13,
            CloseReason::Refused(reason) => 10 | (reason as u64) << 32,
            CloseReason::OnPurpose(fault) => 12 | (fault as u64) << 32,
            CloseReason::Io(errno) => 6 | u64::from(errno.unsigned_abs()) << 32,
            CloseReason::LoopFailed | CloseReason::Killed(_) | CloseReason::ChildExited => 0,
        };
        self.end.store(end, Release);
    }

    /// Whether the child has stored its report.
    pub(super) fn is_stored(&self) -> bool {
        self.end.load(Acquire) != 0
    }

    pub(super) fn load(&self, status: WaitStatus) -> ConnectionSummary {
        let end = self.end.load(Acquire);
        let end = match (status, end & 0xff) {
            (WaitStatus::Signaled(_, signal, _), _) => CloseReason::Killed(signal as i32),
            (_, 1) => CloseReason::PeerClosed,
            (_, 2) => CloseReason::ServiceClosed,
            (_, 3) => CloseReason::Stopped,
            (_, 4) => CloseReason::PeerReset,
            (_, 5) => CloseReason::Panicked,
            (_, 6) => CloseReason::Io((end >> 32) as i32),
            (_, 7) => CloseReason::IdleTimeout,
            (_, 8) => CloseReason::MaxLifetime,
            (_, 9) => CloseReason::MaxBytes,
            (_, 11) => CloseReason::DrainTimeout,
            (_, 13) => CloseReason::LongRecord,
            (_, 10) => RefusalReason::ALL
                .get((end >> 32) as usize)
                .map_or(CloseReason::ChildExited, |reason| CloseReason::Refused(*reason)),
            (_, 12) => FaultKind::ALL
                .get((end >> 32) as usize)
                .map_or(CloseReason::ChildExited, |fault| CloseReason::OnPurpose(*fault)),
            _ => CloseReason::ChildExited,
        };
        let (received, sent) = (self.received.load(Relaxed), self.sent.load(Relaxed));
        let process = self.process.load(Relaxed);
        let pid = (process as u32).checked_sub(1);
        let process = pid.map(|pid| PeerProcess { pid, user: (process >> 32) as u32 });
        let [lasted, lingered] =
            [&self.lasted, &self.lingered].map(|slot| Duration::from_nanos(slot.load(Relaxed)));
        ConnectionSummary {
            received,
            sent,
            end,
            proxied_source: self.proxied_source.load(),
            process,
            lasted,
            lingered,
        }
    }
}
