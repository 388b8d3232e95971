//! What a check finds: why a conversation went wrong, and what that means.

use std::{fmt, io, time::Duration};

use crate::socket::resolve::error_text;

/// Why a conversation did not go on.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nobody is at the address.
    Nobody(io::Error),
    /// Nothing more came.
    Silent { waited: Duration, received: usize },
    /// The server takes no more bytes.
    Unread { waited: Duration, sent: usize },
    /// The server ended its side.
    Closed { received: usize },
    /// The server reset the connection.
    Reset { received: usize },
    /// Another byte came than was sent; none was due if there is no `sent`.
    Differs { at: usize, sent: Option<u8>, came: u8 },
    /// A record came back with another length.
    Length { number: usize, sent: usize, came: usize },
    /// More came than may be said.
    Endless { most: usize },
    /// It goes on, but too slowly.
    Slow { whole: Duration },
    /// A datagram of that length cannot be sent from here.
    TooLong { length: usize },
    /// A system call failed here.
    Failed(io::Error),
}

impl Trouble {
    /// What an error of a connected socket means.
    pub(super) fn of(error: io::Error, received: usize) -> Trouble {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Trouble::Reset { received },
            io::ErrorKind::ConnectionRefused => Trouble::Nobody(error),
            _ => Trouble::Failed(error),
        }
    }

    /// What it means for a check that expects `expected`.
    pub(super) fn wrong(self, expected: impl Into<String>, cure: &str) -> Complaint {
        Complaint::wrong(expected, self.to_string(), cure)
    }

    /// The same for the first check of a server.
    pub(super) fn first(self, expected: impl Into<String>, cure: &str) -> Complaint {
        match self {
            Trouble::Nobody(_) => Complaint::Nobody(Finding {
                expected: expected.into(),
                found: self.to_string(),
                cure: "check the address, that the server runs, and that no firewall is in the way"
                    .to_owned(),
            }),
            _ => self.wrong(expected, cure),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody(error) => write!(f, "nobody is there: {}", error_text(error)),
            Self::Silent { waited, received: 0 } => write!(f, "nothing within {waited:?}"),
            Self::Silent { waited, received } => {
                write!(f, "{received} bytes, then nothing for {waited:?}")
            }
            Self::Unread { waited, sent } => {
                write!(f, "the server took {sent} bytes, then none for {waited:?}")
            }
            Self::Closed { received } => write!(f, "the end of the stream after {received} bytes"),
            Self::Reset { received } => write!(f, "a reset after {received} bytes"),
            Self::Differs { at, sent: Some(sent), came } => {
                write!(f, "byte {at} was sent as 0x{sent:02x} and came back as 0x{came:02x}")
            }
            Self::Differs { at, sent: None, came } => {
                write!(f, "more than the {at} bytes that were due, beginning with 0x{came:02x}")
            }
            Self::Length { number, sent, came } => {
                write!(f, "record {} was sent with {sent} bytes and came back with {came}", number + 1)
            }
            Self::Endless { most } => write!(f, "more than {most} bytes"),
            Self::Slow { whole } => write!(f, "no end within {whole:?}"),
            Self::TooLong { length } => write!(f, "this machine sends no datagram of {length} bytes"),
            Self::Failed(error) => write!(f, "this machine failed: {}", error_text(error)),
        }
    }
}

/// Why a check is not passed.
#[derive(Debug)]
pub(super) enum Complaint {
    /// The server does something else.
    Wrong(Finding),
    /// Nobody is there.
    Nobody(Finding),
    /// It does not apply.
    Skipped(String),
}

/// What should have been, what was, and what to do.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) expected: String,
    pub(super) found: String,
    pub(super) cure: String,
}

impl Complaint {
    pub(super) fn wrong(expected: impl Into<String>, found: impl Into<String>, cure: &str) -> Complaint {
        Complaint::Wrong(Finding { expected: expected.into(), found: found.into(), cure: cure.to_owned() })
    }
}
