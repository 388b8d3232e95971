//! May one more in? A [`Permit`] says yes, and gives the place back when it is dropped.
//!
//! The permit comes before accept(2): at the limit the listener is not looked at, and clients wait in its backlog.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU32,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::{
    stats::Stats,
    sys::shared::{Shared, Slots},
};

/// The gate of one listener.
pub struct Gate {
    most: u32,
    /// `max-requests`; 0 means no limit.
    requests: u64,
    stats: Arc<Shared<Stats>>,
    state: Mutex<State>,
    changed: Condvar,
    /// Readable for good once the gate is closed: wakes whoever polls, in every process that shares it.
    closed: OwnedFd,
    /// In a pool of processes: how many each has open, so that its parent can take them back if it dies.
    busy: Option<(Arc<Slots<AtomicU32>>, usize)>,
}

#[derive(Default)]
struct State {
    inside: u32,
    closed: bool,
}

impl Gate {
    /// A gate that lets `most` in at once, and `requests` in all (0 for any number).
    pub fn new(most: u32, requests: u64, stats: Arc<Shared<Stats>>) -> io::Result<Gate> {
        let closed = OwnedFd::from(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        // What a process that died had claimed is free again.
        stats.claimed.store(stats.taken.load(Acquire), Release);
        let gate = Gate {
            most,
            requests,
            stats,
            state: Mutex::default(),
            changed: Condvar::new(),
            closed,
            busy: None,
        };
        gate.settle(0, 0);
        Ok(gate)
    }

    /// The same gate as a forked pool process passes it: one at a time, told in `busy[worker]`.
    pub fn of_worker(&self, busy: Arc<Slots<AtomicU32>>, worker: usize) -> io::Result<Gate> {
        let closed = self.closed.as_fd().try_clone_to_owned()?;
        Ok(Gate {
            most: 1,
            requests: self.requests,
            stats: Arc::clone(&self.stats),
            state: Mutex::default(),
            changed: Condvar::new(),
            closed,
            busy: Some((busy, worker)),
        })
    }

    /// Waits for a place. `None` once the gate is closed and all places are taken.
    pub fn enter(self: &Arc<Gate>) -> Option<Permit> {
        let mut state = self.lock();
        while state.inside >= self.most {
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.inside += 1;
        drop(state);
        Some(Permit { gate: Arc::clone(self), open: false })
    }

    /// Takes a place if there is one now.
    pub fn try_enter(self: &Arc<Gate>) -> Option<Permit> {
        let mut state = self.lock();
        if state.inside >= self.most {
            return None;
        }
        state.inside += 1;
        Some(Permit { gate: Arc::clone(self), open: false })
    }

    /// Waits until somebody leaves or the gate is closed, at most `time`.
    pub fn rest(&self, time: Duration) {
        let state = self.lock();
        if !state.closed {
            drop(self.changed.wait_timeout(state, time));
        }
    }

    /// Lets nobody in any more, except who has already come: [`Gate::closed`] becomes readable for good.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
        // It can fail only if it was written 2^64 - 2 times.
        let _ = nix::unistd::write(&self.closed, &1u64.to_ne_bytes());
    }

    /// Whether nobody is let in any more.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// A descriptor that becomes readable when the gate is closed.
    pub fn closed(&self) -> BorrowedFd<'_> {
        self.closed.as_fd()
    }

    /// Whether requests are counted, so that each must be claimed before it is taken.
    pub fn counts_requests(&self) -> bool {
        self.requests > 0
    }

    /// Whether `max-requests` were taken.
    pub fn is_exhausted(&self) -> bool {
        self.requests > 0 && self.stats.taken.load(Acquire) >= self.requests
    }

    /// Claims up to `wanted` requests of `max-requests`, before they are received. What was claimed is to be settled.
    pub fn claim(&self, wanted: usize) -> usize {
        if self.requests == 0 {
            return wanted;
        }
        let mut claimed = 0;
        let _ = self.stats.claimed.fetch_update(AcqRel, Acquire, |before| {
            claimed = self.requests.saturating_sub(before).min(wanted as u64);
            Some(before + claimed)
        });
        claimed as usize
    }

    /// Of `claimed` requests, `taken` have come. Closes the gate when these were the last.
    pub fn settle(&self, claimed: usize, taken: usize) {
        if self.requests == 0 {
            return;
        }
        self.stats.taken.fetch_add(taken as u64, AcqRel);
        self.stats.claimed.fetch_sub(claimed.saturating_sub(taken) as u64, AcqRel);
        if self.is_exhausted() {
            self.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place inside.
pub struct Permit {
    gate: Arc<Gate>,
    open: bool,
}

impl Permit {
    /// Counts what came in with this permit as open.
    pub fn open(&mut self) {
        self.open = true;
        self.gate.stats.open.fetch_add(1, Relaxed);
        if let Some((busy, worker)) = &self.gate.busy {
            busy[*worker].fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.open {
            if let Some((busy, worker)) = &self.gate.busy {
                busy[*worker].fetch_sub(1, Relaxed);
            }
            self.gate.stats.open.fetch_sub(1, Relaxed);
        }
        self.gate.lock().inside -= 1;
        self.gate.changed.notify_one();
    }
}
