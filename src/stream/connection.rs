//! The state machine of one connection, the same in every mode.
//!
//! It reaches its socket only through a [`Transport`]: a message is received into the transport's buffer, answered in
//! place and sent from there. What a non-blocking socket does not take (EAGAIN) is copied, and until that is flushed
//! the peer is not read. So flow control pushes back on the peer, and a connection never holds more than one buffer.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use crate::{
    config,
    report::{close_reason::CloseReason, payload},
    service::{Next, Service, Session, SessionEvent},
    socket::address::Peer,
    stream::connection::proxy_header::ProxyHeader,
    sys::transport::Transport,
};

pub use context::{ConnectionContext, ReachedLimit, ReadMode};

/// Bytes of a stream that are received at once, at most. Sending data while the CPU's nearest caches still hold it costs half as
/// much: with a buffer of twice the size, a long transfer took more than twice the time.
pub const SCRATCH: usize = 32_768;

/// The longest record (SOCK_SEQPACKET), which is that of unix datagrams as well.
pub const LONGEST_RECORD: usize = 65_536;

/// How long a connection lingers after our half-close: a close(2) too early may reset it, and lose what was sent.
pub const LINGER: Duration = Duration::from_secs(2);

/// Messages answered in one [`Connection::advance`], before other connections get their turn.
const TURN: u32 = 16;

/// A connection and its state.
pub struct Connection {
    session: Box<dyn Session>,
    pub(super) phase: Phase,
    /// What the socket did not take. Boxed, because most connections are idle and have nothing pending.
    pending: Option<Box<WriteBuffer>>,
    streaming: bool,
    end: CloseReason,
    /// When this side decided to close.
    decided: Option<Instant>,
    received: u64,
    sent: u64,
    peer: Peer,
    /// Set while the header is awaited, and while payload that arrived with it is still to be delivered.
    pub(super) proxy_header: Option<Box<ProxyHeader>>,
    /// The client's address, from the PROXY header.
    pub(super) proxied_source: Option<Box<SocketAddr>>,
}

/// Bytes to send before the peer is read again.
struct WriteBuffer {
    bytes: Box<[u8]>,
    sent: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Accepted; the PROXY header comes first.
    AwaitingProxyHeader,
    /// The header is read or not needed any more; the caller decides on admission.
    HeaderRead,
    /// Admitted; the session has not sent anything yet.
    Opening,
    /// Nothing pending; waiting for input.
    Reading,
    /// The session's answer is sent or pending; once it has drained, the session may have more.
    Writing,
    /// The session is over; only what is pending is still sent.
    Closing,
    /// Half-closed by us; input is discarded until the peer closes.
    Lingering,
}

/// What a connection waits for after [`Connection::advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The caller's decision: the client's address is known now. To admit the client, advance again.
    HeaderRead,
    /// Input from the peer.
    Readable,
    /// Room in the send buffer.
    Writable,
    /// Nothing: there is more to do, but other connections may get their turn first.
    Yield,
    /// Nothing yet: our side was half-closed. Input is discarded from now on, for [`LINGER`] at most.
    Linger,
    /// Nothing: the socket is to be closed.
    Closed(CloseReason),
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

    /// Advances until the socket would block, `mode` allows no more reading, the turn is over or the connection closes.
    /// A blocking socket blocks in here.
    pub fn advance(
        &mut self,
        transport: &mut impl Transport,
        context: &ConnectionContext<'_>,
        mode: ReadMode,
    ) -> Step {
        self.go(transport, context, mode).unwrap_or_else(|error| Step::Closed(CloseReason::from(error)))
    }

    /// Ends the connection in order: reads no more requests, flushes what is pending, half-closes and lingers.
    pub fn stop(&mut self) {
        self.finish(CloseReason::Stopped);
    }

    /// As [`Connection::stop`], for another reason. A connection that is ending already keeps its reason.
    pub fn finish(&mut self, end: CloseReason) {
        if !self.ending() {
            self.close_for(end);
        }
    }

    /// As [`Connection::finish`], and gives up what is pending.
    pub fn close_early(&mut self, end: CloseReason) {
        self.pending = None;
        self.close_for(end);
    }

    fn close_for(&mut self, end: CloseReason) {
        self.phase = Phase::Closing;
        self.end = end;
        self.decided = Some(Instant::now());
    }

    /// How long ago this side decided to close (flush and linger); zero if the peer closed first.
    pub fn lingered(&self) -> Duration {
        self.decided.map_or(Duration::ZERO, |decided| decided.elapsed())
    }

    /// Whether only flush, linger and close are left.
    pub fn ending(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Lingering)
    }

    /// Whether bytes wait for room in the send buffer.
    pub fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The peer of the socket: the client, or the proxy in front of it.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The address of the client: the one that a PROXY header named, or that of the peer.
    pub fn client(&self) -> Peer {
        self.proxied_source().map_or_else(|| self.peer.clone(), Peer::Inet)
    }

    /// Why the connection closes, if it is ending.
    pub fn reason(&self) -> CloseReason {
        self.end
    }

    /// Whether the service sends without waiting for requests.
    pub fn is_streaming(&self) -> bool {
        self.streaming
    }

    /// Bytes received and sent.
    pub fn totals(&self) -> (u64, u64) {
        (self.received, self.sent)
    }

    fn go<T: Transport>(
        &mut self,
        transport: &mut T,
        context: &ConnectionContext<'_>,
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
                        if let Err(reason) = self.take_proxy_header(&transport.buffer()[..n]) {
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
                Phase::Opening => {
                    if context.settings.service.describes_requests() {
                        self.introduce(transport, context.settings.protocol);
                    }
                    SessionEvent::Opened
                }
                Phase::Writing => {
                    if self.streaming {
                        self.ignore_input(transport, context)?;
                    }
                    SessionEvent::Drained
                }
                Phase::Reading if self.proxy_header.is_some() => {
                    match self.header_leftover(transport, context) {
                        Some(n) => SessionEvent::Received(n),
                        None => continue,
                    }
                }
                Phase::Reading if !may_read => return Ok(Step::Readable),
                Phase::Reading => match transport.receive()? {
                    None => return Ok(Step::Readable),
                    Some(0) if transport.is_end() => return Ok(Step::Closed(self.end)),
                    // The answer could only be one to the part that is here.
                    Some(n) if T::RECORDS && n > transport.buffer().len() => {
                        context.stats.truncated.fetch_add(1, Relaxed);
                        self.finish(CloseReason::LongRecord);
                        continue;
                    }
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
                    Some(0) if transport.is_end() => return Ok(Step::Closed(self.end)),
                    Some(_) => continue,
                },
            };
            let next = self.session.respond(event, transport.buffer());
            let length = match next {
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
            self.write(transport, length, context)?;
        }
        Ok(Step::Yield)
    }

    /// Counts and logs `n` received bytes, or as many as `max-bytes` still allows; returns how many. A record stays whole.
    pub(super) fn arrived<T: Transport>(
        &mut self,
        n: usize,
        transport: &mut T,
        context: &ConnectionContext<'_>,
    ) -> usize {
        let left = if T::RECORDS { u64::MAX } else { context.most_bytes().saturating_sub(self.received) };
        let n = usize::try_from(left).map_or(n, |left| n.min(left));
        let bytes = &transport.buffer()[..n];
        self.received += n as u64;
        context.stats.received(n);
        if !bytes.is_empty() && context.settings.payload != config::Payload::Off {
            let source = self.peer.source(context.settings.protocol, self.proxied_source());
            payload::log(&context.settings.name, source, bytes, context.settings.payload);
        }
        n
    }

    /// Sends the first bytes of the buffer, and keeps what the socket does not take.
    fn write(
        &mut self,
        transport: &mut impl Transport,
        length: usize,
        context: &ConnectionContext<'_>,
    ) -> io::Result<()> {
        let mut at = 0;
        // An empty record is sent as well.
        loop {
            match transport.send(at..length)? {
                Some(n) => at += n,
                None => {
                    self.pending =
                        Some(Box::new(WriteBuffer { bytes: transport.buffer()[at..length].into(), sent: 0 }));
                    break;
                }
            }
            if at >= length {
                break;
            }
        }
        self.sent += at as u64;
        context.stats.sent(at as u64);
        Ok(())
    }

    /// Sends what is pending; returns whether all of it went.
    fn flush_pending(
        &mut self,
        transport: &mut impl Transport,
        context: &ConnectionContext<'_>,
    ) -> io::Result<bool> {
        let Some(pending) = &mut self.pending else { return Ok(true) };
        loop {
            let Some(n) = transport.send_kept(&pending.bytes[pending.sent..])? else { return Ok(false) };
            pending.sent += n;
            self.sent += n as u64;
            context.stats.sent(n as u64);
            if pending.sent >= pending.bytes.len() {
                break;
            }
        }
        self.pending = None;
        Ok(true)
    }

    /// Discards input while streaming: unread, it would block the peer's writes and make our close a reset.
    fn ignore_input(
        &mut self,
        transport: &mut impl Transport,
        context: &ConnectionContext<'_>,
    ) -> io::Result<()> {
        if let Some(n) = transport.receive_now()? {
            let n = n.min(transport.buffer().len());
            self.arrived(n, transport, context);
        }
        Ok(())
    }
}

mod context;
mod introduce;
mod proxy_header;

#[cfg(test)]
mod tests;
