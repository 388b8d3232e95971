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
    report::{close_reason::End, refusal_reason::Reason},
    stream::connection::{Appetite, Connection, Context, LINGER, Wait},
    sys::{credentials::PeerProcess, interrupt},
};

use crate::stream::deadline_io::{Limit, Timed};

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Bytes that arrived.
    pub received: u64,
    /// Bytes that were sent.
    pub sent: u64,
    /// Why it ended.
    pub end: End,
    /// Whom a proxy spoke for.
    pub carried: Option<SocketAddr>,
    /// The client of a unix socket, if the log is to say so.
    pub process: Option<PeerProcess>,
    /// How long it was open, until it was decided to end it,
    pub lasted: Duration,
    /// and how long it took then, unless the peer had decided it.
    pub lingered: Duration,
}

impl Report {
    /// Of a connection with which nothing has happened yet, should it end like this.
    pub fn new(end: End) -> Report {
        let (lasted, lingered) = (Duration::ZERO, Duration::ZERO);
        Report { received: 0, sent: 0, end, carried: None, process: None, lasted, lingered }
    }
}

/// Serves `connection` to the end, if `introduce` lets in whom a proxy speaks for; `report` is kept up to date, so that it is right even after a panic.
///
/// The socket blocks, so [`Connection::advance`] does all the waiting: a steady connection costs two system calls for
/// each message. Only an interrupt makes the socket non-blocking; then the conversation is brought to its end here.
pub fn converse(
    mut connection: Connection,
    socket: &Socket,
    scratch: &mut [u8],
    context: &Context<'_>,
    opened: Instant,
    mut introduce: impl FnMut(&Connection) -> Result<(), Reason>,
    report: &mut Report,
) {
    report.end = interrupt::attend(socket.as_fd(), || {
        let mut line = Timed::new(socket, scratch, context.settings, opened);
        if connection.is_prefaced() {
            line.await_header(opened + context.settings.proxy_header_timeout);
        }
        let mut lingering: Option<Instant> = None;
        loop {
            let wait = connection.advance(&mut line, context, Appetite::All);
            (report.received, report.sent) = connection.totals();
            match line.reached() {
                None => {}
                Some(Limit::Header) => match connection.preface_overdue() {
                    Ok(()) => continue,
                    Err(reason) => break End::Refused(reason),
                },
                Some(Limit::End(end)) => {
                    connection.finish(end);
                    lingering = Some(Instant::now() + LINGER);
                    line.release();
                    continue;
                }
            }
            let flags = match wait {
                Wait::Closed(end) => break end,
                // Also of a client that keeps the service busy, on whom nobody ever waits.
                _ if context.is_cut() => break End::Cut,
                Wait::Introduced => {
                    line.introduced();
                    report.carried = connection.carried();
                    match introduce(&connection) {
                        Ok(()) => continue,
                        Err(reason) => break End::Refused(reason),
                    }
                }
                Wait::Turn => {
                    // A talker has always more to say, and one who lingers may be sent more for ever.
                    if interrupt::asked() && connection.is_talker() {
                        connection.stop();
                    }
                    if lingering.is_some_and(|end| end <= Instant::now()) {
                        break connection.reason();
                    }
                    continue;
                }
                Wait::Linger => {
                    lingering.get_or_insert_with(|| Instant::now() + LINGER);
                    line.release();
                    continue;
                }
                Wait::Readable if !connection.ending() => {
                    // What had arrived is answered.
                    connection.stop();
                    continue;
                }
                Wait::Readable => PollFlags::POLLIN,
                Wait::Writable => PollFlags::POLLOUT,
            };
            let until = lingering.into_iter().chain(context.cut_at()).min();
            if !wait_for(socket, flags, until.map(|end| end.saturating_duration_since(Instant::now()))) {
                break if context.is_cut() { End::Cut } else { connection.reason() };
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
