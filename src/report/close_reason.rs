//! Why a connection ended.

use std::{
    fmt,
    io::{self, ErrorKind},
};

use crate::report::refusal_reason::Reason;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer sent its end of file, and was sent all that it is owed.
    PeerClosed,
    /// The service had said all it has to say.
    ServiceClosed,
    /// The daemon stops.
    Stopped,
    /// Its listener was removed, and `drain-timeout` is over.
    Cut,
    /// Nothing had moved for `idle-timeout`.
    IdleTimeout,
    /// It was open for `max-lifetime`.
    MaxLifetime,
    /// It had sent `max-bytes`, and they were answered.
    MaxBytes,
    /// It was not let in: it came through a proxy that told something wrong, or of somebody who may not.
    Refused(Reason),
    /// The peer reset the connection.
    PeerReset,
    /// A system call failed with this error number.
    Failed(i32),
    /// The service panicked.
    Panicked,
    /// The event loop that served it failed.
    LoopFailed,
    /// The process that served it was killed by this signal.
    Killed(i32),
    /// The process that served it ended and said nothing.
    Vanished,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => End::PeerReset,
            _ => End::Failed(error.raw_os_error().unwrap_or(0)),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            End::PeerClosed => f.write_str("peer closed"),
            End::ServiceClosed => f.write_str("service done"),
            End::Stopped => f.write_str("daemon stops"),
            End::Cut => f.write_str("drain-timeout"),
            End::IdleTimeout => f.write_str("idle-timeout"),
            End::MaxLifetime => f.write_str("max-lifetime"),
            End::MaxBytes => f.write_str("max-bytes"),
            End::Refused(reason) => f.write_str(reason.line()),
            End::PeerReset => f.write_str("peer reset the connection"),
            End::Failed(errno) => write!(f, "{}", io::Error::from_raw_os_error(errno)),
            End::Panicked => f.write_str("the service panicked"),
            End::LoopFailed => f.write_str("its event loop failed"),
            End::Killed(signal) => write!(f, "its process was killed by signal {signal}"),
            End::Vanished => f.write_str("its process ended unexpectedly"),
        }
    }
}
