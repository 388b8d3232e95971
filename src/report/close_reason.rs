//! Why a connection was closed.

use std::{
    fmt,
    io::{self, ErrorKind},
};

use crate::report::refusal_reason::RefusalReason;

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer sent its end of file, and all that was pending has been sent to it.
    PeerClosed,
    /// The service has sent its whole answer.
    ServiceClosed,
    /// The daemon is stopping.
    Stopped,
    /// The listener was removed, and `drain-timeout` is over.
    DrainTimeout,
    /// No byte has moved for `idle-timeout`.
    IdleTimeout,
    /// The connection was open for `max-lifetime`.
    MaxLifetime,
    /// The peer sent `max-bytes`, and they were answered.
    MaxBytes,
    /// Refused after accept: the PROXY header is invalid, or the client that it names is refused.
    Refused(RefusalReason),
    /// The peer reset the connection.
    PeerReset,
    /// A system call failed with this errno.
    Io(i32),
    /// The service panicked.
    Panicked,
    /// The event loop that served it failed.
    LoopFailed,
    /// The process that served it was killed by this signal.
    Killed(i32),
    /// The process that served it ended without a report.
    ChildExited,
}

impl CloseReason {
    /// The word that scripts know it by.
    pub fn word(self) -> &'static str {
        match self {
            CloseReason::PeerClosed => "peer-closed",
            CloseReason::ServiceClosed => "service-done",
            CloseReason::Stopped => "daemon-stops",
            CloseReason::DrainTimeout => "drain-timeout",
            CloseReason::IdleTimeout => "idle-timeout",
            CloseReason::MaxLifetime => "max-lifetime",
            CloseReason::MaxBytes => "max-bytes",
            CloseReason::Refused(reason) => reason.word(),
            CloseReason::PeerReset => "peer-reset",
            CloseReason::Io(_) => "error",
            CloseReason::Panicked => "panicked",
            CloseReason::LoopFailed => "loop-failed",
            CloseReason::Killed(_) => "killed",
            CloseReason::ChildExited => "child-exited",
        }
    }

    /// The error number of the system call that failed.
    pub fn errno(self) -> Option<i32> {
        if let CloseReason::Io(errno) = self { Some(errno) } else { None }
    }

    /// The signal that killed the process that served it.
    pub fn signal(self) -> Option<i32> {
        if let CloseReason::Killed(signal) = self { Some(signal) } else { None }
    }
}

impl From<io::Error> for CloseReason {
    fn from(error: io::Error) -> CloseReason {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => CloseReason::PeerReset,
            _ => CloseReason::Io(error.raw_os_error().unwrap_or(0)),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            CloseReason::PeerClosed => f.write_str("peer closed"),
            CloseReason::ServiceClosed => f.write_str("service done"),
            CloseReason::Stopped => f.write_str("daemon stops"),
            CloseReason::DrainTimeout => f.write_str("drain-timeout"),
            CloseReason::IdleTimeout => f.write_str("idle-timeout"),
            CloseReason::MaxLifetime => f.write_str("max-lifetime"),
            CloseReason::MaxBytes => f.write_str("max-bytes"),
            CloseReason::Refused(reason) => f.write_str(reason.line()),
            CloseReason::PeerReset => f.write_str("peer reset the connection"),
            CloseReason::Io(errno) => write!(f, "{}", io::Error::from_raw_os_error(errno)),
            CloseReason::Panicked => f.write_str("the service panicked"),
            CloseReason::LoopFailed => f.write_str("its event loop failed"),
            CloseReason::Killed(signal) => write!(f, "its process was killed by signal {signal}"),
            CloseReason::ChildExited => f.write_str("its process ended unexpectedly"),
        }
    }
}
