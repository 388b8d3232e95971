//! What there is to be seen of the daemon at one moment: plain data, which `/status` tells as JSON and the commands read again.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::explain::{ClientAnswer, ClientQuery};
use crate::{config::Protocol, report::stats::Totals};

/// The daemon at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Snapshot {
    /// The version of echod.
    pub version: String,
    /// The process id of the daemon.
    pub pid: u32,
    /// When this was seen, in seconds since 1970.
    pub time: f64,
    /// When the daemon was started, in seconds since 1970.
    pub started: f64,
    /// Whether it drains: no client is accepted any more.
    pub draining: bool,
    /// The configuration file, if there is one.
    pub config: Option<String>,
    /// The last reading of the configuration.
    pub reload: LastReload,
    /// The layers of the sandbox that are in effect, in words.
    pub sandbox: Vec<String>,
    /// The processes of forking listeners.
    pub processes: Vec<u32>,
    /// The listeners, in the order of the configuration.
    pub listeners: Vec<ListenerView>,
    /// What is known of the clients that were asked about. `/status` does not have it.
    #[serde(skip)]
    pub clients: Vec<(ClientQuery, ClientAnswer)>,
}

/// How a configuration was taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct LastReload {
    /// Whether the last attempt was successful. The start counts as one.
    pub successful: bool,
    /// When a configuration was last taken, in seconds since 1970.
    pub success_time: f64,
    /// Why the last attempt was refused.
    pub refused: Option<String>,
}

/// One listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub protocol: String,
    /// Its mode.
    pub mode: String,
    /// Its service.
    pub service: String,
    /// The URLs of its sockets.
    pub addresses: Vec<String>,
    /// Its state.
    pub state: State,
    /// Whether every worker has acknowledged the last ping.
    pub responds: bool,
    /// How many threads, processes or loops the configuration gives it; 0 is one for each request.
    pub workers: u32,
    /// The process of a forking listener.
    pub pid: Option<u32>,
    /// Open connections.
    pub open: u32,
    /// `max-connections`.
    pub limit: u32,
    /// The plan of faults on purpose that is in force, if there is one.
    pub faults: Option<FaultsView>,
    /// The interfaces on which the kernel echoes for it (`offload`). `None` if it does not ask, or cannot have it.
    pub offload: Option<Vec<String>>,
    /// What has happened since the start; a reload takes nothing away.
    pub totals: Totals,
}

impl ListenerView {
    /// Its protocol; `None` if a newer daemon has one that is not known here.
    pub fn known_protocol(&self) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|protocol| protocol.to_string() == self.protocol)
    }

    /// Whether it misbehaves on purpose, or did so before a reload.
    pub fn has_faults(&self) -> bool {
        self.faults.is_some() || self.totals.faults.values().any(|count| *count > 0)
    }

    /// Whether it has connections.
    pub fn is_stream(&self) -> bool {
        self.known_protocol().is_some_and(Protocol::is_stream)
    }
}

/// A plan of faults on purpose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct FaultsView {
    /// Its name.
    pub plan: String,
    /// The number that all of its decisions are computed from.
    pub seed: u64,
}

/// For people: `wifi (seed 42)`.
impl fmt::Display for FaultsView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (seed {})", self.plan, self.seed)
    }
}

/// What becomes of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It serves clients.
    #[default]
    Serving,
    /// A failure has ended it.
    Failed,
    /// It has ended.
    Ended,
}

/// A request for a snapshot.
pub struct SnapshotRequest {
    /// Whether to ping the workers, so that a later snapshot tells whether they respond.
    pub ping: bool,
    /// The clients that the snapshot tells of.
    pub clients: Vec<ClientQuery>,
    /// Takes the snapshot.
    pub answer: Box<dyn FnOnce(Snapshot) + Send>,
}
