//! The processes of a pool begin together: each reports that it is prepared, and accepts clients only once the pool may begin.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

use crate::modes::forking::process_group::{ProcessGroup, cause};
use crate::{serve::context::Startup, sys::interrupt};

/// Shared by the process that forks and its workers.
pub(super) struct PoolStart {
    /// Counts the workers that are prepared.
    prepared: OwnedFd,
    /// Readable for good once they may begin.
    begun: OwnedFd,
}

impl PoolStart {
    pub(super) fn new() -> io::Result<PoolStart> {
        let event = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        Ok(PoolStart { prepared: event()?.into(), begun: event()?.into() })
    }

    /// The start of one worker, in its process.
    pub(super) fn of_worker(&self) -> io::Result<Startup> {
        let (prepared, begun) = (self.prepared.try_clone()?, self.begun.try_clone()?);
        Ok(Startup::elsewhere(move || {
            tell(&prepared);
            let mut polled = [PollFd::new(begun.as_fd(), PollFlags::POLLIN)];
            // A worker that is told to stop by then finds that out by itself.
            while poll(&mut polled, PollTimeout::NONE) == Err(Errno::EINTR) && !interrupt::is_interrupted() {}
            true
        }))
    }

    /// Waits until so many workers are prepared.
    ///
    /// # Errors
    /// If one of them has ended instead.
    pub(super) fn wait(&self, group: &ProcessGroup, workers: usize) -> io::Result<()> {
        let mut prepared = 0;
        while prepared < workers as u64 {
            if let Some((_, status)) = group.reap() {
                let cause = cause(status);
                return Err(io::Error::other(format!("a worker ended before it could serve: {cause}")));
            }
            group.pause_until(Some(self.prepared.as_fd()), None);
            let mut count = [0; 8];
            if nix::unistd::read(&self.prepared, &mut count).is_ok() {
                prepared += u64::from_ne_bytes(count);
            }
        }
        Ok(())
    }

    /// Lets them all begin.
    pub(super) fn begin(self) {
        tell(&self.begun);
    }
}

fn tell(event: &OwnedFd) {
    // It can fail only where it is readable anyway.
    let _ = nix::unistd::write(event, &1u64.to_ne_bytes());
}
