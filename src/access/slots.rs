//! Connection slots of a listener, its request limit, and its close. A [`Permit`] is one slot, released on drop.
//!
//! Backpressure: the permit comes before accept(2), so that clients above the limit wait in the backlog of the
//! listening socket.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
        },
    },
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

pub use crate::access::waker::Waker;
use crate::{
    access::{
        sources::SourceSlot,
        waker::{event, is_readable, signal},
    },
    report::stats::Stats,
    sys::{
        clock,
        shared::{Shared, SharedArray, atomics},
    },
};

/// The connection slots of one listener.
pub struct ConnectionSlots {
    most: u32,
    /// `max-requests`; 0 means no limit.
    requests: u64,
    stats: Arc<Shared<Stats>>,
    state: Mutex<SlotState>,
    /// Notified when a slot is released, or the listener is closed.
    changed: Condvar,
    /// Readable for good once the listener is closed: wakes every poller, in every process that shares it.
    closed: OwnedFd,
    /// Readable for good once open connections are to end.
    stopped: OwnedFd,
    /// 1 once another generation has the sockets, in every process that shares it.
    handed: Arc<SharedArray<AtomicU32>>,
    /// In a pool of processes: what each has open, so that the parent can reclaim it when a process dies.
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
    /// When it opened the last one, in nanoseconds of `CLOCK_MONOTONIC`.
    pub since: AtomicU64,
}
}

#[derive(Default)]
struct SlotState {
    inside: u32,
    /// Threads that wait for a slot: waking them is a system call, even if there are none.
    sleeping: u32,
    /// Event loops to wake when a slot is released.
    waiting: Vec<Waker>,
    closed: bool,
}

impl ConnectionSlots {
    /// Slots for `most` connections at a time, and `requests` in all (0 for no limit).
    pub fn new(most: u32, requests: u64, stats: Arc<Shared<Stats>>) -> io::Result<ConnectionSlots> {
        // A request that was reserved by a process that died is free again.
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

    /// The same listener in a forked process of a pool: one connection at a time, recorded in `busy[worker]`.
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

    /// Waits for a slot. `None` once the listener is closed and every slot is taken.
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

    /// Takes a slot if one is free now.
    pub fn try_acquire(self: &Arc<ConnectionSlots>) -> Option<Permit> {
        let mut state = self.lock();
        if state.inside >= self.most {
            return None;
        }
        state.inside += 1;
        Some(Permit { slots: Arc::clone(self), open: false, place: None })
    }

    /// Takes a permit above the limit, for connections accepted from the backlog during shutdown.
    pub fn acquire_over_limit(self: &Arc<ConnectionSlots>) -> Permit {
        self.lock().inside += 1;
        Permit { slots: Arc::clone(self), open: false, place: None }
    }

    /// Waits for `time`, or until the listener is closed; false if it is closed.
    pub fn wait(&self, time: Duration) -> bool {
        // Not with `changed`: each released slot wakes one thread there, which must be one that waits for a slot.
        let mut polled = [PollFd::new(self.closed(), PollFlags::POLLIN)];
        matches!(poll(&mut polled, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)), Ok(0) | Err(_))
    }

    /// Closes the listener: only what had arrived before is still accepted. [`ConnectionSlots::closed`] becomes
    /// readable for good.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
        signal(&self.closed);
    }

    /// Closes the listener, and has event loops end their connections: [`ConnectionSlots::stopped`] becomes readable
    /// for good.
    pub fn stop(&self) {
        signal(&self.stopped);
        self.close();
    }

    /// Closes the listener because another generation has its sockets from now on: that one accepts from the backlog.
    /// Open connections go on here.
    pub fn hand_over(&self) {
        self.handed[0].store(1, SeqCst);
        self.close();
    }

    /// Whether another generation has the sockets.
    pub fn is_handed_over(&self) -> bool {
        self.handed[0].load(SeqCst) != 0
    }

    /// Whether open connections are to end.
    pub fn is_stopped(&self) -> bool {
        is_readable(&self.stopped)
    }

    /// Waits until the listener is closed.
    pub fn wait_until_closed(&self) {
        let mut polled = [PollFd::new(self.closed(), PollFlags::POLLIN)];
        while let Err(error) = poll(&mut polled, PollTimeout::NONE) {
            if error != Errno::EINTR {
                // ENOMEM: nothing has ended.
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// A descriptor that becomes readable when open connections are to end.
    pub fn stopped(&self) -> BorrowedFd<'_> {
        self.stopped.as_fd()
    }

    /// Has `waker` woken when a slot is released; false if one is free by now.
    pub fn wait_for_slot(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        let full = state.inside >= self.most;
        if full {
            state.waiting.push(waker.clone());
        }
        full
    }

    /// Ends [`ConnectionSlots::wait_for_slot`].
    pub fn stop_waiting(&self, waker: &Waker) {
        self.lock().waiting.retain(|other| !other.is(waker));
        waker.clear();
    }

    /// Whether the listener is closed in this process.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// As [`ConnectionSlots::is_closed`], also if another process that shares the listener has closed it.
    pub fn is_closed_for_all(&self) -> bool {
        is_readable(&self.closed)
    }

    /// A descriptor that becomes readable when the listener is closed.
    pub fn closed(&self) -> BorrowedFd<'_> {
        self.closed.as_fd()
    }

    /// Whether requests are counted, so that each must be reserved before it is received.
    pub fn counts_requests(&self) -> bool {
        self.requests > 0
    }

    /// Whether `max-requests` have been received.
    pub fn is_exhausted(&self) -> bool {
        self.requests > 0 && self.stats.taken.load(Acquire) >= self.requests
    }

    /// Reserves up to `wanted` requests of `max-requests` before they are received; returns how many, to be committed.
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

    /// Of `claimed` reserved requests, `taken` were received. Closes the listener when these were the last.
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

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection slot.
pub struct Permit {
    slots: Arc<ConnectionSlots>,
    open: bool,
    /// What the connection takes of the limits of its source.
    place: Option<SourceSlot>,
}

impl Permit {
    /// Keeps the slot of the connection's source, and releases it with the permit.
    pub fn hold(&mut self, place: Option<SourceSlot>) {
        if let (Some(place), Some((busy, worker))) = (&place, &self.slots.busy) {
            busy[*worker].place.store(place.number() + 1, Relaxed);
        }
        self.place = place;
    }

    /// Leaves the slot of the source to the caller.
    pub fn take_source_slot(&mut self) -> Option<SourceSlot> {
        self.place.take()
    }

    /// Counts the connection as open.
    pub fn open(&mut self) {
        self.open = true;
        self.slots.stats.open.fetch_add(1, Relaxed);
        if let Some((busy, worker)) = &self.slots.busy {
            busy[*worker].since.store(clock::now(), Relaxed);
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
        // All of them: one loop may have a use for the slot and another may not.
        state.waiting.drain(..).for_each(|waker| waker.wake());
        let has_sleepers = state.sleeping > 0;
        drop(state);
        if has_sleepers {
            self.slots.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
