//! Why a connection ended.

use std::{
    fmt,
    io::{self, ErrorKind},
};

use crate::report::refusal_reason::RefusalReason;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer sent its end of file, and was sent all that it is owed.
    PeerClosed,
    /// The service had said all it has to say.
    ServiceClosed,
    /// The daemon stops.
    Stopped,
    /// Its listener was removed, and `drain-timeout` is over.
    DrainTimeout,
    /// Nothing had moved for `idle-timeout`.
    IdleTimeout,
    /// It was open for `max-lifetime`.
    MaxLifetime,
    /// It had sent `max-bytes`, and they were answered.
    MaxBytes,
    /// It was not let in: it came through a proxy that told something wrong, or of somebody who may not.
    Refused(RefusalReason),
    /// The peer reset the connection.
    PeerReset,
    /// A system call failed with this error number.
    Io(i32),
    /// The service panicked.
    Panicked,
    /// The event loop that served it failed.
    LoopFailed,
    /// The process that served it was killed by this signal.
    Killed(i32),
    /// The process that served it ended and said nothing.
    ChildExited,
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
