//! fork(2), made safe: only in a process with a single thread, and the child ends by `_exit` without returning.

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

/// Forks; the child runs `child` and ends with the exit status that it returns (1 if it panicked).
///
/// Before `child` runs, the new process has asked to be killed when its parent ends (prctl(2), `PR_SET_PDEATHSIG`), so
/// that no process outlives the daemon, whatever kills it.
///
/// # Errors
/// EAGAIN or ENOMEM as fork(2) says. Also fails in a process with more than one thread: another thread could hold the
/// lock of the allocator at that moment, and the child would wait for it for ever.
pub fn fork(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    let parent = Pid::this();
    only_thread()?;
    // SAFETY: this process has one thread (checked above), so the child is a whole copy of it: no lock is held by a
    // thread that does not exist there.
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

// POSIX.1-2024: fork(2) without the handlers of pthread_atfork(3). With a single thread there is no lock for them to
// see to, and the memory that they write to would have to be copied for every child.
unsafe extern "C" {
    fn _Fork() -> libc::pid_t;
}

/// Ends the process at once: no destructor, no exit handler, no flush of what belongs to the parent.
fn leave(status: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Makes the descriptor of `socket` in this process another one of `other`: a forked child leaves the listening sockets
/// to its parent that way. (Closing it instead would let the number be used for something else, under its owner.)
pub fn let_go(socket: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open; dup3(2) replaces what the first number stands for in one step, and the number stays open.
    match unsafe { libc::dup3(other.as_raw_fd(), socket.as_raw_fd(), libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Asks the kernel to kill this process when the thread that made it ends. Also for use between fork and exec.
pub fn die_with(parent: Pid) {
    // SAFETY: this prctl(2) takes a signal number and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // The parent may have ended before that.
    if Pid::parent() != parent {
        leave(1);
    }
}

/// Fails unless this process has exactly one thread. The link count of /proc/self/task is that number plus two.
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

/// Whether the C library knows that no thread was ever started in this process.
#[cfg(target_env = "gnu")]
fn never_had_another() -> bool {
    // <sys/single_threaded.h>, since glibc 2.32.
    unsafe extern "C" {
        static __libc_single_threaded: libc::c_char;
    }
    // SAFETY: the library writes to it only when it starts a thread, which the one that reads it here would have to do.
    unsafe { __libc_single_threaded != 0 }
}

/// Other C libraries do not tell.
#[cfg(not(target_env = "gnu"))]
fn never_had_another() -> bool {
    false
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_with_threads_does_not_fork() {
        // The test runner itself has several.
        let (started, is_started) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || is_started.recv().is_err());
        let error = super::fork(|| 0).unwrap_err();
        drop(started);
        assert!(error.to_string().starts_with("cannot fork with "), "{error}");
        assert!(other.join().unwrap());
    }
}
