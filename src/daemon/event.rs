//! Events that threads send to the supervisor.

use std::{
    io,
    sync::{Arc, Mutex},
};

#[cfg(feature = "observe")]
use crate::observe::snapshot::SnapshotRequest;
use crate::{
    config::Loaded, report::error::Failure, socket::host_names::HostNames, sys::rtnetlink::InterfacesGone,
};

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
    /// Interfaces, addresses or routes of the machine have changed: what has gone since the last such event was taken out, and nothing
    /// if it was before this one.
    NetworkChanged(Arc<Mutex<Option<InterfacesGone>>>),
    /// Somebody looks at the daemon.
    #[cfg(feature = "observe")]
    Observed(SnapshotRequest),
}
