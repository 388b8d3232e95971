//! What is known of one client at a moment, for those who ask. Only what limits and guards decide by.

use serde::{Deserialize, Serialize};

/// A number and its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Level {
    /// How many there are.
    pub now: u64,
    /// How many there may be.
    pub of: u64,
}

/// What a listener knows of a client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct AccessState {
    /// Its source, if something is limited by source.
    pub source: Option<SourceState>,
    /// The peer of datagrams, if the listener guards against loops and victims.
    pub peer: Option<PeerState>,
}

/// A source in the table of a listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct SourceState {
    /// What is counted as one source: an address, a network or a user.
    pub counted_as: String,
    /// Open connections of `max-connections-per-source`, if that is limited.
    pub open: Option<Level>,
    /// Requests that are left in the bucket of `rate-per-source`, if that limits them.
    pub requests: Option<Level>,
    /// Bytes that are left in the bucket of `rate-per-source`, if that limits them.
    pub bytes: Option<Level>,
    /// The seconds until the source has cooled down; 0 if it does not have to.
    pub cool_down: f64,
}

/// A peer in the tables of the guard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct PeerState {
    /// The seconds for which nothing is sent there, because it refused what was sent (ICMP port unreachable).
    pub victim: Option<f64>,
    /// The answers in a row of those after which `loop-breaker` withholds one. Only known for an address with a port.
    pub run: Option<Level>,
    /// Whether it is in `trusted`, so that it is answered in spite of both.
    pub trusted: bool,
}
