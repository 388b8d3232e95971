//! The conversation of a thread or process that serves one connection and may wait for it.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use socket2::Socket;

use crate::{
    connection::{Appetite, Connection, Context, LINGER, Wait},
    end::End,
    sys::interrupt,
};

mod timed;

use timed::Timed;

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Bytes that arrived.
    pub received: u64,
    /// Bytes that were sent.
    pub sent: u64,
    /// Why it ended.
    pub end: End,
}

/// Serves `connection` to the end; `report` is kept up to date, so that it is right even after a panic.
///
/// The socket blocks, so [`Connection::advance`] does all the waiting: a steady connection costs two system calls for
/// each message. Only an interrupt makes the socket non-blocking; then the conversation is brought to its end here.
pub fn converse(
    mut connection: Connection,
    socket: &Socket,
    scratch: &mut [u8],
    context: &Context<'_>,
    opened: Instant,
    report: &mut Report,
) {
    let _attention = interrupt::attend(socket.as_fd());
    let mut line = Timed::new(socket, scratch, context.settings, opened);
    let mut lingering: Option<Instant> = None;
    let end = loop {
        let wait = connection.advance(&mut line, context, Appetite::All);
        (report.received, report.sent) = connection.totals();
        if let Some(end) = line.expired() {
            connection.finish(end);
            lingering = Some(Instant::now() + LINGER);
            continue;
        }
        let flags = match wait {
            Wait::Closed(end) => break end,
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
        let time = lingering.map(|end| end.saturating_duration_since(Instant::now()));
        if !wait_for(socket, flags, time) {
            break connection.reason();
        }
    };
    report.end = end;
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
