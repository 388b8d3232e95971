//! Descriptors that become readable when something has happened.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

pub(super) fn event() -> io::Result<OwnedFd> {
    Ok(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?.into())
}

pub(super) fn is_readable(event: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(event.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

pub(super) fn tell(event: &OwnedFd) {
    // It can fail only after 2^64 - 2 times, and then it is readable anyway.
    let _ = nix::unistd::write(event, &1u64.to_ne_bytes());
}

/// Tells an event loop that somebody left: readable once it was rung.
#[derive(Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// One that was not rung yet.
    pub fn new() -> io::Result<Waker> {
        Ok(Waker(Arc::new(event()?)))
    }

    pub(super) fn ring(&self) {
        tell(&self.0);
    }

    pub(super) fn silence(&self) {
        // Nothing to read if it was not rung.
        let _ = nix::unistd::read(&self.0, &mut [0; 8]);
    }

    pub(super) fn is(&self, other: &Waker) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
