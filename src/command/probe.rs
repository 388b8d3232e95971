//! `echod --probe URL`: sends a listener one message, as any client would, and expects it back, or the line of service whoami. A
//! health check for containers and hosts where only this program is installed.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    io::{self, ErrorKind, Read},
    time::{Duration, Instant},
};

use nix::unistd::geteuid;
use socket2::{Domain, SockAddr, Socket};

use crate::{
    config::{self, Address, Environment, Protocol},
    report::{
        decimal::HumanDuration,
        error::{Exit, Failure},
    },
    socket::{
        address::Peer,
        host_names::HostNames,
        resolve::{error_text, resolve},
    },
};

/// Time-out of the answer, from the first attempt to connect.
const TIME_OUT: Duration = Duration::from_secs(2);

/// Of that, what an echo of a datagram has before whoami is asked, which answers none that is so short.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a datagram is that whoami answers.
const PADDED: usize = 1200;

/// Bytes of another answer that are shown.
const SHOWN: usize = 64;

/// How an answer of whoami begins.
const WHOAMI: &[u8] = b"{\"service\":\"whoami\",";

/// What came back.
enum Answer {
    /// The message.
    Echo { bytes: usize },
    /// The line of service whoami.
    Whoami,
}

/// The traffic class of a datagram (RFC 2474): any but that of most, and one that routers do not know.
const CLASS: u32 = 0x10;

/// Probes the listener at `url`, and returns a line to print.
///
/// # Errors
/// The URL is wrong or names more than one socket, or there was no echo.
pub fn probe(url: &str) -> Result<String, Failure> {
    let usage = |what| Failure::new(Exit::Usage, format!("cannot probe {}: {what}", url.escape_debug()));
    if url.contains('?') {
        return Err(usage("what is behind the `?` is the server's to say; take it out"));
    }
    let listener = config::load_url("--probe", url, &Environment::from_process())?.config.listeners.remove(0);
    let address = &listener.address[0];
    if let Address::Inet { ports, .. } = address
        && (*ports.start() == 0 || ports.start() != ports.end())
    {
        return Err(usage("a probe goes to one port; write its number"));
    }
    // A host name may have several addresses: one that answers is enough, as for any client.
    let mut failures = Vec::new();
    let names = HostNames::look_up([&listener], || false).unwrap_or_default();
    for place in resolve(&listener, address, &names)? {
        let url = place.url(listener.protocol);
        let mut source = None;
        match ask(&place, listener.protocol, &mut source) {
            Ok((Answer::Echo { bytes }, time)) => {
                return Ok(format!("{url}: {bytes} bytes came back after {}\n", HumanDuration(time)));
            }
            Ok((Answer::Whoami, time)) => {
                return Ok(format!("{url}: whoami answered after {}\n", HumanDuration(time)));
            }
            Err(error) => {
                let refused = source.filter(|_| error.may_be_a_refusal()).map(|source| {
                    format!(", or the listener refuses you: `echod explain --listener NAME --from {source}` says why")
                });
                failures.push(format!("cannot probe {url}: {error}{}", refused.unwrap_or_default()));
            }
        }
    }
    Err(Failure::new(Exit::Unavailable, failures.join("\n       ")))
}

/// Why there was no echo.
#[derive(Debug, PartialEq, Eq)]
enum NoEcho {
    /// A system call failed.
    Failed(String),
    /// The connection was reset.
    Reset,
    /// No answer, or only a part of it.
    Silent { received: usize },
    /// The connection was closed before the answer was complete.
    Closed { received: usize },
    /// Other bytes came back.
    Other(Vec<u8>),
}

impl From<io::Error> for NoEcho {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            // SO_SNDTIMEO makes connect(2) fail with EINPROGRESS when the peer does not respond.
            // EALREADY is the same for a call that goes on after an interruption.
            Some(libc::EINPROGRESS | libc::EALREADY) => Self::Silent { received: 0 },
            Some(libc::ECONNRESET | libc::EPIPE) => Self::Reset,
            // On a unix socket: the backlog, or the receive queue for datagrams, is full.
            Some(libc::EAGAIN) => Self::Failed(format!("its queue was full for {TIME_OUT:?}")),
            _ => Self::Failed(error_text(&error)),
        }
    }
}

impl fmt::Display for NoEcho {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let echo = "a probe wants an echo, which no service but `echo` gives, or the answer of `whoami`";
        match self {
            Self::Failed(words) => write!(f, "{words}; `echod --check` says what would be served where"),
            Self::Reset => write!(f, "connection reset by peer; {echo}"),
            Self::Silent { received: 0 } => write!(f, "no answer within {TIME_OUT:?}; {echo}"),
            Self::Silent { received } => write!(f, "only {received} bytes came back within {TIME_OUT:?}"),
            Self::Closed { received } => write!(f, "closed after {received} bytes of the answer; {echo}"),
            Self::Other(answer) => write!(f, "it answered \"{}\"; {echo}", answer.escape_ascii()),
        }
    }
}

impl NoEcho {
    /// Whether a refusal looks like this to the client.
    fn may_be_a_refusal(&self) -> bool {
        matches!(self, Self::Reset | Self::Silent { received: 0 } | Self::Closed { received: 0 })
    }
}

/// Sends a message and waits for its answer; returns it and the time it took. Sets `source` to the client as the
/// listener sees it, in the form that `echod explain` takes, once the listener may have been asked.
fn ask(place: &Peer, protocol: Protocol, source: &mut Option<String>) -> Result<(Answer, Duration), NoEcho> {
    let begun = Instant::now();
    let address = place.socket_address()?;
    let domain = Domain::from(i32::from(address.family()));
    let mut socket = Socket::new(domain, protocol.socket_type(), None)?;
    if protocol == Protocol::UnixDatagram {
        // To be answered it needs an address: binding to an empty one autobinds ("Autobind feature" in unix(7)).
        socket.bind(&SockAddr::unix("")?)?;
    }
    if protocol == Protocol::Udp {
        // With a traffic class the kernel leaves it to the daemon, which is to be probed, even where it echoes itself (`offload`).
        match address.is_ipv6() {
            true => socket.set_tclass_v6(CLASS)?,
            false => socket.set_tos_v4(CLASS)?,
        }
    }
    in_time(&socket, begun, || socket.connect(&address))?;
    *source = match protocol {
        Protocol::Tcp | Protocol::Udp => {
            let local = socket.local_addr().ok().and_then(|local| local.as_socket());
            local.map(|local| local.ip().to_canonical().to_string())
        }
        Protocol::Unix | Protocol::UnixSeqpacket => Some(geteuid().to_string()),
        // Every client that can send is answered.
        Protocol::UnixDatagram => None,
    };
    // Random, so that no stale message can pass for the echo.
    let message = format!("echod probe {:016x}\n", RandomState::new().hash_one(begun));
    let mut rest = message.as_bytes();
    while !rest.is_empty() {
        let sent = in_time(&socket, begun, || socket.send(rest))?;
        rest = &rest[sent..];
    }
    let padded = format!("{message:<PADDED$}");
    let mut answer = [0; PADDED + 1];
    let (mut received, mut is_padded) = (0, protocol.is_stream());
    while received < message.len() {
        let elapsed = begun.elapsed();
        if !is_padded && elapsed >= PATIENCE {
            is_padded = true;
            in_time(&socket, begun, || socket.send(padded.as_bytes()))?;
        }
        let left = if is_padded { TIME_OUT } else { PATIENCE }.saturating_sub(elapsed);
        if left.is_zero() {
            return Err(NoEcho::Silent { received });
        }
        socket.set_read_timeout(Some(left))?;
        received += match socket.read(&mut answer[received..]) {
            Ok(0) if protocol.is_stream() => return Err(NoEcho::Closed { received }),
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => continue,
            Err(error) => return Err(error.into()),
        };
        let answer = &answer[..received];
        if answer.starts_with(WHOAMI) {
            return Ok((Answer::Whoami, begun.elapsed()));
        }
        // A datagram arrives whole, or it is another one. A stream may have brought a part.
        let is_part = |of: &[u8]| protocol.is_stream() && of.starts_with(answer);
        let is_echo = answer == message.as_bytes() || answer == padded.as_bytes();
        if !is_echo && !is_part(message.as_bytes()) && !is_part(WHOAMI) {
            return Err(NoEcho::Other(answer[..received.min(SHOWN)].to_vec()));
        }
    }
    Ok((Answer::Echo { bytes: message.len() }, begun.elapsed()))
}

/// Makes a call that may wait to send, with the time that is left. With a time-out the kernel does not repeat a call that it has
/// interrupted to stop this process for a moment (signal(7)).
fn in_time<T>(socket: &Socket, begun: Instant, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        // Zero would mean no time-out.
        let left = TIME_OUT.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
        socket.set_write_timeout(Some(left))?;
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
