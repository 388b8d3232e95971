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
            Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
        },
    },
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::access::sources::SourceSlot;
pub use crate::access::waker::Waker;
use crate::access::waker::{event, is_readable, tell};
use crate::{
    report::stats::Stats,
    sys::shared::{Shared, SharedArray, atomics},
};

/// The gate of one listener.
pub struct ConnectionSlots {
    most: u32,
    /// `max-requests`; 0 means no limit.
    requests: u64,
    stats: Arc<Shared<Stats>>,
    state: Mutex<State>,
    /// Tells those who wait for a place that there is one, or that the gate is closed.
    changed: Condvar,
    /// Readable for good once the gate is closed: wakes whoever polls, in every process that shares it.
    closed: OwnedFd,
    /// Readable for good once what is inside is to end.
    stopped: OwnedFd,
    /// 1 once another generation has the sockets, for every process that shares the gate.
    handed: Arc<SharedArray<AtomicU32>>,
    /// In a pool of processes: what each has open, so that its parent can take that back if it dies.
    busy: Option<(Arc<SharedArray<PoolProcess>>, usize)>,
}

atomics! {
/// What a process of a pool has open.
#[repr(C)]
pub struct PoolProcess {
    /// How many connections: one or none.
    pub open: AtomicU32,
    /// The number of its [`SourceSlot`] and one more, or 0.
    pub place: AtomicU32,
}
}

#[derive(Default)]
struct State {
    inside: u32,
    /// Threads that wait for a place: to wake them is a system call, even where there is nobody.
    sleeping: u32,
    /// Event loops that wait until somebody leaves.
    waiting: Vec<Waker>,
    closed: bool,
}

impl ConnectionSlots {
    /// A gate that lets `most` in at once, and `requests` in all (0 for any number).
    pub fn new(most: u32, requests: u64, stats: Arc<Shared<Stats>>) -> io::Result<ConnectionSlots> {
        // What a process that died had claimed is free again.
        stats.claimed.store(stats.taken.load(Acquire), Release);
        let slots = ConnectionSlots {
            most,
            requests,
            stats,
            state: Mutex::default(),
            changed: Condvar::new(),
            closed: event()?,
            stopped: event()?,
            handed: Arc::new(SharedArray::new(1)?),
            busy: None,
        };
        slots.commit(0, 0);
        Ok(slots)
    }

    /// The same gate as a forked pool process passes it: one at a time, told in `busy[worker]`.
    pub fn of_worker(
        &self,
        busy: Arc<SharedArray<PoolProcess>>,
        worker: usize,
    ) -> io::Result<ConnectionSlots> {
        Ok(ConnectionSlots {
            most: 1,
            requests: self.requests,
            stats: Arc::clone(&self.stats),
            state: Mutex::default(),
            changed: Condvar::new(),
            closed: self.closed.try_clone()?,
            stopped: self.stopped.try_clone()?,
            handed: Arc::clone(&self.handed),
            busy: Some((busy, worker)),
        })
    }

    /// Waits for a place. `None` once the gate is closed and all places are taken.
    pub fn acquire(self: &Arc<ConnectionSlots>) -> Option<Permit> {
        let mut state = self.lock();
        while state.inside >= self.most {
            if state.closed {
                return None;
            }
            state.sleeping += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.sleeping -= 1;
        }
        state.inside += 1;
        drop(state);
        Some(Permit { slots: Arc::clone(self), open: false, place: None })
    }

    /// Takes a place if there is one now.
    pub fn try_acquire(self: &Arc<ConnectionSlots>) -> Option<Permit> {
        let mut state = self.lock();
        if state.inside >= self.most {
            return None;
        }
        state.inside += 1;
        Some(Permit { slots: Arc::clone(self), open: false, place: None })
    }

    /// A place even if there is none, for who had come before the end.
    pub fn acquire_over_limit(self: &Arc<ConnectionSlots>) -> Permit {
        self.lock().inside += 1;
        Permit { slots: Arc::clone(self), open: false, place: None }
    }

    /// Waits until the gate is closed, at most `time`. False if it is closed.
    pub fn rest(&self, time: Duration) -> bool {
        // It does not sleep at `changed`: there one is woken for each place, and that must be one who waits for a place.
        let mut polled = [PollFd::new(self.closed(), PollFlags::POLLIN)];
        matches!(poll(&mut polled, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)), Ok(0) | Err(_))
    }

    /// Lets nobody in any more, except who has already come: [`ConnectionSlots::closed`] becomes readable for good.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
        tell(&self.closed);
    }

    /// Closes the gate, and tells event loops to end what is inside: [`ConnectionSlots::stopped`] becomes readable for good.
    pub fn stop(&self) {
        tell(&self.stopped);
        self.close();
    }

    /// Closes the gate because the sockets are another generation's from now on: whoever waits there is theirs to serve, and
    /// what is inside goes on.
    pub fn hand_over(&self) {
        self.handed[0].store(1, SeqCst);
        self.close();
    }

    /// Whether the sockets are another generation's.
    pub fn is_handed_over(&self) -> bool {
        self.handed[0].load(SeqCst) != 0
    }

    /// Whether what is inside is to end.
    pub fn is_stopped(&self) -> bool {
        is_readable(&self.stopped)
    }

    /// Waits until the gate is closed.
    pub fn wait_until_closed(&self) {
        let mut polled = [PollFd::new(self.closed(), PollFlags::POLLIN)];
        while let Err(error) = poll(&mut polled, PollTimeout::NONE) {
            if error != Errno::EINTR {
                // Without kernel memory nothing has ended.
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// A descriptor that becomes readable when what is inside is to end.
    pub fn stopped(&self) -> BorrowedFd<'_> {
        self.stopped.as_fd()
    }

    /// Asks that `waker` is rung when somebody leaves; false if there is a place by now.
    pub fn wait_for_place(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        let full = state.inside >= self.most;
        if full {
            state.waiting.push(waker.clone());
        }
        full
    }

    /// Ends [`ConnectionSlots::wait_for_place`].
    pub fn stop_waiting(&self, waker: &Waker) {
        self.lock().waiting.retain(|other| !other.is(waker));
        waker.silence();
    }

    /// Whether nobody is let in any more.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// As [`ConnectionSlots::is_closed`], also if another process that shares the gate has closed it.
    pub fn is_closed_for_all(&self) -> bool {
        is_readable(&self.closed)
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
    pub fn reserve(&self, wanted: usize) -> usize {
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
    pub fn commit(&self, claimed: usize, taken: usize) {
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
    slots: Arc<ConnectionSlots>,
    open: bool,
    /// What it takes of the limits of its source.
    place: Option<SourceSlot>,
}

impl Permit {
    /// Keeps the place that a source has taken, and gives it back in the end.
    pub fn hold(&mut self, place: Option<SourceSlot>) {
        if let (Some(place), Some((busy, worker))) = (&place, &self.slots.busy) {
            busy[*worker].place.store(place.number() + 1, Relaxed);
        }
        self.place = place;
    }

    /// Leaves to the caller what the source has taken.
    pub fn take_place(&mut self) -> Option<SourceSlot> {
        self.place.take()
    }

    /// Counts what came in with this permit as open.
    pub fn open(&mut self) {
        self.open = true;
        self.slots.stats.open.fetch_add(1, Relaxed);
        if let Some((busy, worker)) = &self.slots.busy {
            busy[*worker].open.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.place.take().is_some()
            && let Some((busy, worker)) = &self.slots.busy
        {
            busy[*worker].place.store(0, Relaxed);
        }
        if self.open {
            if let Some((busy, worker)) = &self.slots.busy {
                busy[*worker].open.fetch_sub(1, Relaxed);
            }
            self.slots.stats.open.fetch_sub(1, Relaxed);
        }
        let mut state = self.slots.lock();
        state.inside -= 1;
        // All of them: the place may be of use to one loop and not to another.
        state.waiting.drain(..).for_each(|waker| waker.ring());
        let somebody_sleeps = state.sleeping > 0;
        drop(state);
        if somebody_sleeps {
            self.slots.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
