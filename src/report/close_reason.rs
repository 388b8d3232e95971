//! Why a connection was closed.

use std::{
    fmt,
    io::{self, ErrorKind},
};

use crate::report::{fault_kind::FaultKind, refusal_reason::RefusalReason};

/// Defines [`CloseReason`] and [`CloseKind`] with their words, so that no end of a connection can be without a counter.
macro_rules! reasons {
    ($($(#[$about:meta])* $name:ident $(($detail:ty))? = $word:literal;)*) => {
        /// Why a connection was closed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CloseReason {
            $($(#[$about])* $name $(($detail))?,)*
        }

        /// Why a connection was closed, without the detail: connections that have ended are counted by it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum CloseKind {
            $($(#[$about])* $name,)*
        }

        impl CloseReason {
            /// The reason without its detail.
            pub fn kind(self) -> CloseKind {
                match self { $(CloseReason::$name { .. } => CloseKind::$name,)* }
            }
        }

        impl CloseKind {
            /// All kinds, in the order of their numbers.
            pub const ALL: [CloseKind; [$($word),*].len()] = [$(CloseKind::$name),*];

            /// The keyword for counters and scripts.
            pub fn word(self) -> &'static str {
                match self { $(CloseKind::$name => $word,)* }
            }
        }
    };
}

reasons! {
    /// The peer sent its end of file, and all that was pending has been sent to it.
    PeerClosed = "peer-closed";
    /// The service has sent its whole answer.
    ServiceClosed = "service-done";
    /// The daemon is stopping.
    Stopped = "daemon-stops";
    /// The listener was removed, and `drain-timeout` is over.
    DrainTimeout = "drain-timeout";
    /// No byte has moved for `idle-timeout`.
    IdleTimeout = "idle-timeout";
    /// The connection was open for `max-lifetime`.
    MaxLifetime = "max-lifetime";
    /// The peer sent `max-bytes`, and they were answered.
    MaxBytes = "max-bytes";
    /// The peer sent a record that is longer than any that is answered.
    LongRecord = "record-too-long";
    /// Refused after accept: the PROXY header is invalid, the client that it names is refused, or the socket cannot be polled.
    Refused(RefusalReason) = "refused";
    /// The peer reset the connection.
    PeerReset = "peer-reset";
    /// A system call failed with this errno.
    Io(i32) = "error";
    /// The plan of faults of the listener ended it.
    OnPurpose(FaultKind) = "on-purpose";
    /// The service panicked.
    Panicked = "panicked";
    /// The event loop that served it failed.
    LoopFailed = "loop-failed";
    /// The process that served it was killed by this signal.
    Killed(i32) = "killed";
    /// The process that served it ended without a report.
    ChildExited = "child-exited";
}

impl CloseReason {
    /// The word that scripts know it by: that of a refusal says why, and that of a fault on purpose which one.
    pub fn word(self) -> &'static str {
        match self {
            CloseReason::Refused(reason) => reason.word(),
            CloseReason::OnPurpose(fault) => fault.word(),
            _ => self.kind().word(),
        }
    }

    /// Whether a fault of the daemon ended the connection.
    pub fn is_fault(self) -> bool {
        use CloseReason::{ChildExited, Killed, LoopFailed, Panicked};
        matches!(self, Panicked | LoopFailed | Killed(_) | ChildExited)
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
            CloseReason::LongRecord => f.write_str("record of more than 65,536 bytes"),
            CloseReason::Refused(reason) => f.write_str(reason.line()),
            CloseReason::PeerReset => f.write_str("peer reset the connection"),
            CloseReason::Io(errno) => write!(f, "{}", io::Error::from_raw_os_error(errno)),
            CloseReason::OnPurpose(fault) => write!(f, "on purpose, by {fault}"),
            CloseReason::Panicked => f.write_str("the service panicked"),
            CloseReason::LoopFailed => f.write_str("its event loop failed"),
            CloseReason::Killed(signal) => write!(f, "its process was killed by signal {signal}"),
            CloseReason::ChildExited => f.write_str("its process ended unexpectedly"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_number_and_a_unique_keyword() {
        let mut words = Vec::new();
        for (number, kind) in CloseKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            assert!(!words.contains(&kind.word()), "{} twice", kind.word());
            words.push(kind.word());
        }
        assert_eq!(words.len(), 16);
    }

    #[test]
    fn the_log_tells_why_a_client_was_refused() {
        let reason = CloseReason::Refused(RefusalReason::ProxyTimeout);
        assert_eq!((reason.word(), reason.kind().word()), ("proxy-timeout", "refused"));
        assert_eq!(CloseReason::Io(libc::EIO).word(), "error");
    }
}
