//! A thread that signals are sent to.

#![allow(unsafe_code)]

use libc::c_int;

/// A thread, as its C library calls it: by a number, or by an address that nobody here follows.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Thread(libc::pthread_t);

// SAFETY: it is a name that any thread may use; who does answers for the thread's being alive, see `Thread::signal`.
unsafe impl Send for Thread {}

// SAFETY: as above; nothing can be changed through it.
unsafe impl Sync for Thread {}

impl Thread {
    /// The calling thread.
    pub(super) fn current() -> Self {
        // SAFETY: pthread_self(3) has no preconditions.
        Self(unsafe { libc::pthread_self() })
    }

    /// Sends it a signal, pthread_kill(3).
    ///
    /// # Safety
    /// The thread must not have ended.
    pub(super) unsafe fn signal(self, signal: c_int) {
        // SAFETY: the caller says that it is alive.
        unsafe { libc::pthread_kill(self.0, signal) };
    }
}
