//! Opening and checking the target of a log.

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use super::{
    outlet::{OpenTarget, Outlet},
    sink, stderr,
};
use crate::{
    config::{Log, LogTarget},
    report::{
        error::{Exit, Failure},
        regular_file,
    },
};

/// A standard stream, as opposed to a file that the daemon opens: it may be a pipe or a terminal, and its owner is never changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standard {
    Output,
    Error,
}

/// The standard stream that `path` names.
fn standard(path: &Path) -> Option<Standard> {
    let is = |name: &str| path == Path::new(name);
    match () {
        () if ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].into_iter().any(is) => Some(Standard::Output),
        () if ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"].into_iter().any(is) => Some(Standard::Error),
        () => None,
    }
}

/// Opens the path of target `file`. Also returns whether it is a file of the daemon's own, rather than a standard stream.
pub(super) fn open(path: &Path) -> io::Result<(Arc<Outlet>, bool)> {
    let (file, own) = match standard(path) {
        Some(Standard::Error) => return Ok((Arc::clone(stderr::outlet()), false)),
        Some(Standard::Output) => {
            // Reopened: other processes that share the open file description expect it to block.
            let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
            (OpenOptions::new().append(true).custom_flags(flags).open("/proc/self/fd/1")?, false)
        }
        None => (sink::file(path)?, true),
    };
    Ok((Arc::new(Outlet::new(OpenTarget::File(file))), own))
}

/// A warning for a start whose target is not available yet.
pub fn missing(log: &Log) -> Option<String> {
    let error = (log.target == LogTarget::Syslog).then(sink::Datagrams::syslog)?.err()?;
    Some(format!(
        "cannot log to syslog yet: {error}; serving without a log until a syslog daemon listens there"
    ))
}

/// Checks a log file without opening it: if it exists, it must be usable.
pub fn check(log: &Log) -> Result<(), Failure> {
    let (LogTarget::File, Some(path)) = (log.target, &log.file) else { return Ok(()) };
    if standard(path).is_some() {
        return Ok(());
    }
    regular_file::check(path).map_err(|error| cannot_log(&path.display().to_string(), &error))
}

pub(super) fn cannot_log(what: &str, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::NoPermission,
        _ => Exit::Unavailable,
    };
    Failure::new(exit, format!("cannot log to {what}: {error}; choose another `target` in `[log]`"))
}
