//! Standard error, written without waiting for its reader.
//!
//! A pipe or a terminal is reopened with `O_NONBLOCK` as descriptor 2. The open file description that other programs share stays
//! blocking. A socket cannot be reopened, but send(2) has MSG_DONTWAIT. If reopening fails (no /proc, or the pipe of another
//! user, as in many containers), pwritev2(2) has RWF_NOWAIT; on a kernel before Linux 6.4, poll(2) checks for room first.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind, IoSlice, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::{SFlag, fstat},
    unistd::dup2_stderr,
};
use rustix::{
    io::{Errno, ReadWriteFlags, pwritev2},
    net::{SendFlags, send},
};

/// The size up to which a write to a pipe is atomic (pipe(7), `PIPE_BUF`), so that lines of several processes do not mix.
pub(super) const PIECE: usize = 4096;

/// How a write to standard error avoids blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteMethod {
    /// write(2): the descriptor is non-blocking, or a file.
    Plain,
    /// send(2) with MSG_DONTWAIT.
    Socket,
    /// pwritev2(2) with RWF_NOWAIT, or poll(2) before write(2).
    Careful,
}

impl WriteMethod {
    pub(super) fn find() -> WriteMethod {
        let kind = fstat(io::stderr()).map_or(0, |stat| stat.st_mode) & SFlag::S_IFMT.bits();
        if kind == SFlag::S_IFSOCK.bits() {
            return WriteMethod::Socket;
        }
        if kind != SFlag::S_IFIFO.bits() && !io::stderr().is_terminal() {
            return WriteMethod::Plain;
        }
        // The process of a forking listener inherits the descriptor that the daemon reopened.
        let flags = fcntl(io::stderr(), FcntlArg::F_GETFL).unwrap_or(0);
        match OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK) || reopen().is_ok() {
            true => WriteMethod::Plain,
            false => WriteMethod::Careful,
        }
    }

    /// Writes as much as there is room for.
    pub(super) fn write(self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            WriteMethod::Plain => io::stderr().write(bytes),
            WriteMethod::Socket => Ok(send(io::stderr(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?),
            WriteMethod::Careful => {
                match pwritev2(io::stderr(), &[IoSlice::new(bytes)], u64::MAX, ReadWriteFlags::NOWAIT) {
                    Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => write_if_writable(bytes),
                    written => Ok(written?),
                }
            }
        }
    }
}

fn reopen() -> io::Result<()> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let reopened = OpenOptions::new().write(true).custom_flags(flags).open("/proc/self/fd/2")?;
    Ok(dup2_stderr(reopened)?)
}

/// A writable pipe has room for `PIPE_BUF` bytes.
fn write_if_writable(bytes: &[u8]) -> io::Result<usize> {
    let stderr = io::stderr();
    let mut polled = [PollFd::new(std::os::fd::AsFd::as_fd(&stderr), PollFlags::POLLOUT)];
    match poll(&mut polled, PollTimeout::ZERO)? {
        0 => Err(ErrorKind::WouldBlock.into()),
        _ => io::stderr().write(&bytes[..bytes.len().min(PIECE)]),
    }
}
