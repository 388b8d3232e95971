//! The blocking driver: serves one connection in a thread or process that may wait for it.

use std::{
    net::SocketAddr,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use socket2::Socket;

use crate::{
    report::{close_reason::CloseReason, refusal_reason::RefusalReason},
    stream::{
        connection::{Connection, ConnectionContext, LINGER, ReachedLimit, ReadMode, Step},
        deadline_io::DeadlineIo,
    },
    sys::{credentials::PeerProcess, interrupt},
};

/// What a connection did, and why it closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionSummary {
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Why it closed.
    pub end: CloseReason,
    /// The client's address, if a PROXY header named it.
    pub proxied_source: Option<SocketAddr>,
    /// The process at the other end of a unix socket, if the log line is to name it.
    pub process: Option<PeerProcess>,
    /// How long it was open until one side decided to close.
    pub lasted: Duration,
    /// How long the close took if this side decided it (flush and linger); otherwise zero.
    pub lingered: Duration,
}

impl ConnectionSummary {
    /// For a connection that has done nothing yet; `end` is its reason if nothing replaces it, as after a panic.
    pub fn new(end: CloseReason) -> ConnectionSummary {
        let (lasted, lingered) = (Duration::ZERO, Duration::ZERO);
        ConnectionSummary { received: 0, sent: 0, end, proxied_source: None, process: None, lasted, lingered }
    }

    /// Whether it ended without a byte in either direction. A client that was refused may have sent a PROXY header, and after
    /// a fault the bytes are not known.
    pub fn is_empty(&self) -> bool {
        let is_known = !self.end.is_fault() && !matches!(self.end, CloseReason::Refused(_));
        is_known && self.received == 0 && self.sent == 0
    }
}

/// Serves `connection` until it closes; `RECORDS` says whether its socket keeps records apart. `admit_proxied` decides on
/// the client that a PROXY header names. `summary` is updated at every step, so that the numbers are right even after a
/// panic.
///
/// The socket blocks, so [`Connection::advance`] does all the waiting: in the steady state a message costs two system
/// calls. Only an interrupt or the linger makes the socket non-blocking; from then on this loop waits, with poll(2).
pub fn serve<const RECORDS: bool>(
    mut connection: Connection,
    socket: &Socket,
    scratch: &mut [u8],
    context: &ConnectionContext<'_>,
    opened: Instant,
    mut admit_proxied: impl FnMut(&Connection) -> Result<(), RefusalReason>,
    summary: &mut ConnectionSummary,
) {
    summary.end = interrupt::with_fd_guard(socket.as_fd(), || {
        let mut transport = DeadlineIo::<RECORDS>::new(socket, scratch, context.settings, opened);
        if connection.awaits_proxy_header() {
            transport.await_header(opened + context.settings.proxy_header_timeout);
        }
        let mut linger_until: Option<Instant> = None;
        loop {
            let step = connection.advance(&mut transport, context, ReadMode::UntilWouldBlock);
            (summary.received, summary.sent) = connection.totals();
            match transport.reached() {
                None => {}
                Some(ReachedLimit::Header) => match connection.proxy_header_overdue() {
                    Ok(()) => continue,
                    Err(reason) => break CloseReason::Refused(reason),
                },
                Some(ReachedLimit::Close(end)) => {
                    connection.finish(end);
                    linger_until = Some(Instant::now() + LINGER);
                    transport.release();
                    continue;
                }
            }
            let flags = match step {
                Step::Closed(end) => break end,
                // Checked at every step: a client that keeps the service busy never reaches a wait.
                _ if context.is_cut() => break CloseReason::DrainTimeout,
                Step::HeaderRead => {
                    transport.proxied_admitted();
                    summary.proxied_source = connection.proxied_source();
                    match admit_proxied(&connection) {
                        Ok(()) => continue,
                        Err(reason) => break CloseReason::Refused(reason),
                    }
                }
                Step::Yield => {
                    // A streaming service never runs out of data, and the peer may keep sending while we linger.
                    if interrupt::is_interrupted() && connection.is_streaming() {
                        connection.stop();
                    }
                    if linger_until.is_some_and(|end| end <= Instant::now()) {
                        break connection.reason();
                    }
                    continue;
                }
                Step::Linger => {
                    linger_until.get_or_insert_with(|| Instant::now() + LINGER);
                    transport.release();
                    continue;
                }
                Step::Readable if !connection.ending() => {
                    // EAGAIN after an interrupt: everything that had arrived is answered.
                    connection.stop();
                    continue;
                }
                Step::Readable => PollFlags::POLLIN,
                Step::Writable => PollFlags::POLLOUT,
            };
            let until = linger_until.into_iter().chain(context.cut_at()).min();
            if !wait_for(socket, flags, until.map(|end| end.saturating_duration_since(Instant::now()))) {
                break if context.is_cut() { CloseReason::DrainTimeout } else { connection.reason() };
            }
        }
    });
    summary.lingered = connection.lingered();
}

/// Waits until the socket is ready; false at the time-out.
fn wait_for(socket: &Socket, flags: PollFlags, time: Option<Duration>) -> bool {
    let mut polled = [PollFd::new(socket.as_fd(), flags)];
    let timeout = time.map_or(PollTimeout::NONE, |time| {
        // Rounded up: otherwise the last fraction of a millisecond would be a busy loop.
        PollTimeout::try_from(time.as_millis() + 1).unwrap_or(PollTimeout::MAX)
    });
    !matches!(poll(&mut polled, timeout), Ok(0) | Err(Errno::ENOMEM))
}
