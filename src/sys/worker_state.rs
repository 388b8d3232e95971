//! Where the workers of a listener stand: at the door, where they wait for clients, or elsewhere. The supervisor can ask
//! them for a sign of life, and can make them leave the door without disturbing who serves a client.
//!
//! A worker at the door may be blocked in accept(2). It is *nudged*: a signal whose handler does nothing makes the call
//! return with EINTR. A nudge that comes just before the call is lost, so it is repeated until it has had its effect.

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

/// The signal that nudges. Its default action is to be ignored.
pub const WAKE_SIGNAL: c_int = libc::SIGWINCH;

/// Whether workers are asked for signs of life: only then have event loops a bell.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Makes [`WAKE_SIGNAL`] end blocked calls in this process.
pub fn on() {
    // SAFETY: `sigaction` is plain data for which all zeroes is a valid value: no flags, so no SA_RESTART.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(c_int) as usize;
    // SAFETY: the handler does nothing; `action` is a valid structure that lives through the call.
    unsafe { libc::sigaction(WAKE_SIGNAL, &action, std::ptr::null_mut()) };
}

extern "C" fn nothing(_: c_int) {}

/// From now on event loops that start have a bell, by which [`WorkerStates::ask`] reaches them.
pub fn enable_pings() {
    WATCHED.store(true, Relaxed);
}

/// The posts of all workers of a listener in this process.
#[derive(Default)]
pub struct WorkerStates {
    /// Whether there ever was one.
    begun: AtomicBool,
    list: Mutex<Vec<Arc<State>>>,
}

struct State {
    thread: Thread,
    with_worker: AtomicBool,
    asked: AtomicU32,
    answered: AtomicU32,
    /// Of an event loop, which waits for many things and is not nudged.
    waker: Option<OwnedFd>,
}

impl State {
    /// Makes it look up, if it waits at the door.
    fn wake(&self) {
        match &self.waker {
            // It can fail only where it is readable anyway.
            Some(waker) => _ = nix::unistd::write(waker, &1u64.to_ne_bytes()),
            // SAFETY: the thread is alive: its post is taken off the list, under the lock that we hold, before it ends.
            None if self.with_worker.load(SeqCst) => unsafe { self.thread.signal(WAKE_SIGNAL) },
            None => {}
        }
    }
}

impl WorkerStates {
    /// Does some `work` at a post for the calling thread, which blocks or polls at the door.
    pub fn take<T>(&self, work: impl FnOnce(&WorkerState<'_>) -> T) -> T {
        self.enter(None, work)
    }

    /// As [`WorkerStates::take`] for an event loop; with a bell if somebody will ask.
    pub fn take_loop<T>(&self, work: impl FnOnce(&WorkerState<'_>) -> io::Result<T>) -> io::Result<T> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let waker = WATCHED.load(Relaxed).then(|| EventFd::from_flags(flags)).transpose()?;
        self.enter(waker.map(OwnedFd::from), work)
    }

    fn enter<T>(&self, waker: Option<OwnedFd>, work: impl FnOnce(&WorkerState<'_>) -> T) -> T {
        let state = Arc::new(State {
            thread: Thread::current(),
            with_worker: AtomicBool::new(false),
            asked: AtomicU32::new(0),
            answered: AtomicU32::new(0),
            waker,
        });
        self.lock().push(Arc::clone(&state));
        self.begun.store(true, SeqCst);
        // Given up before the thread ends, also where the work panics: it is only lent, so nobody can forget it.
        work(&WorkerState { worker_states: self, state, here: PhantomData })
    }

    /// Asks every worker for a sign of life.
    pub fn ask(&self) {
        for state in self.lock().iter() {
            state.asked.fetch_add(1, SeqCst);
            state.wake();
        }
    }

    /// Whether all have answered, as far as they wait at the door; who has not is asked again. (An event loop is always
    /// expected to answer; a thread that serves a client waits for that client.)
    pub fn have_answered(&self) -> bool {
        let mut all = true;
        for state in self.lock().iter() {
            let silent = state.answered.load(SeqCst) != state.asked.load(SeqCst);
            if silent && (state.waker.is_some() || state.with_worker.load(SeqCst)) {
                all = false;
                state.wake();
            }
        }
        all
    }

    /// Whether nobody stands at the door any more; who does is nudged. Before the first has come it is too early to say so.
    pub fn have_left(&self) -> bool {
        let mut all = self.begun.load(SeqCst);
        for state in self.lock().iter().filter(|state| state.with_worker.load(SeqCst)) {
            all = false;
            state.wake();
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<State>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The post of one worker.
pub struct WorkerState<'a> {
    worker_states: &'a WorkerStates,
    state: Arc<State>,
    // For the thread that took it alone.
    here: PhantomData<*const ()>,
}

impl WorkerState<'_> {
    /// Says that this worker is at the door, and answers if it was asked. To be called before each wait.
    pub fn stand(&self) {
        self.state.with_worker.store(true, SeqCst);
        self.answer();
    }

    /// Answers if it was asked.
    pub fn answer(&self) {
        let asked = self.state.asked.load(Relaxed);
        if self.state.answered.load(Relaxed) != asked {
            self.state.answered.store(asked, SeqCst);
        }
    }

    /// Says that this worker accepts nobody until it stands at the door again.
    pub fn leave(&self) {
        self.state.with_worker.store(false, SeqCst);
    }

    /// A descriptor that becomes readable when an event loop is asked for a sign of life.
    pub fn waker(&self) -> Option<BorrowedFd<'_>> {
        self.state.waker.as_ref().map(AsFd::as_fd)
    }

    /// Answers the bell.
    pub fn heed(&self) {
        if let Some(waker) = &self.state.waker {
            // Nothing to read if it did not ring.
            let _ = nix::unistd::read(waker, &mut [0; 8]);
        }
        self.answer();
    }
}

impl Drop for WorkerState<'_> {
    fn drop(&mut self) {
        self.worker_states.lock().retain(|state| !Arc::ptr_eq(state, &self.state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, sync::mpsc, thread, time::Duration};

    #[test]
    fn a_worker_blocked_at_the_door_answers_when_it_is_nudged() {
        on();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let worker_states = WorkerStates::default();
        let (standing, stands) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                worker_states.take(|worker| {
                    standing.send(()).unwrap();
                    loop {
                        worker.stand();
                        // std's accept(2) would try again by itself.
                        if nix::sys::socket::accept(std::os::fd::AsRawFd::as_raw_fd(&listener)).is_ok() {
                            return;
                        }
                    }
                });
            });
            stands.recv().unwrap();
            worker_states.ask();
            while !worker_states.have_answered() {
                thread::sleep(Duration::from_millis(1));
            }
            std::net::TcpStream::connect(address).unwrap();
        });
        assert!(worker_states.have_answered(), "who is gone need not answer");
    }

    #[test]
    fn only_who_is_at_the_door_must_answer() {
        let worker_states = WorkerStates::default();
        worker_states.take(|worker| {
            worker.stand();
            worker.leave();
            worker_states.ask();
            assert!(worker_states.have_answered(), "it serves a client");
            worker.state.with_worker.store(true, SeqCst);
            assert!(!worker_states.have_answered());
            worker.answer();
            assert!(worker_states.have_answered());
        });
        assert!(worker_states.lock().is_empty());
    }
}
