//! What is to be served: valid, plain data. The shapes as written in the file are in `file`, the errors that point at a
//! line in `diagnostic`; by the time a [`Config`] exists nothing in it can be wrong any more.
//!
//! Every type here serialises in the words of the configuration file: `--print-config` prints a file that means the
//! same, and a forking listener's process is handed its settings that way.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::embedded::plain;

mod address;
mod choices;
mod claims;
mod diagnostic;
mod encoding;
mod file;
mod forms;
mod includes;
mod inet;
mod load;
mod misfit;
mod networks;
mod no_network;
mod origins;
mod parse;
mod ports;
mod proxy;
mod rate;
mod report;
mod scheme;
mod source;
mod synonyms;
mod syntax;
mod text_file;
mod units;
mod unknown_key;
mod url;
mod validate;
mod words;

pub use address::{Address, Host};
pub use choices::{Fallback, Mode, Protocol, Sandbox, ServiceKind, Trigger, WhenFull, Workers};
pub use claims::{Claim, Claims};
pub use load::{ConfigError, Environment, ErrorKind, Inputs, Loaded, load, load_url};
pub use networks::everybody;
pub use origins::Origins;
pub use ports::{PortChoice, SourcePorts};
pub use proxy::{ProxyProtocol, loopback};
pub use rate::{Period, Rate};
pub use scheme::listener_url;

/// Everything that the daemon was asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// The process as a whole.
    pub daemon: Daemon,
    /// What is written about what happens, how and where.
    pub log: Log,
    /// What is served, in the order of the file; entries with `enabled = false` are not among them.
    #[serde(rename = "listener")]
    pub listeners: Vec<Listener>,
}

/// `[daemon]`: the process as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Daemon {
    /// How long open connections may take to end after the first SIGTERM; zero does not wait (`block_on_close`).
    #[serde(with = "units::duration")]
    pub drain_timeout: Duration,
    /// Exit when nothing was served and nothing is open for so long (`handle_timeout`); never by default.
    #[serde(with = "units::optional_duration")]
    pub exit_idle_time: Option<Duration>,
    /// The file that holds the process id, locked while the daemon lives.
    pub pid_file: Option<PathBuf>,
    /// The user to become once all sockets are bound.
    pub user: Option<Owner>,
    /// The group to become then; that of the user by default.
    pub group: Option<Owner>,
    /// Whether the daemon locks itself in before it serves.
    pub sandbox: Sandbox,
}

/// `[log]`: what is written about what happens, how and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Log {
    /// The least important level that is written.
    pub level: LogLevel,
    /// Lines for people, or one JSON object a line.
    pub format: LogFormat,
    /// Where lines go.
    pub target: LogTarget,
    /// The file, for [`LogTarget::File`].
    pub file: Option<PathBuf>,
}

/// One `[[listener]]`: where (protocol, address), how (mode, workers) and what (service).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listener {
    /// What the log and the announcement call it; unique.
    pub name: String,
    /// The kind of socket.
    pub protocol: Protocol,
    /// Where to bind, at least one; each port of a range is a socket of its own.
    pub address: Vec<Address>,
    /// Leave out an address that this machine does not have, instead of failing.
    pub optional: bool,
    /// The concurrency mode.
    pub mode: Mode,
    /// How many threads or processes share the work.
    pub workers: Workers,
    /// How epoll reports.
    pub trigger: Trigger,
    /// What to do where the kernel or a sandbox denies io_uring.
    pub fallback: Fallback,
    /// How long an event loop looks for something to do before it sleeps; for measuring latency on a quiet machine.
    #[serde(with = "units::optional_duration")]
    pub busy_poll: Option<Duration>,
    /// What is answered.
    pub service: ServiceKind,
    /// The text of the `qotd` service (RFC 865: shorter than 512 characters), without its line end.
    pub quote: String,
    /// Where clients may come from; [`everybody`] if nobody said.
    pub allow: Vec<IpNet>,
    /// Where they may not come from.
    pub deny: Vec<IpNet>,
    /// The users that may connect to a unix socket; with `allow_groups` empty too, all may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_users: Vec<Owner>,
    /// The groups that may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_groups: Vec<Owner>,
    /// How many connections (in per-request modes also datagrams) are served at once; more wait in the backlog.
    pub max_connections: u32,
    /// What happens at `max_connections`.
    pub when_full: WhenFull,
    /// What a client is told that is refused because too many are there.
    pub refusal: String,
    /// How many connections one source may have open; 0 means no limit.
    pub max_connections_per_source: u32,
    /// How fast connections may come in.
    #[serde(with = "rate::optional")]
    pub connection_rate: Option<Rate>,
    /// How fast connections or datagrams of one source may come in.
    pub rate_per_source: SourceRate,
    /// How long a source that was over its rate is refused.
    #[serde(with = "units::duration")]
    pub cool_down: Duration,
    /// How many bits of an IPv6 address make a source; an IPv4 address is one.
    pub source_prefix: u8,
    /// Serve so many connections or datagrams, then close (`handle_request`); 0 means no limit.
    pub max_requests: u64,
    /// End a connection on which nothing moves for so long, in either direction.
    #[serde(with = "units::optional_duration")]
    pub idle_timeout: Option<Duration>,
    /// End a connection that is so old.
    #[serde(with = "units::optional_duration")]
    pub max_lifetime: Option<Duration>,
    /// End a connection that has sent so many bytes; 0 means no limit.
    pub max_bytes: u64,
    /// Whether connections begin with a header of the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// The proxies of a tcp listener whose headers are believed. Who may connect to a unix socket is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// How long such a header may take to come.
    #[serde(with = "units::duration")]
    pub proxy_header_timeout: Duration,
    /// Show in the log what each client wrote.
    pub payload: Payload,
    /// Let a datagram's answer be longer than its request.
    pub allow_amplification: bool,
    /// Source ports that are not answered: something may sit there that answers the answer.
    pub deny_source_ports: SourcePorts,
    /// Answer what was sent to a broadcast or multicast address.
    pub allow_multicast: bool,
    /// Withhold every answer of this number in a row to one source; 0 withholds none.
    pub loop_breaker: u32,
    /// Sources that are answered without an end, and may come from a loopback address to any listener.
    pub trusted: Vec<IpNet>,
    /// Let the kernel drop what the datagram alone condemns (`SO_ATTACH_FILTER`, socket(7)).
    pub kernel_filter: bool,
    /// Send answers that follow each other to one peer as one, for the kernel or the interface to cut apart (generic
    /// segmentation offload, `UDP_SEGMENT`, udp(7)).
    pub gso: bool,
    /// Serve IPv6 only on an IPv6 address (`IPV6_V6ONLY`, ipv6(7)).
    pub v6_only: bool,
    /// Connections that may wait to be accepted (listen(2)); 0 means the kernel's maximum.
    pub backlog: u32,
    /// Bind although old connections of the port linger (`SO_REUSEADDR`, socket(7)).
    pub reuse_address: bool,
    /// Share the port with other processes of the same user (`SO_REUSEPORT`, socket(7)).
    pub reuse_port: bool,
    /// Send small segments at once (`TCP_NODELAY`, tcp(7)).
    pub nodelay: bool,
    /// Probe silent peers (`SO_KEEPALIVE`, socket(7)).
    pub keepalive: Keepalive,
    /// `SO_RCVBUF` in bytes, 0 for the kernel's default.
    pub receive_buffer: u32,
    /// `SO_SNDBUF` in bytes, 0 for the kernel's default.
    pub send_buffer: u32,
    /// Serve on one network interface only (`SO_BINDTODEVICE`, socket(7)); empty for all.
    pub device: String,
    /// Permission bits of a unix socket file.
    #[serde(with = "units::mode")]
    pub socket_mode: u32,
    /// Owner of a unix socket file; ours by default.
    pub socket_user: Option<Owner>,
    /// Group of a unix socket file; ours by default.
    pub socket_group: Option<Owner>,
}

impl Listener {
    /// The size of the pool of threads, processes or loops: more could not be let in anyway.
    pub fn pool(&self) -> usize {
        self.workers.count().min(self.max_connections as usize).max(1)
    }

    /// Whether a header of the PROXY protocol that comes from `proxy` is believed.
    pub fn trusts_proxy(&self, proxy: IpAddr) -> bool {
        let proxy = plain(proxy);
        self.trusted_proxies.iter().any(|network| network.contains(&proxy))
    }
}

/// How fast one source may come: neither, either or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// Whether silent peers are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keepalive {
    /// Never.
    Off,
    /// After the kernel's default idle time.
    On,
    /// After this idle time (`TCP_KEEPIDLE`, tcp(7)), at least a second.
    After(Duration),
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

/// What a client is told that is refused because too many are there, unless the file says better.
const DEFAULT_REFUSAL: &str = "too many connections, try again later";

/// How long a source that was over its rate is refused, unless the file says otherwise.
const DEFAULT_COOL_DOWN: Duration = Duration::from_secs(10);

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

/// What `qotd` says unless the file says better.
const DEFAULT_QUOTE: &str = "What you hear is what you said.";

/// How many answers in a row make a loop, unless the file says better: an honest client loses 15 of a million, at most.
const DEFAULT_LOOP_BREAKER: u32 = 65_536;

/// Whether a listener may have `key`.
pub fn is_listener_key(key: &str) -> bool {
    <file::Listener as parse::Shape>::KEYS.contains(&key)
}

/// Text of a user in a message, unable to draw anything of its own.
fn quoted(text: &str) -> String {
    // Quotes cannot draw anything.
    format!("`{}`", text.escape_debug()).replace("\\'", "'").replace("\\\"", "\"")
}

pub mod embedded;
#[cfg(test)]
mod tests;
