//! Which workers of a listener wait for clients. The supervisor can ping them, and can make them leave a listening socket without
//! disturbing those that serve a client.
//!
//! A waiting worker may be blocked in accept(2). [`WAKE_SIGNAL`], whose handler does nothing, makes that call return with EINTR.
//! A signal that arrives just before the call is lost, so it is repeated until it has had its effect.

#![allow(unsafe_code)]

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use libc::c_int;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::thread::Thread;

/// The signal that wakes a waiting worker. It is ignored by default.
pub const WAKE_SIGNAL: c_int = libc::SIGWINCH;

/// Whether workers are pinged. Only then do event loops need a waker.
static PINGS_ENABLED: AtomicBool = AtomicBool::new(false);

/// Makes [`WAKE_SIGNAL`] interrupt blocking calls of this process.
pub fn on() {
    // SAFETY: `sigaction` is plain data for which all zeroes is a valid value: no flags, so no SA_RESTART.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(c_int) as usize;
    // SAFETY: the handler does nothing; `action` is a valid structure that lives through the call.
    unsafe { libc::sigaction(WAKE_SIGNAL, &action, std::ptr::null_mut()) };
}

extern "C" fn nothing(_: c_int) {}

/// Gives event loops that start from now on a waker, by which [`WorkerSet::ping`] reaches them.
pub fn enable_pings() {
    PINGS_ENABLED.store(true, Relaxed);
}

/// The workers of a listener in this process: the threads that accept, blocking or in an event loop.
#[derive(Default)]
pub struct WorkerSet {
    /// Whether any worker has registered yet.
    begun: AtomicBool,
    list: Mutex<Vec<Arc<Record>>>,
}

struct Record {
    thread: Thread,
    is_waiting: AtomicBool,
    pings: AtomicU32,
    acknowledged: AtomicU32,
    /// The eventfd of an event loop, which also waits for other descriptors and gets no signal.
    waker: Option<OwnedFd>,
}

impl Record {
    /// Wakes the worker if it waits for clients.
    fn wake(&self) {
        match &self.waker {
            // Fails only if the counter is at its limit, and the eventfd is readable then.
            Some(waker) => _ = nix::unistd::write(waker, &1u64.to_ne_bytes()),
            // SAFETY: the thread is alive. It removes its state from the list, under the lock held here, before it ends.
            None if self.is_waiting.load(SeqCst) => unsafe { self.thread.signal(WAKE_SIGNAL) },
            None => {}
        }
    }
}

impl WorkerSet {
    /// Runs `work` as a registered worker that blocks in, or polls, the listening sockets.
    pub fn register<T>(&self, work: impl FnOnce(&WorkerState<'_>) -> T) -> T {
        self.enter(None, work)
    }

    /// Like [`WorkerSet::register`] for an event loop, which gets a waker if workers are pinged.
    pub fn register_loop<T>(&self, work: impl FnOnce(&WorkerState<'_>) -> io::Result<T>) -> io::Result<T> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let waker = PINGS_ENABLED.load(Relaxed).then(|| EventFd::from_flags(flags)).transpose()?;
        self.enter(waker.map(OwnedFd::from), work)
    }

    fn enter<T>(&self, waker: Option<OwnedFd>, work: impl FnOnce(&WorkerState<'_>) -> T) -> T {
        let state = Arc::new(Record {
            thread: Thread::current(),
            is_waiting: AtomicBool::new(false),
            pings: AtomicU32::new(0),
            acknowledged: AtomicU32::new(0),
            waker,
        });
        self.lock().push(Arc::clone(&state));
        self.begun.store(true, SeqCst);
        // Dropped before the thread ends, also when the work panics: `work` only borrows it and cannot leak it.
        work(&WorkerState { workers: self, state, here: PhantomData })
    }

    /// Pings every worker.
    pub fn ping(&self) {
        for state in self.lock().iter() {
            state.pings.fetch_add(1, SeqCst);
            state.wake();
        }
    }

    /// Whether all workers have acknowledged the ping; wakes those that have not. An event loop always has to; a blocking worker
    /// only while it waits for clients, since serving one may take any time.
    pub fn have_acknowledged(&self) -> bool {
        let mut all = true;
        for state in self.lock().iter() {
            let is_silent = state.acknowledged.load(SeqCst) != state.pings.load(SeqCst);
            if is_silent && (state.waker.is_some() || state.is_waiting.load(SeqCst)) {
                all = false;
                state.wake();
            }
        }
        all
    }

    /// Whether no worker waits for clients any more; wakes those that do. False until the first worker has registered.
    pub fn none_waits(&self) -> bool {
        let mut all = self.begun.load(SeqCst);
        for state in self.lock().iter().filter(|state| state.is_waiting.load(SeqCst)) {
            all = false;
            state.wake();
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Record>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of one worker.
pub struct WorkerState<'a> {
    workers: &'a WorkerSet,
    state: Arc<Record>,
    // Not `Send`: for the thread that registered.
    here: PhantomData<*const ()>,
}

impl WorkerState<'_> {
    /// Marks this worker as waiting for clients, and acknowledges a ping. To be called before each wait.
    pub fn begin_wait(&self) {
        self.state.is_waiting.store(true, SeqCst);
        self.acknowledge();
    }

    /// Acknowledges a ping, if there is one.
    pub fn acknowledge(&self) {
        let pings = self.state.pings.load(Relaxed);
        if self.state.acknowledged.load(Relaxed) != pings {
            self.state.acknowledged.store(pings, SeqCst);
        }
    }

    /// Marks this worker as not accepting until [`WorkerState::begin_wait`].
    pub fn end_wait(&self) {
        self.state.is_waiting.store(false, SeqCst);
    }

    /// The descriptor that a ping makes readable in an event loop.
    pub fn waker(&self) -> Option<BorrowedFd<'_>> {
        self.state.waker.as_ref().map(AsFd::as_fd)
    }

    /// Resets the waker, and acknowledges a ping.
    pub fn acknowledge_waker(&self) {
        if let Some(waker) = &self.state.waker {
            // EAGAIN if the waker was not used.
            let _ = nix::unistd::read(waker, &mut [0; 8]);
        }
        self.acknowledge();
    }
}

impl Drop for WorkerState<'_> {
    fn drop(&mut self) {
        self.workers.lock().retain(|state| !Arc::ptr_eq(state, &self.state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, sync::mpsc, thread, time::Duration};

    #[test]
    fn a_worker_blocked_in_accept_acknowledges_a_ping() {
        on();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let workers = WorkerSet::default();
        let (started, is_started) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                workers.register(|worker| {
                    started.send(()).unwrap();
                    loop {
                        worker.begin_wait();
                        // std would repeat accept(2) after EINTR.
                        if nix::sys::socket::accept(std::os::fd::AsRawFd::as_raw_fd(&listener)).is_ok() {
                            return;
                        }
                    }
                });
            });
            is_started.recv().unwrap();
            workers.ping();
            while !workers.have_acknowledged() {
                thread::sleep(Duration::from_millis(1));
            }
            std::net::TcpStream::connect(address).unwrap();
        });
        assert!(workers.have_acknowledged(), "a worker that has ended need not acknowledge");
    }

    #[test]
    fn only_a_waiting_worker_must_acknowledge() {
        let workers = WorkerSet::default();
        workers.register(|worker| {
            worker.begin_wait();
            worker.end_wait();
            workers.ping();
            assert!(workers.have_acknowledged(), "it serves a client");
            worker.state.is_waiting.store(true, SeqCst);
            assert!(!workers.have_acknowledged());
            worker.acknowledge();
            assert!(workers.have_acknowledged());
        });
        assert!(workers.lock().is_empty());
    }
}
