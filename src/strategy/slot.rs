//! What a forked child tells its parent about the connection it served: in memory that both see.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use nix::sys::wait::WaitStatus;

use crate::{conversation::Report, end::End, sys::shared::atomics};

atomics! {
/// What a child tells its parent about the connection it served.
#[repr(C)]
pub(super) struct Slot {
    received: AtomicU64,
    sent: AtomicU64,
    end: AtomicU64,
}
}

impl Slot {
    pub(super) fn clear(&self) {
        self.end.store(0, Relaxed);
    }

    pub(super) fn tell(&self, report: Report) {
        self.received.store(report.received, Relaxed);
        self.sent.store(report.sent, Relaxed);
        let end = match report.end {
            End::PeerClosed => 1,
            End::ServiceClosed => 2,
            End::Stopped => 3,
            End::PeerReset => 4,
            End::Panicked => 5,
            End::IdleTimeout => 7,
            End::MaxLifetime => 8,
            End::MaxBytes => 9,
            End::Failed(errno) => 6 | u64::from(errno.unsigned_abs()) << 32,
            End::Killed(_) | End::Vanished => 0,
        };
        self.end.store(end, Release);
    }

    pub(super) fn told(&self, status: WaitStatus) -> Report {
        let end = self.end.load(Acquire);
        let end = match (status, end & 0xff) {
            (WaitStatus::Signaled(_, signal, _), _) => End::Killed(signal as i32),
            (_, 1) => End::PeerClosed,
            (_, 2) => End::ServiceClosed,
            (_, 3) => End::Stopped,
            (_, 4) => End::PeerReset,
            (_, 5) => End::Panicked,
            (_, 6) => End::Failed((end >> 32) as i32),
            (_, 7) => End::IdleTimeout,
            (_, 8) => End::MaxLifetime,
            (_, 9) => End::MaxBytes,
            _ => End::Vanished,
        };
        Report { received: self.received.load(Relaxed), sent: self.sent.load(Relaxed), end }
    }
}
