//! What is to be served: valid, plain data. A table of keys (`listener`, `faults`, `daemon`, `log`, `observe`) declares each key once: its type, its
//! notation, its default, which listeners may have it, what a reload does with it, its text and an example. Reading, defaults,
//! `--print-config`, the parameters of a URL and the pages follow from it.
//!
//! In: a file, the files that it includes, URLs, files of networks. Out: a [`Config`] in which nothing can be wrong, or all that is wrong, each with its line
//! and what to do. Read `listener`, then `keys`, then `load`, which says in which order a configuration is read.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

mod address;
mod applicability;
mod choices;
mod claims;
mod diagnostic;
mod document;
mod dscp;
pub mod embedded;
mod encoding;
mod fault_values;
mod faults;
mod included;
mod includes;
mod keepalive;
mod keys;
mod load;
mod misfit;
mod networks;
mod no_network;
mod note;
mod observe;
mod origins;
mod owners;
mod ports;
mod proxy;
mod rate;
mod reference;
mod report;
mod scheme;
mod source;
mod synonyms;
mod syntax;
mod text_file;
mod units;
mod url;
mod validate;
mod values;
mod words;

pub use crate::config::keys::daemon::Daemon;
pub use crate::config::keys::faults::FaultPlan;
pub use crate::config::keys::listener::Listener;
pub use crate::config::keys::log::Log;
pub use crate::config::keys::observe::Observe;
pub use address::{Address, Host};
pub use choices::{
    DontFragment, Fallback, Mode, Offload, Protocol, Sandbox, ServiceKind, Trigger, WhenFull, Workers,
};
pub use claims::{Claim, Claims, is_wildcard_of};
pub use dscp::Dscp;
pub use fault_values::{After, Chance, Chunk, Delay, DropBurst, LONGEST_HOLD, Reorder, Stall, Truncate};
pub use keepalive::{Keepalive, Probes};
pub use load::{ConfigError, Environment, ErrorKind, Inputs, Loaded, load, load_url};
pub use networks::everybody;
pub use note::Note;
pub use observe::EndpointAddress;
pub use origins::Origins;
pub use ports::{PortChoice, SourcePorts};
pub use proxy::{ProxyProtocol, loopback};
pub use rate::{Period, Rate};
pub use reference::{INCLUDE, KeyInfo, reference, schema};
pub use scheme::listener_url;

/// Everything that the daemon was asked to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The process as a whole.
    pub daemon: Daemon,
    /// What is written about what happens, how and where.
    pub log: Log,
    /// The HTTP endpoint at which it is observed.
    pub observe: Observe,
    /// What is served, in the order of the file; entries with `enabled = false` are not among them.
    pub listeners: Vec<Listener>,
    /// The plans of faults on purpose, whether a listener uses them or not.
    pub faults: Vec<Arc<FaultPlan>>,
}

/// How fast one source may come: neither, either or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRate {
    /// Connections or datagrams.
    pub count: Option<Rate>,
    /// Bytes of datagrams.
    pub bytes: Option<Rate>,
}

/// Whether and how the log shows what each client wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// Not at all.
    Off,
    /// As text, control characters escaped.
    Text,
    /// As hexadecimal digits.
    Hex,
}

/// A user or a group, looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// As written: a name or a number.
    pub name: String,
    /// The numeric id.
    pub id: u32,
}

/// How much is logged; `-v` and `-q` move along this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What the daemon could not do.
    Error,
    /// What an administrator should look at.
    Warn,
    /// Start, stop, and a line for each connection.
    Info,
    /// Also a line for each datagram.
    Debug,
    /// All there is.
    Trace,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogTarget {
    /// Standard error in the foreground, syslog for a daemon that has left its terminal.
    Auto,
    /// Standard error.
    Stderr,
    /// The syslog daemon, by /dev/log.
    Syslog,
    /// The journal, by its own protocol.
    Journald,
    /// A file.
    File,
}

/// A duration as files have it, such as `250ms`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn duration(text: &str) -> Result<Duration, String> {
    units::read_duration(text).map_err(|wrong| format!("{}; {}", wrong.title, wrong.help))
}

/// Whether a listener may have `key`.
pub fn is_listener_key(key: &str) -> bool {
    keys::all().any(|(table, known)| table == "[[listener]]" && known.name() == key)
}

/// Text of a user in a message, unable to draw anything of its own.
fn quoted(text: &str) -> String {
    // Quotes cannot draw anything.
    format!("`{}`", text.escape_debug()).replace("\\'", "'").replace("\\\"", "\"")
}

#[cfg(test)]
mod tests;
