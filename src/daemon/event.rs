//! Events that threads send to the supervisor.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

#[cfg(feature = "observe")]
use crate::observe::snapshot::SnapshotRequest;
use crate::{config::Loaded, report::error::Failure, socket::host_names::HostNames};

/// What has happened.
pub enum SupervisorEvent {
    /// A signal arrived.
    Signal(i32),
    /// Log lines are queued, because their output is full.
    LogBehind,
    /// The threads of the running listener with this number have ended.
    Ended(usize, io::Result<()>),
    /// The configuration was read for the reload with this number, and its host names were looked up.
    Read(usize, Box<Result<(Loaded, HostNames), Failure>>),
    /// Interfaces or addresses of the machine have changed. To be reset before looking: while it is set, no other such event comes.
    NetworkChanged(Arc<AtomicBool>),
    /// Somebody looks at the daemon.
    #[cfg(feature = "observe")]
    Observed(SnapshotRequest),
}
