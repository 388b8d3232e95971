//! Threads as the C library has them: to start one in little memory, and to send it signals.

#![allow(unsafe_code)]

use std::{
    io,
    mem::MaybeUninit,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::null_mut,
};

use libc::{c_int, c_void};

type Work = Box<dyn FnOnce() + Send>;

/// Starts a detached thread for `work`, with a stack of so many bytes. Other than std's it maps no stack for signal handlers, and does
/// nothing before `work` that would end the whole process where memory is short.
///
/// # Errors
/// EAGAIN without memory, or at a limit of threads, see pthread_create(3).
pub fn spawn(stack: usize, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let work: *mut Work = Box::into_raw(Box::new(Box::new(work)));
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: the structure is ours, and this call initialises it.
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
            // SAFETY: all pointers are valid through the call; `run` takes possession of the work, once.
            failed = unsafe { libc::pthread_create(thread, attributes, run, work.cast()) };
        }
        // SAFETY: the attributes were initialised, and are not used any more.
        unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    }
    if failed != 0 {
        // SAFETY: no thread was started that would have taken it.
        drop(unsafe { Box::from_raw(work) });
        return Err(io::Error::from_raw_os_error(failed));
    }
    Ok(())
}

extern "C" fn run(work: *mut c_void) -> *mut c_void {
    // SAFETY: it is what `spawn` has made of a box, for this thread alone.
    let work = unsafe { Box::from_raw(work.cast::<Work>()) };
    // A panic was told by its hook, and may not leave this function.
    let _ = catch_unwind(AssertUnwindSafe(*work));
    null_mut()
}

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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    #[test]
    fn a_thread_does_its_work_and_may_panic() {
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
