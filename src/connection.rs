//! One stream connection, from its first byte to its last.
//!
//! The state machine is the same in every mode. Bytes live in the strategy's scratch buffer: received into it,
//! answered in place, sent from it. Only what a (non-blocking) socket refuses is kept here, and while anything is owed
//! the peer is not read: back-pressure for free, memory bounded by one scratch buffer.

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    os::fd::AsRawFd,
    time::Duration,
};

use log::info;
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};
use socket2::Socket;

use crate::{
    config,
    listener::Peer,
    payload::Shown,
    service::{Event, Next, Service, Session},
    stats::Stats,
};

/// Bytes that are received at once, at most.
pub const SCRATCH: usize = 65_536;

/// How long a connection that we ended waits for the peer to end it too, so that what was sent is not lost by a reset.
pub const LINGER: Duration = Duration::from_secs(2);

/// Messages answered in one turn before others get theirs.
const TURN: u32 = 16;

/// What every connection of a listener shares.
pub struct Context<'a> {
    /// The listener's settings.
    pub settings: &'a config::Listener,
    /// Where bytes are counted.
    pub stats: &'a Stats,
}

/// A connection and what it is up to.
pub struct Connection {
    session: Box<dyn Session>,
    phase: Phase,
    /// What the socket refused, from `paid` on.
    owed: Vec<u8>,
    paid: usize,
    talker: bool,
    end: End,
    received: u64,
    sent: u64,
    peer: Peer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Accepted; the session has not spoken yet.
    Opening,
    /// Nothing is owed; waiting for input.
    Listening,
    /// The session's words are sent, or owed; then it may have more.
    Speaking,
    /// What is owed are the last words.
    Closing,
    /// Our side is closed; waiting for the peer to have read it all.
    Lingering,
}

/// What a connection waits for after [`Connection::advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Input.
    Readable,
    /// Room to send.
    Writable,
    /// Nothing: there is more to do, but others may want their turn.
    Turn,
    /// Our side was closed: input is thrown away from now on, for [`LINGER`] at most.
    Linger,
    /// Nothing any more.
    Closed(End),
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer sent its end of file, and was sent all that it is owed.
    PeerClosed,
    /// The service had said all it has to say.
    ServiceClosed,
    /// The daemon stops.
    Stopped,
    /// The peer reset the connection.
    PeerReset,
    /// A system call failed with this error number.
    Failed(i32),
    /// The service panicked.
    Panicked,
    /// The process that served it was killed by this signal.
    Killed(i32),
    /// The process that served it ended and said nothing.
    Vanished,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(service: &dyn Service, peer: Peer) -> Connection {
        Connection {
            session: service.connect(),
            phase: Phase::Opening,
            owed: Vec::new(),
            paid: 0,
            talker: false,
            end: End::PeerClosed,
            received: 0,
            sent: 0,
            peer,
        }
    }

    /// Goes on until the socket blocks, the turn is over or the connection ends. A blocking socket blocks in here.
    pub fn advance(&mut self, socket: &Socket, scratch: &mut [u8], context: &Context<'_>) -> Wait {
        let went = self.go(socket, scratch, context);
        went.unwrap_or_else(|error| Wait::Closed(End::from(error)))
    }

    /// Says that nothing more is to be answered: ends politely with what is owed.
    pub fn stop(&mut self) {
        if !self.ending() {
            self.phase = Phase::Closing;
            self.end = End::Stopped;
        }
    }

    /// Whether the connection only waits for its end.
    pub fn ending(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Lingering)
    }

    /// Why the connection is ending, if it is.
    pub fn reason(&self) -> End {
        self.end
    }

    /// Whether the service speaks without being asked.
    pub fn is_talker(&self) -> bool {
        self.talker
    }

    /// Bytes that came in and went out.
    pub fn totals(&self) -> (u64, u64) {
        (self.received, self.sent)
    }

    fn go(&mut self, socket: &Socket, scratch: &mut [u8], context: &Context<'_>) -> io::Result<Wait> {
        for _ in 0..TURN {
            if self.paid < self.owed.len() && !self.pay(socket, context)? {
                return Ok(Wait::Writable);
            }
            let event = match self.phase {
                Phase::Opening => Event::Opened,
                Phase::Speaking => {
                    if self.talker {
                        self.ignore_input(socket, scratch, context)?;
                    }
                    Event::Drained
                }
                Phase::Listening => match receive(socket, scratch)? {
                    None => return Ok(Wait::Readable),
                    Some(0) => return Ok(Wait::Closed(self.end)),
                    Some(n) => {
                        self.arrived(&scratch[..n], context);
                        Event::Received(n)
                    }
                },
                Phase::Closing => {
                    self.phase = Phase::Lingering;
                    return Ok(self.half_close(socket));
                }
                Phase::Lingering => match receive(socket, scratch)? {
                    None => return Ok(Wait::Readable),
                    Some(0) => return Ok(Wait::Closed(self.end)),
                    Some(_) => continue,
                },
            };
            let next = self.session.respond(event, scratch);
            let words = match next {
                Next::Listen => {
                    self.phase = Phase::Listening;
                    continue;
                }
                Next::Send(n) => {
                    self.phase = Phase::Speaking;
                    self.talker = event == Event::Drained;
                    n
                }
                Next::SendThenClose(n) => {
                    self.phase = Phase::Closing;
                    self.end = End::ServiceClosed;
                    n
                }
            };
            self.say(socket, &scratch[..words], context)?;
        }
        Ok(Wait::Turn)
    }

    fn arrived(&mut self, bytes: &[u8], context: &Context<'_>) {
        self.received += bytes.len() as u64;
        context.stats.received(bytes.len());
        if !bytes.is_empty() && context.settings.payload != config::Payload::Off {
            let shown = Shown::new(bytes, context.settings.payload);
            let (name, protocol) = (&context.settings.name, context.settings.protocol);
            info!(listener = name.as_str(); "listener \"{name}\": {} {shown}", self.peer.url(protocol));
        }
    }

    /// Sends, and keeps what the socket refuses.
    fn say(&mut self, socket: &Socket, words: &[u8], context: &Context<'_>) -> io::Result<()> {
        let mut at = 0;
        while at < words.len() {
            match send(socket, &words[at..])? {
                Some(n) => at += n,
                None => {
                    self.owed.clear();
                    self.owed.extend_from_slice(&words[at..]);
                    self.paid = 0;
                    break;
                }
            }
        }
        self.sent += at as u64;
        context.stats.sent(at as u64);
        Ok(())
    }

    /// Sends what is owed; tells whether that was all.
    fn pay(&mut self, socket: &Socket, context: &Context<'_>) -> io::Result<bool> {
        while self.paid < self.owed.len() {
            let Some(n) = send(socket, &self.owed[self.paid..])? else { return Ok(false) };
            self.paid += n;
            self.sent += n as u64;
            context.stats.sent(n as u64);
        }
        // An idle connection holds no buffer.
        self.owed = Vec::new();
        self.paid = 0;
        Ok(true)
    }

    /// A talker's input is thrown away, or the peer's writes would block, and our close would reset the connection.
    fn ignore_input(&mut self, socket: &Socket, scratch: &mut [u8], context: &Context<'_>) -> io::Result<()> {
        match recv(socket.as_raw_fd(), scratch, MsgFlags::MSG_DONTWAIT) {
            Ok(n) => self.arrived(&scratch[..n], context),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn half_close(&self, socket: &Socket) -> Wait {
        match socket.shutdown(Shutdown::Write) {
            Ok(()) => Wait::Linger,
            // The peer is gone already.
            Err(_) => Wait::Closed(self.end),
        }
    }
}

/// Receives; `None` if the socket would block.
fn receive(mut socket: &Socket, scratch: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match socket.read(scratch) {
            Ok(n) => return Ok(Some(n)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Sends; `None` if the socket would block.
fn send(mut socket: &Socket, bytes: &[u8]) -> io::Result<Option<usize>> {
    loop {
        match socket.write(bytes) {
            Ok(n) => return Ok(Some(n)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => End::PeerReset,
            _ => End::Failed(error.raw_os_error().unwrap_or(0)),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            End::PeerClosed => f.write_str("peer closed"),
            End::ServiceClosed => f.write_str("service done"),
            End::Stopped => f.write_str("daemon stops"),
            End::PeerReset => f.write_str("peer reset the connection"),
            End::Failed(errno) => write!(f, "{}", io::Error::from_raw_os_error(errno)),
            End::Panicked => f.write_str("the service panicked"),
            End::Killed(signal) => write!(f, "its process was killed by signal {signal}"),
            End::Vanished => f.write_str("its process ended unexpectedly"),
        }
    }
}
