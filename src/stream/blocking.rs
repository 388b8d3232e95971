//! The conversation of a thread or process that serves one connection and may wait for it.

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
    stream::connection::{Connection, Context, LINGER, ReadMode, Step},
    sys::{credentials::PeerProcess, interrupt},
};

use crate::stream::deadline_io::{DeadlineIo, Limit};

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionSummary {
    /// Bytes that arrived.
    pub received: u64,
    /// Bytes that were sent.
    pub sent: u64,
    /// Why it ended.
    pub end: CloseReason,
    /// Whom a proxy spoke for.
    pub proxied_source: Option<SocketAddr>,
    /// The client of a unix socket, if the log is to say so.
    pub process: Option<PeerProcess>,
    /// How long it was open, until it was decided to end it,
    pub lasted: Duration,
    /// and how long it took then, unless the peer had decided it.
    pub lingered: Duration,
}

impl ConnectionSummary {
    /// Of a connection with which nothing has happened yet, should it end like this.
    pub fn new(end: CloseReason) -> ConnectionSummary {
        let (lasted, lingered) = (Duration::ZERO, Duration::ZERO);
        ConnectionSummary { received: 0, sent: 0, end, proxied_source: None, process: None, lasted, lingered }
    }
}

/// Serves `connection` to the end, if `admit_proxied` lets in whom a proxy speaks for; `report` is kept up to date, so that it is right even after a panic.
///
/// The socket blocks, so [`Connection::advance`] does all the waiting: a steady connection costs two system calls for
/// each message. Only an interrupt makes the socket non-blocking; then the conversation is brought to its end here.
pub fn converse(
    mut connection: Connection,
    socket: &Socket,
    scratch: &mut [u8],
    context: &Context<'_>,
    opened: Instant,
    mut admit_proxied: impl FnMut(&Connection) -> Result<(), RefusalReason>,
    report: &mut ConnectionSummary,
) {
    report.end = interrupt::with_fd_guard(socket.as_fd(), || {
        let mut transport = DeadlineIo::new(socket, scratch, context.settings, opened);
        if connection.awaits_proxy_header() {
            transport.await_header(opened + context.settings.proxy_header_timeout);
        }
        let mut lingering: Option<Instant> = None;
        loop {
            let wait = connection.advance(&mut transport, context, ReadMode::UntilWouldBlock);
            (report.received, report.sent) = connection.totals();
            match transport.reached() {
                None => {}
                Some(Limit::Header) => match connection.proxy_header_overdue() {
                    Ok(()) => continue,
                    Err(reason) => break CloseReason::Refused(reason),
                },
                Some(Limit::CloseReason(end)) => {
                    connection.finish(end);
                    lingering = Some(Instant::now() + LINGER);
                    transport.release();
                    continue;
                }
            }
            let flags = match wait {
                Step::Closed(end) => break end,
                // Also of a client that keeps the service busy, on whom nobody ever waits.
                _ if context.is_cut() => break CloseReason::DrainTimeout,
                Step::HeaderRead => {
                    transport.proxied_admitted();
                    report.proxied_source = connection.proxied_source();
                    match admit_proxied(&connection) {
                        Ok(()) => continue,
                        Err(reason) => break CloseReason::Refused(reason),
                    }
                }
                Step::Yield => {
                    // A talker has always more to say, and one who lingers may be sent more for ever.
                    if interrupt::is_interrupted() && connection.is_streaming() {
                        connection.stop();
                    }
                    if lingering.is_some_and(|end| end <= Instant::now()) {
                        break connection.reason();
                    }
                    continue;
                }
                Step::Linger => {
                    lingering.get_or_insert_with(|| Instant::now() + LINGER);
                    transport.release();
                    continue;
                }
                Step::Readable if !connection.ending() => {
                    // What had arrived is answered.
                    connection.stop();
                    continue;
                }
                Step::Readable => PollFlags::POLLIN,
                Step::Writable => PollFlags::POLLOUT,
            };
            let until = lingering.into_iter().chain(context.cut_at()).min();
            if !wait_for(socket, flags, until.map(|end| end.saturating_duration_since(Instant::now()))) {
                break if context.is_cut() { CloseReason::DrainTimeout } else { connection.reason() };
            }
        }
    });
    report.lingered = connection.lingered();
}

/// Waits until the socket is ready; false when the time is over.
fn wait_for(socket: &Socket, flags: PollFlags, time: Option<Duration>) -> bool {
    let mut polled = [PollFd::new(socket.as_fd(), flags)];
    let timeout = time.map_or(PollTimeout::NONE, |time| {
        // Rounded up, or the last millisecond would be spent turning.
        PollTimeout::try_from(time.as_millis() + 1).unwrap_or(PollTimeout::MAX)
    });
    !matches!(poll(&mut polled, timeout), Ok(0) | Err(Errno::ENOMEM))
}
