//! One stream connection, from its first byte to its last.
//!
//! The state machine is the same in every mode, and knows its socket only as a [`Transport`]. Bytes live in the line's buffer:
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
    report::{close_reason::CloseReason, payload::Escaped},
    service::{Next, Service, Session, SessionEvent},
    socket::address::Peer,
    sys::transport::Transport,
};

use crate::stream::proxy_header::ProxyHeader;
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
    pending: Option<Box<WriteBuffer>>,
    streaming: bool,
    end: CloseReason,
    /// When we decided to end it.
    decided: Option<Instant>,
    received: u64,
    sent: u64,
    peer: Peer,
    /// While a header is awaited, or something came with it.
    pub(super) proxy_header: Option<Box<ProxyHeader>>,
    /// Whom the proxy speaks for.
    pub(super) proxied_source: Option<Box<SocketAddr>>,
}

/// Bytes that are to be sent before the peer is read again.
struct WriteBuffer {
    bytes: Box<[u8]>,
    paid: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Accepted; the header of a proxy comes first.
    AwaitingProxyHeader,
    /// Nothing comes first any more; whether the peer is let in is to be decided.
    HeaderRead,
    /// Let in; the session has not spoken yet.
    Opening,
    /// Nothing is owed; waiting for input.
    Reading,
    /// The session's words are sent, or owed; then it may have more.
    Writing,
    /// What is owed are the last words.
    Closing,
    /// Our side is closed; waiting for the peer to have read it all.
    Lingering,
}

/// What a connection waits for after [`Connection::advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// For a decision: now it is known whom a proxy speaks for. Who is let in just advances.
    HeaderRead,
    /// Input.
    Readable,
    /// Room to send.
    Writable,
    /// Nothing: there is more to do, but others may want their turn.
    Yield,
    /// Our side was closed: input is thrown away from now on, for [`LINGER`] at most.
    Linger,
    /// Nothing any more.
    Closed(CloseReason),
}

/// How much to read in one [`Connection::advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// Nothing: only the service may have something to say.
    None,
    /// One message, where readiness is told again as long as there is more (level-triggered).
    Once,
    /// Until a message does not fill the buffer: then there was no more, and the next one is told (edge-triggered).
    UntilShort,
    /// Until there is no more. A blocking socket waits for more.
    UntilWouldBlock,
}

impl ReadMode {
    /// Whether to read on after `n` bytes in a buffer that holds so many.
    fn goes_on(self, n: usize, room: usize) -> bool {
        match self {
            ReadMode::None | ReadMode::Once => false,
            ReadMode::UntilShort => n == room,
            ReadMode::UntilWouldBlock => true,
        }
    }
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(service: &dyn Service, peer: Peer) -> Connection {
        Connection {
            session: service.connect(),
            phase: Phase::Opening,
            pending: None,
            streaming: false,
            end: CloseReason::PeerClosed,
            decided: None,
            received: 0,
            sent: 0,
            peer,
            proxy_header: None,
            proxied_source: None,
        }
    }

    /// Goes on until the socket blocks, the appetite is stilled, the turn is over or the connection ends. A blocking
    /// socket blocks in here.
    pub fn advance(&mut self, transport: &mut impl Transport, context: &Context<'_>, mode: ReadMode) -> Step {
        self.go(transport, context, mode).unwrap_or_else(|error| Step::Closed(CloseReason::from(error)))
    }

    /// Says that nothing more is to be answered: ends politely with what is owed.
    pub fn stop(&mut self) {
        self.finish(CloseReason::Stopped);
    }

    /// As [`Connection::stop`], for another reason. One that is ending already keeps its own.
    pub fn finish(&mut self, end: CloseReason) {
        if !self.ending() {
            self.close_for(end);
        }
    }

    fn close_for(&mut self, end: CloseReason) {
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
    pub fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Why the connection is ending, if it is.
    pub fn reason(&self) -> CloseReason {
        self.end
    }

    /// Whether the service speaks without being asked.
    pub fn is_streaming(&self) -> bool {
        self.streaming
    }

    /// Bytes that came in and went out.
    pub fn totals(&self) -> (u64, u64) {
        (self.received, self.sent)
    }

    fn go(
        &mut self,
        transport: &mut impl Transport,
        context: &Context<'_>,
        mode: ReadMode,
    ) -> io::Result<Step> {
        let mut may_read = mode != ReadMode::None;
        for _ in 0..TURN {
            if self.pending.is_some() && !self.flush_pending(transport, context)? {
                return Ok(Step::Writable);
            }
            if self.received >= context.most_bytes() {
                self.finish(CloseReason::MaxBytes);
            }
            let event = match self.phase {
                Phase::AwaitingProxyHeader if !may_read => return Ok(Step::Readable),
                Phase::AwaitingProxyHeader => match transport.receive()? {
                    None => return Ok(Step::Readable),
                    Some(n) => {
                        if let Err(reason) = self.admit_proxied(&transport.buffer()[..n]) {
                            return Ok(Step::Closed(CloseReason::Refused(reason)));
                        }
                        may_read = mode.goes_on(n, transport.buffer().len());
                        continue;
                    }
                },
                Phase::HeaderRead => {
                    self.phase = Phase::Opening;
                    return Ok(Step::HeaderRead);
                }
                Phase::Opening => SessionEvent::Opened,
                Phase::Writing => {
                    if self.streaming {
                        self.ignore_input(transport, context)?;
                    }
                    SessionEvent::Drained
                }
                Phase::Reading if self.proxy_header.is_some() => match self.passed_on(transport, context) {
                    Some(n) => SessionEvent::Received(n),
                    None => continue,
                },
                Phase::Reading if !may_read => return Ok(Step::Readable),
                Phase::Reading => match transport.receive()? {
                    None => return Ok(Step::Readable),
                    Some(0) => return Ok(Step::Closed(self.end)),
                    Some(n) => {
                        may_read = mode.goes_on(n, transport.buffer().len());
                        SessionEvent::Received(self.arrived(n, transport, context))
                    }
                },
                Phase::Closing => {
                    if !transport.flush()? {
                        return Ok(Step::Writable);
                    }
                    self.phase = Phase::Lingering;
                    return Ok(match transport.end() {
                        Ok(()) => Step::Linger,
                        // The peer is gone already.
                        Err(_) => Step::Closed(self.end),
                    });
                }
                Phase::Lingering => match transport.receive()? {
                    None => return Ok(Step::Readable),
                    Some(0) => return Ok(Step::Closed(self.end)),
                    Some(_) => continue,
                },
            };
            let next = self.session.respond(event, transport.buffer());
            let words = match next {
                Next::Listen => {
                    self.phase = Phase::Reading;
                    continue;
                }
                Next::Send(n) => {
                    self.phase = Phase::Writing;
                    self.streaming = event == SessionEvent::Drained;
                    n
                }
                Next::SendThenClose(n) => {
                    self.close_for(CloseReason::ServiceClosed);
                    n
                }
            };
            self.write_unasked(transport, words, context)?;
        }
        Ok(Step::Yield)
    }

    /// Takes in `n` bytes of the buffer, or as many as `max-bytes` still allows; returns how many.
    pub(super) fn arrived(
        &mut self,
        n: usize,
        transport: &mut impl Transport,
        context: &Context<'_>,
    ) -> usize {
        let left = context.most_bytes().saturating_sub(self.received);
        let n = usize::try_from(left).map_or(n, |left| n.min(left));
        let bytes = &transport.buffer()[..n];
        self.received += n as u64;
        context.stats.received(n);
        if !bytes.is_empty() && context.settings.payload != config::Payload::Off {
            let shown = Escaped::new(bytes, context.settings.payload);
            let (name, protocol) = (&context.settings.name, context.settings.protocol);
            let source = self.peer.source(protocol, self.proxied_source());
            info!(listener = name.as_str(); "listener \"{name}\": {source} {shown}");
        }
        n
    }

    /// Sends the start of the buffer, and keeps what the socket refuses.
    fn write_unasked(
        &mut self,
        transport: &mut impl Transport,
        words: usize,
        context: &Context<'_>,
    ) -> io::Result<()> {
        let mut at = 0;
        while at < words {
            match transport.send(at..words)? {
                Some(n) => at += n,
                None => {
                    self.pending =
                        Some(Box::new(WriteBuffer { bytes: transport.buffer()[at..words].into(), paid: 0 }));
                    break;
                }
            }
        }
        self.sent += at as u64;
        context.stats.sent(at as u64);
        Ok(())
    }

    /// Sends what is owed; tells whether that was all.
    fn flush_pending(&mut self, transport: &mut impl Transport, context: &Context<'_>) -> io::Result<bool> {
        let Some(pending) = &mut self.pending else { return Ok(true) };
        while pending.paid < pending.bytes.len() {
            let Some(n) = transport.send_kept(&pending.bytes[pending.paid..])? else { return Ok(false) };
            pending.paid += n;
            self.sent += n as u64;
            context.stats.sent(n as u64);
        }
        self.pending = None;
        Ok(true)
    }

    /// A talker's input is thrown away, or the peer's writes would block, and our close would reset the connection.
    fn ignore_input(&mut self, transport: &mut impl Transport, context: &Context<'_>) -> io::Result<()> {
        if let Some(n) = transport.receive_now()? {
            self.arrived(n, transport, context);
        }
        Ok(())
    }
}

mod context;

#[cfg(test)]
mod tests;
