//! Executing this program again with inherited descriptors: every listener in mode forking gets a process of its own.

#![allow(unsafe_code)]

use std::{
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    unistd::Pid,
};

/// Variables that the service manager sets for the daemon alone (sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3)).
const OF_THE_DAEMON: [&str; 9] = [
    "NOTIFY_SOCKET",
    "FDSTORE",
    "ECHOD_FDSTORE",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
];

/// The running binary.
const PROGRAM: &str = "/proc/self/exe";

/// Executes the running binary with `flag`, the process id of the parent, and the numbers of `descriptors`. The child finds the
/// descriptors open under these numbers.
///
/// The child starts with all signals blocked. It has a process group of its own, so that the daemon decides what an interrupt
/// from the terminal does to it. The kernel kills it when the calling thread ends.
pub fn spawn(flag: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<Child> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let list: Vec<String> = raw.iter().map(ToString::to_string).collect();
    let parent = Pid::this();
    let mut command = again();
    command.arg(flag).arg(parent.to_string()).arg(list.join(",")).stdout(Stdio::null());
    let prepare = move || {
        super::fork::die_with(parent);
        super::interrupt::blockable().thread_block()?;
        raw.iter().try_for_each(|&fd| keep_open(fd))
    };
    // SAFETY: between fork and exec `prepare` makes only async-signal-safe system calls and allocates nothing: the vector was
    // filled before.
    unsafe { command.pre_exec(prepare) };
    command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(
            error.kind(),
            format!("{PROGRAM} is not there: mount /proc, which mode forking needs"),
        ),
        _ => error,
    })
}

/// Executes the running binary with `arguments`. Its output and its messages can be read. As a child of [`spawn`] it has a process
/// group of its own, and the kernel kills it when the calling thread ends.
#[cfg(feature = "client")]
pub fn start(arguments: &[&str]) -> io::Result<Child> {
    let parent = Pid::this();
    let mut command = again();
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let prepare = move || {
        super::fork::die_with(parent);
        Ok(())
    };
    // SAFETY: between fork and exec `prepare` makes only async-signal-safe system calls and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}

/// The running binary in a process group of its own, without input and without what is meant for the daemon alone.
fn again() -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg0("echod").process_group(0).stdin(Stdio::null());
    OF_THE_DAEMON.iter().for_each(|name| _ = command.env_remove(name));
    command
}

fn keep_open(fd: RawFd) -> io::Result<()> {
    // SAFETY: the descriptor is open. The caller of `spawn` borrows it until the child has been started.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

/// Takes ownership of the descriptors that [`spawn`] passed in `list`. To be called once, at start.
///
/// # Errors
/// If a number is not that of an open descriptor.
pub fn inherited(list: &str) -> io::Result<Vec<OwnedFd>> {
    list.split(',').map(take).collect()
}

/// Closes all descriptors from `first` on. To be called once, at start, before the program has opened one of them.
pub fn close_from(first: u32) {
    // SAFETY: close_range(2) accesses no memory. No value in this program owns one of these descriptors yet.
    if unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) } == 0 {
        return;
    }
    // A kernel before 5.9.
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<RawFd> =
        open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|&number| number as u32 >= first) {
        // SAFETY: as above. The directory is closed already; closing its number again fails with EBADF.
        unsafe { libc::close(number) };
    }
}

fn take(number: &str) -> io::Result<OwnedFd> {
    let bad = || io::Error::other(format!("`{number}` is no inherited descriptor"));
    let raw: RawFd = number.parse().ok().filter(|&n| n > 2).ok_or_else(bad)?;
    // SAFETY: F_SETFD on a number that is not open fails with EBADF and has no effect.
    let done = unsafe { libc::fcntl(raw, libc::F_SETFD, libc::FD_CLOEXEC) };
    if done < 0 {
        return Err(bad());
    }
    // SAFETY: the descriptor is open (the call above succeeded) and was passed to this process for this purpose. The caller takes
    // the list once, before the program opens descriptors.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}
