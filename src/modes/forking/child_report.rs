//! What a forked child tells its parent about the connection it served: in memory that both see.

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
    report::{close_reason::CloseReason, refusal_reason::RefusalReason},
    stream::blocking::ConnectionSummary,
    sys::{credentials::PeerProcess, shared::atomics},
};

atomics! {
/// What a child tells its parent about the connection it served.
#[repr(C)]
pub(super) struct ChildReport {
    received: AtomicU64,
    sent: AtomicU64,
    end: AtomicU64,
    /// One more than the number of the place that it took of its source's.
    place: AtomicU32,
    proxied_source: ProxiedSource,
    /// The user of the client's process, and one more than its id.
    process: AtomicU64,
    /// Nanoseconds.
    lasted: AtomicU64,
    lingered: AtomicU64,
}
}

atomics! {
/// Whom a proxy spoke for: an IPv6 address, perhaps one that stands for IPv4, and a port.
#[repr(C)]
struct ProxiedSource {
    high: AtomicU64,
    low: AtomicU64,
    /// One more than the port; 0 if there is none.
    port: AtomicU64,
}
}

impl ProxiedSource {
    fn tell(&self, proxied_source: Option<SocketAddr>) {
        let bits = match proxied_source.as_ref().map(SocketAddr::ip) {
            Some(IpAddr::V4(ip)) => ip.to_ipv6_mapped().to_bits(),
            Some(IpAddr::V6(ip)) => ip.to_bits(),
            None => 0,
        };
        self.high.store((bits >> 64) as u64, Relaxed);
        self.low.store(bits as u64, Relaxed);
        self.port.store(proxied_source.map_or(0, |address| u64::from(address.port()) + 1), Relaxed);
    }

    fn told(&self) -> Option<SocketAddr> {
        let port = self.port.load(Relaxed).checked_sub(1)?;
        let bits = u128::from(self.high.load(Relaxed)) << 64 | u128::from(self.low.load(Relaxed));
        Some(SocketAddr::new(Ipv6Addr::from_bits(bits).to_canonical(), port as u16))
    }
}

impl ChildReport {
    pub(super) fn clear(&self) {
        self.end.store(0, Relaxed);
        self.proxied_source.tell(None);
        self.process.store(0, Relaxed);
    }

    /// Leaves a place to whoever takes it back first: the child, or its parent if the child is killed.
    pub(super) fn hold(&self, place: SourceSlot) {
        self.place.store(place.number() + 1, Relaxed);
        std::mem::forget(place);
    }

    /// Notes a place that is held once the child runs.
    pub(super) fn offer(&self, place: Option<&SourceSlot>) {
        self.place.store(place.map_or(0, |place| place.number() + 1), Relaxed);
    }

    /// Where the child told of the place that it took, for [`ListenerContext::release_source`](crate::serve::context::Duty::take_back).
    pub(super) fn place(&self) -> &AtomicU32 {
        &self.place
    }

    pub(super) fn tell(&self, report: ConnectionSummary) {
        self.received.store(report.received, Relaxed);
        self.sent.store(report.sent, Relaxed);
        self.proxied_source.tell(report.proxied_source);
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
            CloseReason::Refused(reason) => 10 | (reason as u64) << 32,
            CloseReason::Io(errno) => 6 | u64::from(errno.unsigned_abs()) << 32,
            CloseReason::LoopFailed | CloseReason::Killed(_) | CloseReason::ChildExited => 0,
        };
        self.end.store(end, Release);
    }

    /// Whether the child has told of the end.
    pub(super) fn has_told(&self) -> bool {
        self.end.load(Acquire) != 0
    }

    pub(super) fn told(&self, status: WaitStatus) -> ConnectionSummary {
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
            (_, 10) => RefusalReason::ALL
                .get((end >> 32) as usize)
                .map_or(CloseReason::ChildExited, |reason| CloseReason::Refused(*reason)),
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
            proxied_source: self.proxied_source.told(),
            process,
            lasted,
            lingered,
        }
    }
}
