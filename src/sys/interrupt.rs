//! Wakes a thread that is blocked in a system call, at no cost until then.
//!
//! Blocking workers use plain blocking calls: no poll(2) before a read, no time-out to look for a stop. To wake one, another
//! thread sends it [`SIGNAL`], whose handler sets `O_NONBLOCK` on the descriptor that the thread guards ([`with_fd_guard`]).
//! There is no race: a thread inside the call leaves it with EINTR, a thread about to enter it gets EAGAIN. Data that arrived
//! earlier is still read, so EAGAIN means that all of it was read and that the thread is to stop.

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

/// The signal that threads of this process send each other. It is ignored by default, and has no other use here.
pub const SIGNAL: c_int = libc::SIGURG;

/// No guarded descriptor.
const NONE: RawFd = -1;

thread_local! {
    // Const-initialised and without destructor: plain thread-local memory, which a signal handler may access.
    static GUARDED: AtomicI32 = const { AtomicI32::new(NONE) };
    static INTERRUPTED: AtomicBool = const { AtomicBool::new(false) };
}

/// All signals except those that report a fault of the process. A process that sends one of these wants this one dead.
pub fn blockable() -> SigSet {
    use Signal::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    let mut signals = SigSet::all();
    for fault in [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP] {
        signals.remove(fault);
    }
    signals
}

/// Resets SIGSEGV and SIGBUS to their default action, so that the first one ends the process. Rust's handler only reports stack
/// overflows: a signal sent by another process would merely remove that handler.
pub fn die_of_faults() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: the default action runs no code of this process.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Makes `signal` interrupt the thread that receives it: the blocking call ends with EINTR, and the guarded descriptor becomes
/// non-blocking. Used for [`SIGNAL`] in the daemon, and for SIGTERM in a single-threaded forked child.
pub fn on(signal: c_int) {
    // SAFETY: `sigaction` is plain data for which all zeroes is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as extern "C" fn(c_int) as usize;
    // No SA_RESTART: the interrupted call must return.
    action.sa_flags = 0;
    // SAFETY: the handler calls only fcntl(2), which is async-signal-safe, and accesses only atomics. `action` is a valid
    // structure that lives through the call.
    unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
}

extern "C" fn on_signal(_: c_int) {
    // The interrupted code must not see the handler's errno.
    let errno = Errno::last_raw();
    INTERRUPTED.with(|is_interrupted| is_interrupted.store(true, Relaxed));
    compiler_fence(SeqCst);
    GUARDED.with(|guarded| stop_blocking(guarded.load(Relaxed)));
    Errno::set_raw(errno);
}

fn stop_blocking(fd: RawFd) {
    if fd == NONE {
        return;
    }
    // SAFETY: fcntl(2) with these commands accesses no memory. The descriptor is open: `with_fd_guard` borrows it for as long as
    // it is guarded.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags >= 0 {
        // SAFETY: as above.
        unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) };
    }
}

/// Whether this thread was interrupted.
pub fn is_interrupted() -> bool {
    INTERRUPTED.with(|is_interrupted| is_interrupted.load(Relaxed))
}

/// Runs `work`; an interrupt meanwhile makes `fd` non-blocking. Guards nest: the previous one is restored afterwards.
///
/// Takes a closure instead of returning a guard value: a leaked guard would leave the handler a descriptor that is closed or
/// reused.
pub fn with_fd_guard<T>(fd: BorrowedFd<'_>, work: impl FnOnce() -> T) -> T {
    let _guard = FdGuard { before: swap_guarded(fd.as_raw_fd()) };
    work()
}

/// Restores the previous descriptor on drop, so also when the work panics.
struct FdGuard {
    before: RawFd,
}

impl Drop for FdGuard {
    fn drop(&mut self) {
        swap_guarded(self.before);
    }
}

fn swap_guarded(fd: RawFd) -> RawFd {
    let before = GUARDED.with(|guarded| guarded.swap(fd, Relaxed));
    // The handler runs on this thread, so only the compiler could move the check before the swap.
    compiler_fence(SeqCst);
    // The handler may have run before the swap and missed this descriptor.
    if is_interrupted() {
        stop_blocking(fd);
    }
    before
}

/// The threads of one listener that block in calls on their sockets, accepting or serving. They are interrupted together.
#[derive(Default)]
pub struct BlockingThreads {
    state: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    is_interrupted: bool,
    members: HashSet<Thread>,
}

impl BlockingThreads {
    /// Runs `work` as a member. A thread that joins after [`BlockingThreads::interrupt`] is interrupted at once.
    pub fn join<T>(&self, work: impl FnOnce() -> T) -> T {
        let thread = Thread::current();
        let mut state = self.lock();
        state.members.insert(thread);
        if state.is_interrupted {
            INTERRUPTED.with(|is_interrupted| is_interrupted.store(true, Relaxed));
        }
        drop(state);
        let _member = Membership { threads: self, thread };
        work()
    }

    /// Interrupts every member, and every thread that joins later.
    pub fn interrupt(&self) {
        let mut state = self.lock();
        state.is_interrupted = true;
        for &thread in &state.members {
            // SAFETY: the thread is alive. A member leaves the set under this lock before its thread ends.
            unsafe { thread.signal(SIGNAL) };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread's membership in a [`BlockingThreads`]. It is private to `join`, so it ends before the thread does, also when the work
/// panics.
struct Membership<'a> {
    threads: &'a BlockingThreads,
    thread: Thread,
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        self.threads.lock().members.remove(&self.thread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, net::TcpListener, os::fd::AsFd, os::unix::net::UnixStream, sync::mpsc, thread};

    #[test]
    fn an_interrupted_reader_reads_all_that_has_arrived() {
        on(SIGNAL);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let threads = BlockingThreads::default();
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
                threads.join(|| with_fd_guard(theirs.as_fd(), read))
            });
            is_ready.recv().unwrap();
            std::io::Write::write_all(&mut ours, b"abc").unwrap();
            threads.interrupt();
            let (kind, all) = reader.join().unwrap();
            assert_eq!(kind, std::io::ErrorKind::WouldBlock);
            assert_eq!(all, b"abc");
        });
    }

    #[test]
    fn guard_and_membership_end_with_a_panic() {
        let threads = BlockingThreads::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let work = || threads.join(|| with_fd_guard(listener.as_fd(), || panic!("on purpose")));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
        assert!(threads.lock().members.is_empty());
        GUARDED.with(|guarded| assert_eq!(guarded.load(Relaxed), NONE));
    }

    #[test]
    fn a_late_member_is_interrupted_at_once() {
        on(SIGNAL);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let threads = BlockingThreads::default();
        threads.interrupt();
        thread::scope(|scope| {
            scope.spawn(|| {
                let accepted = threads.join(|| with_fd_guard(listener.as_fd(), || listener.accept()));
                assert_eq!(accepted.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            });
        });
    }
}
