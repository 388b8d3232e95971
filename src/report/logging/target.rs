//! What is said of the target of a log before it is opened, and when it cannot be.

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use super::{
    outlet::{Outlet, Target},
    sink, stderr,
};
use crate::{
    config::{Log, LogTarget},
    report::{
        error::{Exit, Failure},
        regular_file,
    },
};

/// A stream that the process was started with, and not a file of ours: a pipe or a terminal as well, and never given to another user.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standard {
    Output,
    Error,
}

/// The stream that `path` is a name of.
fn standard(path: &Path) -> Option<Standard> {
    let is = |name: &str| path == Path::new(name);
    match () {
        () if ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].into_iter().any(is) => Some(Standard::Output),
        () if ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"].into_iter().any(is) => Some(Standard::Error),
        () => None,
    }
}

/// Opens what target `file` names; says whether it is a file of ours.
pub(super) fn open(path: &Path) -> io::Result<(Arc<Outlet>, bool)> {
    let (file, own) = match standard(path) {
        Some(Standard::Error) => return Ok((Arc::clone(stderr::outlet()), false)),
        Some(Standard::Output) => {
            // Opened again, because others who share what is open now expect it to block.
            let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
            (OpenOptions::new().append(true).custom_flags(flags).open("/proc/self/fd/1")?, false)
        }
        None => (sink::file(path)?, true),
    };
    Ok((Arc::new(Outlet::new(Target::File(file))), own))
}

/// What to say before a start of a target that is not there, and may come later.
pub fn missing(log: &Log) -> Option<String> {
    let error = (log.target == LogTarget::Syslog).then(sink::Datagrams::syslog)?.err()?;
    Some(format!(
        "cannot log to syslog yet: {error}; serving without a log until a syslog daemon listens there"
    ))
}

/// Says of a log file that exists and cannot be one, without opening it.
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
