//! What the supervisor is told by the threads around it.

use std::io;

use crate::{config::Loaded, report::error::Failure, socket::listener::HostNames};

/// What has happened.
pub enum SupervisorEvent {
    /// A signal arrived.
    Signal(i32),
    /// Lines of the log have found no room.
    LogBehind,
    /// The threads of the station of this number have ended.
    Ended(usize, io::Result<()>),
    /// The configuration was read for the reload of this number, and the names in it were looked up.
    Read(usize, Box<Result<(Loaded, HostNames), Failure>>),
}
