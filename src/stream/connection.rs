//! One stream connection, from its first byte to its last.
//!
//! The state machine is the same in every mode, and knows its socket only as a [`Line`]. Bytes live in the line's buffer:
//! received into it, answered in place, sent from it. Only what a (non-blocking) socket refuses is kept here, and while
//! anything is owed the peer is not read: back-pressure for free, memory bounded by one buffer.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use log::info;

use crate::{
    config,
    report::{close_reason::End, payload::Shown},
    service::{Event, Next, Service, Session},
    socket::address::Peer,
    sys::line::Line,
};

use crate::stream::proxy_header::Preface;
pub use context::Context;

/// Bytes that are received at once, at most. What is sent on while the processor's nearest caches still hold it costs half
/// as much: with twice as many, a long transfer took more than twice the time.
pub const SCRATCH: usize = 32_768;

/// How long a connection that we ended waits for the peer to end it too, so that what was sent is not lost by a reset.
pub const LINGER: Duration = Duration::from_secs(2);

/// Messages answered in one turn before others get theirs.
const TURN: u32 = 16;

/// A connection and what it is up to.
pub struct Connection {
    session: Box<dyn Session>,
    pub(super) phase: Phase,
    /// What the socket refused; idle connections, which are many, have no room for it.
    owed: Option<Box<Owed>>,
    talker: bool,
    end: End,
    /// When we decided to end it.
    decided: Option<Instant>,
    received: u64,
    sent: u64,
    peer: Peer,
    /// While a header is awaited, or something came with it.
    pub(super) preface: Option<Box<Preface>>,
    /// Whom the proxy speaks for.
    pub(super) carried: Option<Box<SocketAddr>>,
}

/// Bytes that are to be sent before the peer is read again.
struct Owed {
    bytes: Box<[u8]>,
    paid: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Accepted; the header of a proxy comes first.
    Prefaced,
    /// Nothing comes first any more; whether the peer is let in is to be decided.
    Introduced,
    /// Let in; the session has not spoken yet.
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
    /// For a decision: now it is known whom a proxy speaks for. Who is let in just advances.
    Introduced,
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

/// How much to read in one [`Connection::advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appetite {
    /// Nothing: only the service may have something to say.
    None,
    /// One message, where readiness is told again as long as there is more (level-triggered).
    Once,
    /// Until a message does not fill the buffer: then there was no more, and the next one is told (edge-triggered).
    WhileFull,
    /// Until there is no more. A blocking socket waits for more.
    All,
}

impl Appetite {
    /// Whether to read on after `n` bytes in a buffer that holds so many.
    fn goes_on(self, n: usize, room: usize) -> bool {
        match self {
            Appetite::None | Appetite::Once => false,
            Appetite::WhileFull => n == room,
            Appetite::All => true,
        }
    }
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(service: &dyn Service, peer: Peer) -> Connection {
        Connection {
            session: service.connect(),
            phase: Phase::Opening,
            owed: None,
            talker: false,
            end: End::PeerClosed,
            decided: None,
            received: 0,
            sent: 0,
            peer,
            preface: None,
            carried: None,
        }
    }

    /// Goes on until the socket blocks, the appetite is stilled, the turn is over or the connection ends. A blocking
    /// socket blocks in here.
    pub fn advance(&mut self, line: &mut impl Line, context: &Context<'_>, appetite: Appetite) -> Wait {
        self.go(line, context, appetite).unwrap_or_else(|error| Wait::Closed(End::from(error)))
    }

    /// Says that nothing more is to be answered: ends politely with what is owed.
    pub fn stop(&mut self) {
        self.finish(End::Stopped);
    }

    /// As [`Connection::stop`], for another reason. One that is ending already keeps its own.
    pub fn finish(&mut self, end: End) {
        if !self.ending() {
            self.close_for(end);
        }
    }

    fn close_for(&mut self, end: End) {
        self.phase = Phase::Closing;
        self.end = end;
        self.decided = Some(Instant::now());
    }

    /// How long ago we decided to end it, if it was not the peer's decision: since then its last words are sent, and it lingers.
    pub fn lingered(&self) -> Duration {
        self.decided.map_or(Duration::ZERO, |decided| decided.elapsed())
    }

    /// Whether the connection only waits for its end.
    pub fn ending(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Lingering)
    }

    /// Whether bytes wait for room to be sent.
    pub fn owes(&self) -> bool {
        self.owed.is_some()
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
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

    fn go(&mut self, line: &mut impl Line, context: &Context<'_>, appetite: Appetite) -> io::Result<Wait> {
        let mut hungry = appetite != Appetite::None;
        for _ in 0..TURN {
            if self.owed.is_some() && !self.pay(line, context)? {
                return Ok(Wait::Writable);
            }
            if self.received >= context.most_bytes() {
                self.finish(End::MaxBytes);
            }
            let event = match self.phase {
                Phase::Prefaced if !hungry => return Ok(Wait::Readable),
                Phase::Prefaced => match line.receive()? {
                    None => return Ok(Wait::Readable),
                    Some(n) => {
                        if let Err(reason) = self.introduce(&line.buffer()[..n]) {
                            return Ok(Wait::Closed(End::Refused(reason)));
                        }
                        hungry = appetite.goes_on(n, line.buffer().len());
                        continue;
                    }
                },
                Phase::Introduced => {
                    self.phase = Phase::Opening;
                    return Ok(Wait::Introduced);
                }
                Phase::Opening => Event::Opened,
                Phase::Speaking => {
                    if self.talker {
                        self.ignore_input(line, context)?;
                    }
                    Event::Drained
                }
                Phase::Listening if self.preface.is_some() => match self.passed_on(line, context) {
                    Some(n) => Event::Received(n),
                    None => continue,
                },
                Phase::Listening if !hungry => return Ok(Wait::Readable),
                Phase::Listening => match line.receive()? {
                    None => return Ok(Wait::Readable),
                    Some(0) => return Ok(Wait::Closed(self.end)),
                    Some(n) => {
                        hungry = appetite.goes_on(n, line.buffer().len());
                        Event::Received(self.arrived(n, line, context))
                    }
                },
                Phase::Closing => {
                    if !line.flush()? {
                        return Ok(Wait::Writable);
                    }
                    self.phase = Phase::Lingering;
                    return Ok(match line.end() {
                        Ok(()) => Wait::Linger,
                        // The peer is gone already.
                        Err(_) => Wait::Closed(self.end),
                    });
                }
                Phase::Lingering => match line.receive()? {
                    None => return Ok(Wait::Readable),
                    Some(0) => return Ok(Wait::Closed(self.end)),
                    Some(_) => continue,
                },
            };
            let next = self.session.respond(event, line.buffer());
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
                    self.close_for(End::ServiceClosed);
                    n
                }
            };
            self.say(line, words, context)?;
        }
        Ok(Wait::Turn)
    }

    /// Takes in `n` bytes of the buffer, or as many as `max-bytes` still allows; returns how many.
    pub(super) fn arrived(&mut self, n: usize, line: &mut impl Line, context: &Context<'_>) -> usize {
        let left = context.most_bytes().saturating_sub(self.received);
        let n = usize::try_from(left).map_or(n, |left| n.min(left));
        let bytes = &line.buffer()[..n];
        self.received += n as u64;
        context.stats.received(n);
        if !bytes.is_empty() && context.settings.payload != config::Payload::Off {
            let shown = Shown::new(bytes, context.settings.payload);
            let (name, protocol) = (&context.settings.name, context.settings.protocol);
            let source = self.peer.source(protocol, self.carried());
            info!(listener = name.as_str(); "listener \"{name}\": {source} {shown}");
        }
        n
    }

    /// Sends the start of the buffer, and keeps what the socket refuses.
    fn say(&mut self, line: &mut impl Line, words: usize, context: &Context<'_>) -> io::Result<()> {
        let mut at = 0;
        while at < words {
            match line.send(at..words)? {
                Some(n) => at += n,
                None => {
                    self.owed = Some(Box::new(Owed { bytes: line.buffer()[at..words].into(), paid: 0 }));
                    break;
                }
            }
        }
        self.sent += at as u64;
        context.stats.sent(at as u64);
        Ok(())
    }

    /// Sends what is owed; tells whether that was all.
    fn pay(&mut self, line: &mut impl Line, context: &Context<'_>) -> io::Result<bool> {
        let Some(owed) = &mut self.owed else { return Ok(true) };
        while owed.paid < owed.bytes.len() {
            let Some(n) = line.send_kept(&owed.bytes[owed.paid..])? else { return Ok(false) };
            owed.paid += n;
            self.sent += n as u64;
            context.stats.sent(n as u64);
        }
        self.owed = None;
        Ok(true)
    }

    /// A talker's input is thrown away, or the peer's writes would block, and our close would reset the connection.
    fn ignore_input(&mut self, line: &mut impl Line, context: &Context<'_>) -> io::Result<()> {
        if let Some(n) = line.receive_now()? {
            self.arrived(n, line, context);
        }
        Ok(())
    }
}

mod context;

#[cfg(test)]
mod tests;
