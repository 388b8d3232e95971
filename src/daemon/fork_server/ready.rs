//! Waiting for the word of a process that it is prepared to serve.

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

/// How long it may take to be prepared, which takes milliseconds.
const TO_PREPARE: Duration = Duration::from_secs(10);

/// How often to see whether it is to be prepared at all.
const TICK: Duration = Duration::from_millis(20);

/// Waits until a process says that it is prepared; not for ever, and not once a start is to be stopped.
pub(super) fn await_ready(said: &mut File) -> io::Result<()> {
    let end = Instant::now() + TO_PREPARE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let tick = PollTimeout::try_from(left.min(TICK)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(said.as_fd(), PollFlags::POLLIN)], tick) {
            Ok(0) if signals::is_stop_pending() => return Err(io::Error::other("told to stop")),
            Ok(0) if left.is_zero() => {
                return Err(io::Error::other(format!("its process was not ready within {TO_PREPARE:?}")));
            }
            Ok(0) | Err(Errno::EINTR) => continue,
            _ => {}
        }
        match said.read(&mut [0]) {
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

    /// In a thread of its own, which takes what it was told with it.
    #[test]
    fn a_start_that_is_stopped_waits_for_no_process() {
        let test = || {
            let (reader, mut writer) = io::pipe().unwrap();
            let mut said = File::from(OwnedFd::from(reader));
            writer.write_all(READY).unwrap();
            await_ready(&mut said).unwrap();
            SigSet::from(Signal::SIGTERM).thread_block().unwrap();
            raise(Signal::SIGTERM).unwrap();
            assert_eq!(await_ready(&mut said).unwrap_err().to_string(), "told to stop");
            drop(writer);
            let told = await_ready(&mut said).unwrap_err().to_string();
            assert_eq!(told, "its process ended before it was ready");
        };
        thread::spawn(test).join().unwrap();
    }
}
