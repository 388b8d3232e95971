//! fork(2) with a safe signature: only a single-threaded process forks, and the child ends in `_exit`.

#![allow(unsafe_code)]

use std::{
    io,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    panic::{AssertUnwindSafe, catch_unwind},
};

use nix::unistd::Pid;

/// Forks. The child runs `child` and exits with the status that it returns, or with 1 if it panics.
///
/// The child asks for SIGKILL at its parent's end (prctl(2), `PR_SET_PDEATHSIG`) before it runs `child`, so that no child
/// outlives the daemon, however it ends.
///
/// # Errors
/// EAGAIN or ENOMEM as in fork(2). Also if the process has more than one thread: another thread could hold the allocator's lock,
/// and the child would wait for that lock forever.
pub fn fork(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    let parent = Pid::this();
    only_thread()?;
    // SAFETY: this process has one thread (checked above), so the child is a complete copy of it. No lock is held by a thread
    // that the child lacks.
    match unsafe { _Fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            die_with(parent);
            let status = catch_unwind(AssertUnwindSafe(child)).unwrap_or(1);
            leave(status)
        }
        pid => Ok(Pid::from_raw(pid)),
    }
}

// POSIX.1-2024: fork(2) without the handlers of pthread_atfork(3). A single-threaded process has no lock for them to protect, and
// every child would pay a copy-on-write fault for the pages they write to.
unsafe extern "C" {
    fn _Fork() -> libc::pid_t;
}

/// Exits without destructors, exit handlers and flushes: what they would release or write belongs to the parent.
fn leave(status: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Makes the descriptor of `socket` a duplicate of `other`. A forked child drops its listening sockets this way. After a close(2)
/// the kernel could reuse the number while its owner still holds it.
pub fn let_go(socket: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are open. dup3(2) replaces the first one atomically, and its number stays open.
    match unsafe { libc::dup3(other.as_raw_fd(), socket.as_raw_fd(), libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Asks the kernel to kill this process when the thread that created it ends. Async-signal-safe, so it may run between fork and
/// exec.
pub fn die_with(parent: Pid) {
    // SAFETY: this prctl(2) takes a signal number and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // The parent may have ended before the prctl(2).
    if Pid::parent() != parent {
        leave(1);
    }
}

/// Fails unless this process has exactly one thread. The link count of /proc/self/task is the number of threads plus two.
fn only_thread() -> io::Result<()> {
    if never_had_another() {
        return Ok(());
    }
    let tasks = std::fs::metadata("/proc/self/task");
    let tasks = tasks.map_err(|error| io::Error::new(error.kind(), format!("/proc/self/task: {error}")))?;
    match tasks.nlink().saturating_sub(2) {
        1 => Ok(()),
        n => Err(io::Error::other(format!("cannot fork with {n} threads"))),
    }
}

/// Whether the C library knows that this process never started a thread.
#[cfg(target_env = "gnu")]
fn never_had_another() -> bool {
    // <sys/single_threaded.h>, since glibc 2.32.
    unsafe extern "C" {
        static __libc_single_threaded: libc::c_char;
    }
    // SAFETY: the library writes to it only when it starts a thread, and the only thread that could do so is reading it here.
    unsafe { __libc_single_threaded != 0 }
}

/// Other C libraries have no such flag.
#[cfg(not(target_env = "gnu"))]
fn never_had_another() -> bool {
    false
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_with_threads_does_not_fork() {
        // Makes sure of a second thread, whatever the test runner does.
        let (started, is_started) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || is_started.recv().is_err());
        let error = super::fork(|| 0).unwrap_err();
        drop(started);
        assert!(error.to_string().starts_with("cannot fork with "), "{error}");
        assert!(other.join().unwrap());
    }
}
