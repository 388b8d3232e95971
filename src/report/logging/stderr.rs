//! Standard error, written to without ever waiting for its reader.
//!
//! A pipe or a terminal is opened once more, without blocking, and takes the place of descriptor 2: the open file description
//! that other programs share stays as it is. A socket cannot be opened again, but send(2) has a flag for each call. Where opening
//! fails (no /proc, or the pipe belongs to another user, as in many containers) pwritev2(2) has a flag, too; a kernel before
//! Linux 6.4 is asked by poll(2) for room first.

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

/// Set once lines are written without waiting.
static OUTLET: OnceLock<Arc<Outlet>> = OnceLock::new();

/// How a write to standard error returns at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// write(2): it does not block, or is a file.
    Plain,
    /// send(2).
    Socket,
    /// pwritev2(2), or poll(2) before write(2).
    Careful,
}

/// Standard error as the target of a log. From the first call on no write to descriptor 2 waits, whoever makes it. To be called first
/// before root is given up and the sandbox is entered, which may take the right to open it again.
pub(super) fn outlet() -> &'static Arc<Outlet> {
    OUTLET.get_or_init(|| Arc::new(Outlet::new(Target::Stderr(Means::find()))))
}

impl Means {
    fn find() -> Means {
        let kind = fstat(io::stderr()).map_or(0, |stat| stat.st_mode) & SFlag::S_IFMT.bits();
        if kind == SFlag::S_IFSOCK.bits() {
            return Means::Socket;
        }
        if kind != SFlag::S_IFIFO.bits() && !io::stderr().is_terminal() {
            return Means::Plain;
        }
        // A process of a forking listener inherits what the daemon has opened.
        let flags = fcntl(io::stderr(), FcntlArg::F_GETFL).unwrap_or(0);
        match OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK) || open_again().is_ok() {
            true => Means::Plain,
            false => Means::Careful,
        }
    }

    /// Writes as much as there is room for.
    pub(super) fn write(self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Means::Plain => io::stderr().write(bytes),
            Means::Socket => Ok(send(io::stderr(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?),
            Means::Careful => {
                match pwritev2(io::stderr(), &[IoSlice::new(bytes)], u64::MAX, ReadWriteFlags::NOWAIT) {
                    Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => write_if_writable(bytes),
                    written => Ok(written?),
                }
            }
        }
    }
}

fn open_again() -> io::Result<()> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let again = OpenOptions::new().write(true).custom_flags(flags).open("/proc/self/fd/2")?;
    Ok(dup2_stderr(again)?)
}

/// A pipe that is writable has room for a piece.
fn write_if_writable(bytes: &[u8]) -> io::Result<usize> {
    let stderr = io::stderr();
    let mut polled = [PollFd::new(std::os::fd::AsFd::as_fd(&stderr), PollFlags::POLLOUT)];
    match poll(&mut polled, PollTimeout::ZERO)? {
        0 => Err(ErrorKind::WouldBlock.into()),
        _ => io::stderr().write(&bytes[..bytes.len().min(PIECE)]),
    }
}

/// Whether standard error is the journal's: `JOURNAL_STREAM` of systemd.exec(5) names its device and inode.
pub fn stderr_is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let own = fstat(io::stderr()).map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino));
    own.is_ok_and(|own| own == stream)
}

/// Prints to standard error why the daemon cannot go on: in the journal these lines are errors, like those of the log.
pub fn print_error(text: &str) {
    let mut text = if stderr_is_journal() { prefixed(text, Level::Error) } else { text.to_owned() };
    text.push('\n');
    match OUTLET.get() {
        Some(outlet) => {
            outlet.write(text.as_bytes());
            outlet.finish();
        }
        // Before there is a log nobody else is kept waiting. Without a standard error there is nobody to tell.
        None => _ = io::stderr().write_all(text.as_bytes()),
    }
}

fn prefixed(text: &str, level: Level) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("<{}>{line}", severity(level))).collect();
    lines.join("\n")
}

/// Whether lines on standard error are to be coloured: on a terminal that can show it, unless the environment says otherwise
/// (no-color.org, bixense.com/clicolors).
pub(super) fn takes_colours() -> bool {
    let is = |key: &str, wanted: fn(&str) -> bool| {
        std::env::var_os(key).is_some_and(|value| value.to_str().is_none_or(wanted))
    };
    io::stderr().is_terminal()
        && !is("NO_COLOR", |value| !value.is_empty())
        && !is("CLICOLOR", |value| value == "0")
        && is("TERM", |value| value != "dumb")
}
