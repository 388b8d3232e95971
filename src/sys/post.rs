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
pub const NUDGE: c_int = libc::SIGWINCH;

/// Whether workers are asked for signs of life: only then have event loops a bell.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Makes [`NUDGE`] end blocked calls in this process.
pub fn on() {
    // SAFETY: `sigaction` is plain data for which all zeroes is a valid value: no flags, so no SA_RESTART.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(c_int) as usize;
    // SAFETY: the handler does nothing; `action` is a valid structure that lives through the call.
    unsafe { libc::sigaction(NUDGE, &action, std::ptr::null_mut()) };
}

extern "C" fn nothing(_: c_int) {}

/// From now on event loops that start have a bell, by which [`Posts::ask`] reaches them.
pub fn watch() {
    WATCHED.store(true, Relaxed);
}

/// The posts of all workers of a listener in this process.
#[derive(Default)]
pub struct Posts {
    /// Whether there ever was one.
    begun: AtomicBool,
    list: Mutex<Vec<Arc<State>>>,
}

struct State {
    thread: Thread,
    at_door: AtomicBool,
    asked: AtomicU32,
    answered: AtomicU32,
    /// Of an event loop, which waits for many things and is not nudged.
    bell: Option<OwnedFd>,
}

impl State {
    /// Makes it look up, if it waits at the door.
    fn wake(&self) {
        match &self.bell {
            // It can fail only where it is readable anyway.
            Some(bell) => _ = nix::unistd::write(bell, &1u64.to_ne_bytes()),
            // SAFETY: the thread is alive: its post is taken off the list, under the lock that we hold, before it ends.
            None if self.at_door.load(SeqCst) => unsafe { self.thread.signal(NUDGE) },
            None => {}
        }
    }
}

impl Posts {
    /// Does some `work` at a post for the calling thread, which blocks or polls at the door.
    pub fn take<T>(&self, work: impl FnOnce(&Post<'_>) -> T) -> T {
        self.enter(None, work)
    }

    /// As [`Posts::take`] for an event loop; with a bell if somebody will ask.
    pub fn take_loop<T>(&self, work: impl FnOnce(&Post<'_>) -> io::Result<T>) -> io::Result<T> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = WATCHED.load(Relaxed).then(|| EventFd::from_flags(flags)).transpose()?;
        self.enter(bell.map(OwnedFd::from), work)
    }

    fn enter<T>(&self, bell: Option<OwnedFd>, work: impl FnOnce(&Post<'_>) -> T) -> T {
        let state = Arc::new(State {
            thread: Thread::current(),
            at_door: AtomicBool::new(false),
            asked: AtomicU32::new(0),
            answered: AtomicU32::new(0),
            bell,
        });
        self.lock().push(Arc::clone(&state));
        self.begun.store(true, SeqCst);
        // Given up before the thread ends, also where the work panics: it is only lent, so nobody can forget it.
        work(&Post { posts: self, state, here: PhantomData })
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
            if silent && (state.bell.is_some() || state.at_door.load(SeqCst)) {
                all = false;
                state.wake();
            }
        }
        all
    }

    /// Whether nobody stands at the door any more; who does is nudged. Before the first has come it is too early to say so.
    pub fn have_left(&self) -> bool {
        let mut all = self.begun.load(SeqCst);
        for state in self.lock().iter().filter(|state| state.at_door.load(SeqCst)) {
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
pub struct Post<'a> {
    posts: &'a Posts,
    state: Arc<State>,
    // For the thread that took it alone.
    here: PhantomData<*const ()>,
}

impl Post<'_> {
    /// Says that this worker is at the door, and answers if it was asked. To be called before each wait.
    pub fn stand(&self) {
        self.state.at_door.store(true, SeqCst);
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
        self.state.at_door.store(false, SeqCst);
    }

    /// A descriptor that becomes readable when an event loop is asked for a sign of life.
    pub fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.state.bell.as_ref().map(AsFd::as_fd)
    }

    /// Answers the bell.
    pub fn heed(&self) {
        if let Some(bell) = &self.state.bell {
            // Nothing to read if it did not ring.
            let _ = nix::unistd::read(bell, &mut [0; 8]);
        }
        self.answer();
    }
}

impl Drop for Post<'_> {
    fn drop(&mut self) {
        self.posts.lock().retain(|state| !Arc::ptr_eq(state, &self.state));
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
        let posts = Posts::default();
        let (standing, stands) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                posts.take(|post| {
                    standing.send(()).unwrap();
                    loop {
                        post.stand();
                        // std's accept(2) would try again by itself.
                        if nix::sys::socket::accept(std::os::fd::AsRawFd::as_raw_fd(&listener)).is_ok() {
                            return;
                        }
                    }
                });
            });
            stands.recv().unwrap();
            posts.ask();
            while !posts.have_answered() {
                thread::sleep(Duration::from_millis(1));
            }
            std::net::TcpStream::connect(address).unwrap();
        });
        assert!(posts.have_answered(), "who is gone need not answer");
    }

    #[test]
    fn only_who_is_at_the_door_must_answer() {
        let posts = Posts::default();
        posts.take(|post| {
            post.stand();
            post.leave();
            posts.ask();
            assert!(posts.have_answered(), "it serves a client");
            post.state.at_door.store(true, SeqCst);
            assert!(!posts.have_answered());
            post.answer();
            assert!(posts.have_answered());
        });
        assert!(posts.lock().is_empty());
    }
}
