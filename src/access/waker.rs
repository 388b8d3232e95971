//! Descriptors that become readable when something has happened: eventfd(2).

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

pub(super) fn signal(event: &OwnedFd) {
    // It can fail only at 2^64 - 2, and then the descriptor is readable anyway.
    let _ = nix::unistd::write(event, &1u64.to_ne_bytes());
}

/// Wakes an event loop when a slot is released: readable once woken.
#[derive(Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A waker that was not woken yet.
    pub fn new() -> io::Result<Waker> {
        Ok(Waker(Arc::new(event()?)))
    }

    pub(super) fn wake(&self) {
        signal(&self.0);
    }

    pub(super) fn clear(&self) {
        // EAGAIN if it was not woken.
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
