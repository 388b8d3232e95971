//! The processes of a pool begin together: each reports that it is prepared, and accepts clients only once all are.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

use crate::{
    modes::forking::process_group::{ProcessGroup, cause},
    serve::context::Startup,
    sys::interrupt,
};

/// Two eventfds, shared by the parent and its workers.
pub(super) struct PoolStart {
    /// Counts the prepared workers.
    prepared: OwnedFd,
    /// Stays readable once the workers may begin.
    begun: OwnedFd,
}

impl PoolStart {
    pub(super) fn new() -> io::Result<PoolStart> {
        let event = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        Ok(PoolStart { prepared: event()?.into(), begun: event()?.into() })
    }

    /// The start of one worker, to be used in its process.
    pub(super) fn of_worker(&self) -> io::Result<Startup> {
        let (prepared, begun) = (self.prepared.try_clone()?, self.begun.try_clone()?);
        Ok(Startup::elsewhere(move || {
            notify(&prepared);
            let mut polled = [PollFd::new(begun.as_fd(), PollFlags::POLLIN)];
            // A worker that SIGTERM interrupts here begins all the same: its acceptor sees the interrupt first.
            while poll(&mut polled, PollTimeout::NONE) == Err(Errno::EINTR) && !interrupt::is_interrupted() {}
            true
        }))
    }

    /// Waits until `workers` of them are prepared.
    ///
    /// # Errors
    /// A worker ended instead.
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

    /// Lets all workers begin.
    pub(super) fn begin(self) {
        notify(&self.begun);
    }
}

fn notify(event: &OwnedFd) {
    // A write fails only if the counter is full, and then the eventfd is readable anyway.
    let _ = nix::unistd::write(event, &1u64.to_ne_bytes());
}
