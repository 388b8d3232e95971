//! The choices of a listener, as plain words.

use serde::{Deserialize, Serialize};
use socket2::Type;

/// The kind of socket: the four server classes of Python's `socketserver`, and SOCK_SEQPACKET.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// A stream over IPv4 or IPv6, tcp(7).
    Tcp,
    /// Datagrams over IPv4 or IPv6, udp(7).
    Udp,
    /// A stream between processes of one machine, unix(7).
    Unix,
    /// Connections that keep records apart, between processes of one machine (SOCK_SEQPACKET, unix(7)).
    UnixSeqpacket,
    /// Datagrams between processes of one machine, unix(7).
    UnixDatagram,
}

/// The concurrency mode: how clients share the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One connection, or one batch of datagrams, after the other.
    Iterative,
    /// A thread for each connection (`ThreadingMixIn`).
    Threading,
    /// A process for each connection (`ForkingMixIn`).
    Forking,
    /// An event loop over select(2).
    Select,
    /// An event loop over poll(2).
    Poll,
    /// An event loop over epoll(7).
    Epoll,
    /// An event loop over io_uring(7).
    IoUring,
}

impl Protocol {
    /// Each protocol.
    pub const ALL: [Protocol; 5] =
        [Protocol::Tcp, Protocol::Udp, Protocol::Unix, Protocol::UnixSeqpacket, Protocol::UnixDatagram];

    /// Whether it has connections, and not datagrams.
    pub fn is_stream(self) -> bool {
        matches!(self, Protocol::Tcp | Protocol::Unix | Protocol::UnixSeqpacket)
    }

    /// Whether its sockets are those of unix(7).
    pub fn is_unix(self) -> bool {
        matches!(self, Protocol::Unix | Protocol::UnixSeqpacket | Protocol::UnixDatagram)
    }

    /// The kind of its sockets.
    pub fn socket_type(self) -> Type {
        match self {
            Protocol::Tcp | Protocol::Unix => Type::STREAM,
            Protocol::UnixSeqpacket => Type::SEQPACKET,
            Protocol::Udp | Protocol::UnixDatagram => Type::DGRAM,
        }
    }
}

impl Mode {
    /// Each mode.
    pub const ALL: [Mode; 7] = [
        Mode::Iterative,
        Mode::Threading,
        Mode::Forking,
        Mode::Select,
        Mode::Poll,
        Mode::Epoll,
        Mode::IoUring,
    ];

    /// Whether one thread serves many connections.
    pub fn is_event_loop(self) -> bool {
        matches!(self, Mode::Select | Mode::Poll | Mode::Epoll | Mode::IoUring)
    }

    /// The default of `max-connections`.
    pub fn default_max_connections(self) -> u32 {
        match self {
            Mode::Iterative => 1,
            Mode::Threading => 1024,
            Mode::Forking => 40,
            // Some descriptors below 1024 are in use otherwise.
            Mode::Select => 960,
            Mode::Poll | Mode::Epoll | Mode::IoUring => 10_000,
        }
    }
}

/// When epoll(7) reports a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// As long as there is something to do.
    Level,
    /// Once, when something has changed.
    Edge,
}

/// What a listener of mode `io-uring` does where there is no io_uring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// The daemon says so, and does not start.
    Off,
    /// Mode `epoll` takes its place, with a warning.
    Epoll,
}

/// Whether the kernel answers datagrams itself, where it is sure of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Offload {
    /// The socket answers everything.
    Off,
    /// Where the kernel can, and may.
    Auto,
    /// The daemon does not start without.
    On,
}

/// Whether the daemon locks itself in once all is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// It can do what its user can.
    Off,
    /// It can reach and call only what it needs, as far as the kernel can see to that.
    On,
}

/// How many threads or processes share a listener's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workers {
    /// One for each connection or datagram.
    PerRequest,
    /// A fixed pool, as many as there are cores.
    Auto,
    /// A fixed pool of this many.
    Count(u32),
}

impl Workers {
    /// The size of the pool; `Auto` means as many as there are cores, and one for each request is no pool.
    pub fn count(self) -> usize {
        match self {
            Workers::PerRequest => 1,
            Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
            Workers::Count(n) => n as usize,
        }
    }
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceKind {
    /// The same bytes, RFC 862.
    Echo,
    /// The same bytes in upper case (ASCII letters).
    Upper,
    /// Nothing, RFC 863.
    Discard,
    /// Lines of printable characters, RFC 864.
    Chargen,
    /// A quotation, RFC 865.
    Qotd,
    /// The date and time for people, RFC 867.
    Daytime,
    /// The time as 32 bits, RFC 868.
    Time,
    /// What reached the server, as a line of JSON.
    Whoami,
}

impl ServiceKind {
    /// Whether the service answers with what is known of the request beside its bytes. A listener with another one does not ask the
    /// kernel for it.
    pub fn describes_requests(self) -> bool {
        self == ServiceKind::Whoami
    }
}

/// Whether routers may fragment the datagrams of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DontFragment {
    /// No, and the kernel does where it knows that the path is narrow.
    Auto,
    /// No, and an answer that is too long for its path is not sent.
    On,
    /// Yes.
    Off,
}

/// What happens at `max-connections`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// Clients wait in the backlog.
    Wait,
    /// They are accepted and closed.
    Refuse,
    /// They are told so first.
    Message,
}
