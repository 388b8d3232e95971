//! Threads of the C library: started with a small stack, and sent signals.

#![allow(unsafe_code)]

use std::{
    io,
    mem::MaybeUninit,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::null_mut,
};

use libc::{c_int, c_void};

type Work = Box<dyn FnOnce() + Send>;

/// Starts a detached thread for `work`, with a stack of `stack` bytes. Unlike std's, it maps no alternate signal stack, and the
/// new thread makes no allocation before `work` whose failure would abort the process.
///
/// # Errors
/// EAGAIN if memory is short or a limit of threads is reached (pthread_create(3)).
pub fn spawn(stack: usize, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let work: *mut Work = Box::into_raw(Box::new(Box::new(work)));
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: this call initialises the structure, which is a local variable.
    let mut failed = unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) };
    if failed == 0 {
        let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
        // SAFETY: the attributes were initialised.
        failed = unsafe { libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), stack) };
        if failed == 0 {
            let detached = libc::PTHREAD_CREATE_DETACHED;
            // SAFETY: as above.
            failed = unsafe { libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), detached) };
        }
        if failed == 0 {
            let (thread, attributes) = (thread.as_mut_ptr(), attributes.as_ptr());
            // SAFETY: all pointers are valid through the call. `run` takes ownership of the work, once.
            failed = unsafe { libc::pthread_create(thread, attributes, run, work.cast()) };
        }
        // SAFETY: the attributes were initialised, and have no further use.
        unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    }
    if failed != 0 {
        // SAFETY: no thread was started, so the work still belongs to this function.
        drop(unsafe { Box::from_raw(work) });
        return Err(io::Error::from_raw_os_error(failed));
    }
    Ok(())
}

extern "C" fn run(work: *mut c_void) -> *mut c_void {
    // SAFETY: `spawn` made the pointer from a box, for this thread alone.
    let work = unsafe { Box::from_raw(work.cast::<Work>()) };
    // The panic hook has reported a panic. It must not unwind into the C library.
    let _ = catch_unwind(AssertUnwindSafe(*work));
    null_mut()
}

/// A thread as the C library identifies it: by a number, or by an address that is never dereferenced here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Thread(libc::pthread_t);

// SAFETY: an identifier, which any thread may use. The caller of `Thread::signal` promises that the thread is alive.
unsafe impl Send for Thread {}

// SAFETY: as above; a shared reference cannot change it.
unsafe impl Sync for Thread {}

impl Thread {
    /// The calling thread.
    pub(super) fn current() -> Self {
        // SAFETY: pthread_self(3) has no preconditions.
        Self(unsafe { libc::pthread_self() })
    }

    /// Sends it a signal (pthread_kill(3)).
    ///
    /// # Safety
    /// The thread must not have ended.
    pub(super) unsafe fn signal(self, signal: c_int) {
        // SAFETY: the caller promises that the thread has not ended.
        unsafe { libc::pthread_kill(self.0, signal) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    #[test]
    fn a_thread_runs_its_work_and_survives_a_panic() {
        let (sender, receiver) = mpsc::channel();
        super::spawn(256 << 10, move || sender.send(7).unwrap()).unwrap();
        assert_eq!(receiver.recv(), Ok(7));
        let (sender, receiver) = mpsc::channel::<u32>();
        super::spawn(256 << 10, move || {
            let _sender = sender;
            panic!("on purpose")
        })
        .unwrap();
        assert!(receiver.recv().is_err());
    }

    #[test]
    fn a_thread_that_cannot_be_started_leaves_nothing_behind() {
        let (sender, receiver) = mpsc::channel::<u32>();
        assert!(super::spawn(1, move || sender.send(7).unwrap()).is_err(), "no stack is so small");
        assert!(receiver.recv().is_err());
    }
}
