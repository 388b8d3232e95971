//! Waits until the process of a forking listener is prepared.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::process::signals;

/// How long the preparation may take; it usually takes milliseconds.
const TO_PREPARE: Duration = Duration::from_secs(10);

/// How often to check whether the start was told to stop.
const TICK: Duration = Duration::from_millis(20);

/// Waits for READY, within a deadline, and only as long as the start is not told to stop.
pub(super) fn await_ready(status: &mut File) -> io::Result<()> {
    let end = Instant::now() + TO_PREPARE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let tick = PollTimeout::try_from(left.min(TICK)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(status.as_fd(), PollFlags::POLLIN)], tick) {
            Ok(0) if signals::is_stop_pending() => return Err(io::Error::other("told to stop")),
            Ok(0) if left.is_zero() => {
                return Err(io::Error::other(format!("its process was not ready within {TO_PREPARE:?}")));
            }
            Ok(0) | Err(Errno::EINTR) => continue,
            _ => {}
        }
        match status.read(&mut [0]) {
            Ok(0) => return Err(io::Error::other("its process ended before it was ready")),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::OwnedFd, thread};

    use nix::sys::signal::{SigSet, Signal, raise};

    use super::{super::READY, *};

    /// In a thread of its own, so that the pending signal ends with it.
    #[test]
    fn a_start_that_is_stopped_waits_for_no_process() {
        let test = || {
            let (reader, mut writer) = io::pipe().unwrap();
            let mut status = File::from(OwnedFd::from(reader));
            writer.write_all(READY).unwrap();
            await_ready(&mut status).unwrap();
            SigSet::from(Signal::SIGTERM).thread_block().unwrap();
            raise(Signal::SIGTERM).unwrap();
            assert_eq!(await_ready(&mut status).unwrap_err().to_string(), "told to stop");
            drop(writer);
            let error = await_ready(&mut status).unwrap_err().to_string();
            assert_eq!(error, "its process ended before it was ready");
        };
        thread::spawn(test).join().unwrap();
    }
}
