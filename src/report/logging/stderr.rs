//! Standard error, written without waiting for its reader.
//!
//! A pipe or a terminal is reopened with `O_NONBLOCK` as descriptor 2. The open file description that other programs share stays
//! blocking. A socket cannot be reopened, but send(2) has MSG_DONTWAIT. If reopening fails (no /proc, or the pipe of another
//! user, as in many containers), pwritev2(2) has RWF_NOWAIT; on a kernel before Linux 6.4, poll(2) checks for room first.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind, IoSlice, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    sync::{Arc, OnceLock},
};

use log::Level;
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

use super::{
    outlet::{Outlet, PIECE, Target},
    sink::severity,
};

/// Set by the first call of [`outlet`].
static OUTLET: OnceLock<Arc<Outlet>> = OnceLock::new();

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

/// Standard error as a log target. After the first call no write to descriptor 2 blocks. The first call must precede giving up
/// root and entering the sandbox, either of which may deny the reopening.
pub(super) fn outlet() -> &'static Arc<Outlet> {
    OUTLET.get_or_init(|| Arc::new(Outlet::new(Target::Stderr(WriteMethod::find()))))
}

impl WriteMethod {
    fn find() -> WriteMethod {
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

/// Whether standard error is connected to the journal: `JOURNAL_STREAM` (systemd.exec(5)) contains its device and inode.
pub fn stderr_is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let own = fstat(io::stderr()).map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino));
    own.is_ok_and(|own| own == stream)
}

/// Prints a fatal error to standard error. In the journal its lines have the priority of errors.
pub fn print_error(text: &str) {
    let mut text = if stderr_is_journal() { prefixed(text, Level::Error) } else { text.to_owned() };
    text.push('\n');
    match OUTLET.get() {
        Some(outlet) => {
            outlet.write(text.as_bytes());
            outlet.finish();
        }
        // Before there is a log, a blocking write delays only this process. A failure cannot be reported anywhere.
        None => _ = io::stderr().write_all(text.as_bytes()),
    }
}

fn prefixed(text: &str, level: Level) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("<{}>{line}", severity(level))).collect();
    lines.join("\n")
}

/// Whether to colour lines on standard error: on a terminal that supports it, unless the environment forbids it (no-color.org,
/// bixense.com/clicolors).
pub(super) fn takes_colours() -> bool {
    let is = |key: &str, wanted: fn(&str) -> bool| {
        std::env::var_os(key).is_some_and(|value| value.to_str().is_none_or(wanted))
    };
    io::stderr().is_terminal()
        && !is("NO_COLOR", |value| !value.is_empty())
        && !is("CLICOLOR", |value| value == "0")
        && is("TERM", |value| value != "dumb")
}
