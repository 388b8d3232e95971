//! The wait for a socket of a check.

use std::{io, time::Instant};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use socket2::Socket;

use super::complaint::Trouble;

/// What `socket` is ready for by then; nothing if that time is over. A wait that a signal interrupts goes on.
pub(super) fn ready(socket: &Socket, wanted: PollFlags, until: Instant) -> Result<PollFlags, Trouble> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left =
            Timespec::try_from(left).map_err(|_| Trouble::Failed(io::ErrorKind::InvalidInput.into()))?;
        let mut polled = [PollFd::new(socket, wanted)];
        match poll(&mut polled, Some(&left)) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(Trouble::Failed(error.into())),
            Ok(_) => return Ok(polled[0].revents()),
        }
    }
}
