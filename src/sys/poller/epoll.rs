//! epoll(7): the kernel keeps the list of descriptors, and a wait costs what happened, not what is watched.

use std::{io, os::fd::BorrowedFd, time::Duration};

use nix::sys::epoll::{Epoll as Kernel, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{Event, Interest, MOST, Poller, milliseconds};

/// An epoll(7) instance; `EDGE` chooses edge-triggered reports.
pub struct Epoll<const EDGE: bool> {
    kernel: Kernel,
    happened: Box<[EpollEvent]>,
}

impl<const EDGE: bool> Epoll<EDGE> {
    /// A new one.
    pub fn new() -> io::Result<Self> {
        let kernel = Kernel::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Epoll { kernel, happened: vec![EpollEvent::empty(); MOST].into() })
    }
}

impl<const EDGE: bool> Poller for Epoll<EDGE> {
    const EDGE: bool = EDGE;

    // Its entry stays in the socket's wait queue.
    const LISTENS_TO_SENDS: bool = true;

    fn add(&mut self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        Ok(self.kernel.add(fd, EpollEvent::new(flags::<EDGE>(interest), key))?)
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        if EDGE {
            // Both directions are watched from the start.
            return Ok(());
        }
        Ok(self.kernel.modify(fd, &mut EpollEvent::new(flags::<EDGE>(interest), key))?)
    }

    fn remove(&mut self, fd: BorrowedFd<'_>) {
        // It fails only if it was not added.
        let _ = self.kernel.delete(fd);
    }

    fn forget(&mut self, _: BorrowedFd<'_>) {
        // Closing the last descriptor of a file ends that by itself (epoll(7), questions and answers).
    }

    fn wait(&mut self, events: &mut Vec<Event>, time: Option<Duration>) -> io::Result<()> {
        events.clear();
        let time = EpollTimeout::try_from(milliseconds(time)).unwrap_or(EpollTimeout::NONE);
        let count = self.kernel.wait(&mut self.happened, time)?;
        let ended = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        // A receive stops in front of urgent data, and would look like the last one (tcp(7)).
        let ended = ended | EpollFlags::EPOLLPRI;
        events.extend(self.happened[..count].iter().map(|event| Event {
            key: event.data(),
            readable: event.events().contains(EpollFlags::EPOLLIN),
            hangup: event.events().intersects(ended),
        }));
        Ok(())
    }
}

fn flags<const EDGE: bool>(interest: Interest) -> EpollFlags {
    let edge = if EDGE { EpollFlags::EPOLLET } else { EpollFlags::empty() };
    edge | match interest {
        // One loop is woken for a client, not all (epoll_ctl(2)).
        Interest::Accept => EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE,
        _ if EDGE => {
            EpollFlags::EPOLLIN | EpollFlags::EPOLLPRI | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP
        }
        Interest::Read => EpollFlags::EPOLLIN,
        Interest::Write => EpollFlags::EPOLLOUT,
    }
}
