//! Waking a thread that is blocked in a system call, without costing it anything until then.
//!
//! Blocking threads read with plain blocking calls: no poll before a read, no time-out to come back and look. To wake
//! one, it is sent [`SIGNAL`], whose handler makes the descriptor the thread attends to non-blocking. Whichever comes
//! first, nothing is missed: a thread already inside the call leaves it with EINTR, one just about to enter it gets
//! EAGAIN. What has arrived before is still read; EAGAIN then means "that was all, and you were asked to stop".

#![allow(unsafe_code)]

use std::{
    collections::HashSet,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicI32,
            Ordering::{Relaxed, SeqCst},
            compiler_fence,
        },
    },
};

use libc::c_int;
use nix::{
    errno::Errno,
    sys::signal::{SigSet, Signal},
};

use super::thread::Thread;

/// The signal between our own threads. Its default action is to be ignored, and nothing else here uses it.
pub const SIGNAL: c_int = libc::SIGURG;

/// No descriptor.
const NONE: RawFd = -1;

thread_local! {
    // Constant and without destructor: plain thread-local memory, which a signal handler may touch.
    static ATTENDED: AtomicI32 = const { AtomicI32::new(NONE) };
    static ASKED: AtomicBool = const { AtomicBool::new(false) };
}

/// All signals but those that stand for a fault of the process: whoever sends such a one wants it dead.
pub fn blockable() -> SigSet {
    use Signal::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    let mut signals = SigSet::all();
    for fault in [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP] {
        signals.remove(fault);
    }
    signals
}

/// Lets this process die of a fault at once. Rust's own handler is there to tell of a stack overflow; sent by somebody
/// else, the first such signal would only take that handler away.
pub fn die_of_faults() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: the default action runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Makes `signal` interrupt the thread that receives it: its calls end with EINTR, and the descriptor it attends to
/// becomes non-blocking. For [`SIGNAL`] in the daemon, and for SIGTERM in a forked child that has one thread.
pub fn on(signal: c_int) {
    // SAFETY: `sigaction` is plain data for which all zeroes is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = interrupted_by as extern "C" fn(c_int) as usize;
    // No SA_RESTART: the point is to leave the call.
    action.sa_flags = 0;
    // SAFETY: the handler calls only fcntl(2), which is async-signal-safe, and touches only atomics; `action` is a
    // valid structure that lives through the call.
    unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
}

extern "C" fn interrupted_by(_: c_int) {
    // It is put back, so that the interrupted code does not see ours.
    let errno = Errno::last_raw();
    ASKED.with(|is_interrupted| is_interrupted.store(true, Relaxed));
    compiler_fence(SeqCst);
    ATTENDED.with(|attended| stop_blocking(attended.load(Relaxed)));
    Errno::set_raw(errno);
}

fn stop_blocking(fd: RawFd) {
    if fd == NONE {
        return;
    }
    // SAFETY: fcntl(2) with these commands reads and writes no memory of ours. The descriptor is open: `with_fd_guard` borrows
    // it until nobody attends to it any more.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags >= 0 {
        // SAFETY: as above.
        unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) };
    }
}

/// Whether this thread was interrupted.
pub fn is_interrupted() -> bool {
    ASKED.with(|is_interrupted| is_interrupted.load(Relaxed))
}

/// Does some `work` during which an interrupt makes `fd` non-blocking. Attentions nest: afterwards the one before takes over. (It is
/// no value that somebody holds: one that was forgotten would leave a descriptor to the handler that is closed, or another's.)
pub fn with_fd_guard<T>(fd: BorrowedFd<'_>, work: impl FnOnce() -> T) -> T {
    let _attention = FdGuard { before: turn_to(fd.as_raw_fd()) };
    work()
}

/// Ends also where the work panics.
struct FdGuard {
    before: RawFd,
}

impl Drop for FdGuard {
    fn drop(&mut self) {
        turn_to(self.before);
    }
}

fn turn_to(fd: RawFd) -> RawFd {
    let before = ATTENDED.with(|attended| attended.swap(fd, Relaxed));
    // The handler runs in this very thread: the compiler alone could put the question first.
    compiler_fence(SeqCst);
    // The handler may have run before the swap and missed this descriptor.
    if is_interrupted() {
        stop_blocking(fd);
    }
    before
}

/// The threads of one listener, to be interrupted together.
#[derive(Default)]
pub struct WorkerSet {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_interrupted: bool,
    members: HashSet<Thread>,
}

impl WorkerSet {
    /// Does some `work` as a member. Who joins after [`WorkerSet::interrupt`] is interrupted at once.
    pub fn join<T>(&self, work: impl FnOnce() -> T) -> T {
        let thread = Thread::current();
        let mut state = self.lock();
        state.members.insert(thread);
        if state.is_interrupted {
            ASKED.with(|is_interrupted| is_interrupted.store(true, Relaxed));
        }
        drop(state);
        let _member = Membership { workers: self, thread };
        work()
    }

    /// Interrupts every member, now and whoever joins later.
    pub fn interrupt(&self) {
        let mut state = self.lock();
        state.is_interrupted = true;
        for &thread in &state.members {
            // SAFETY: the thread is alive: a member leaves under this lock before its thread can end.
            unsafe { thread.signal(SIGNAL) };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread's membership in a [`WorkerSet`]. It ends before the thread does, also where the work panics: nobody can forget it.
struct Membership<'a> {
    workers: &'a WorkerSet,
    thread: Thread,
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        self.workers.lock().members.remove(&self.thread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, net::TcpListener, os::fd::AsFd, os::unix::net::UnixStream, sync::mpsc, thread};

    #[test]
    fn a_blocked_reader_answers_what_has_arrived_then_leaves() {
        on(SIGNAL);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let workers = WorkerSet::default();
        let (ready, is_ready) = mpsc::channel();
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let read = || {
                    ready.send(()).unwrap();
                    let mut all = Vec::new();
                    let mut buffer = [0; 16];
                    loop {
                        match (&theirs).read(&mut buffer) {
                            Ok(n) => all.extend_from_slice(&buffer[..n]),
                            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                            Err(e) => return (e.kind(), all),
                        }
                    }
                };
                workers.join(|| with_fd_guard(theirs.as_fd(), read))
            });
            is_ready.recv().unwrap();
            std::io::Write::write_all(&mut ours, b"abc").unwrap();
            workers.interrupt();
            let (kind, all) = reader.join().unwrap();
            assert_eq!(kind, std::io::ErrorKind::WouldBlock);
            assert_eq!(all, b"abc");
        });
    }

    #[test]
    fn attention_and_membership_end_with_a_panic() {
        let workers = WorkerSet::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let work = || workers.join(|| with_fd_guard(listener.as_fd(), || panic!("on purpose")));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
        assert!(workers.lock().members.is_empty());
        ATTENDED.with(|attended| assert_eq!(attended.load(Relaxed), NONE));
    }

    #[test]
    fn who_joins_late_is_interrupted_at_once() {
        on(SIGNAL);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let workers = WorkerSet::default();
        workers.interrupt();
        thread::scope(|scope| {
            scope.spawn(|| {
                let accepted = workers.join(|| with_fd_guard(listener.as_fd(), || listener.accept()));
                assert_eq!(accepted.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            });
        });
    }
}
