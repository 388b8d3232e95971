//! epoll(7): the kernel keeps the set of descriptors, so a wait costs as much as there are events, not descriptors.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    io::Errno,
};

use super::{Interest, MOST, Poll, Poller, Readiness, milliseconds};

/// An epoll(7) instance. `EDGE` selects edge-triggered events.
pub struct Epoll<const EDGE: bool> {
    kernel: OwnedFd,
    ready: Vec<epoll::Event>,
    /// Busy sockets, and the epoll instance itself while there are any. An entry of epoll stays in the wait queue of its socket
    /// and is called back for everything that the socket sends; an entry of poll(2) is there only during the wait.
    busy: Option<Poll>,
}

/// The key of the epoll instance in `busy`.
const INSTANCE: u64 = u64::MAX;

impl<const EDGE: bool> Epoll<EDGE> {
    /// A new epoll instance.
    pub fn new() -> io::Result<Self> {
        let kernel = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Epoll { kernel, ready: Vec::with_capacity(MOST), busy: None })
    }

    /// Stops watching a busy socket, and returns whether it was busy. Such a socket is not in the kernel's set.
    fn remove_busy(&mut self, fd: BorrowedFd<'_>) -> bool {
        let Some(list) = &mut self.busy else { return false };
        let was_busy = list.take_out(fd);
        if list.len() == 1 {
            self.busy = None;
        }
        was_busy
    }
}

impl<const EDGE: bool> Poller for Epoll<EDGE> {
    const EDGE: bool = EDGE;

    fn add(&mut self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        match epoll::add(&self.kernel, fd, EventData::new_u64(key), flags::<EDGE>(interest)) {
            // Still registered with the same flags: an earlier removal has failed.
            Err(Errno::EXIST) => Ok(()),
            added => Ok(added?),
        }
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        if EDGE {
            // Both directions are watched from the start.
            return Ok(());
        }
        Ok(epoll::modify(&self.kernel, fd, EventData::new_u64(key), flags::<EDGE>(interest))?)
    }

    fn set_busy(&mut self, fd: BorrowedFd<'_>, key: u64, busy: bool) -> io::Result<()> {
        self.remove(fd);
        if !busy {
            return self.add(fd, key, Interest::Accept);
        }
        let list = match &mut self.busy {
            Some(list) => list,
            none => {
                let mut list = Poll::new();
                list.add(self.kernel.as_fd(), INSTANCE, Interest::Read)?;
                none.insert(list)
            }
        };
        list.add(fd, key, Interest::Accept)
    }

    fn remove(&mut self, fd: BorrowedFd<'_>) {
        if !self.remove_busy(fd) {
            // Fails only if it was not registered.
            let _ = epoll::delete(&self.kernel, fd);
        }
    }

    fn forget(&mut self, _: BorrowedFd<'_>) {
        // close(2) of the last descriptor of a file removes it from the set (epoll(7), questions and answers).
    }

    fn wait(&mut self, events: &mut Vec<Readiness>, time: Option<Duration>) -> io::Result<()> {
        events.clear();
        self.ready.clear();
        let mut time = time;
        if let Some(list) = &mut self.busy {
            list.wait(events, time)?;
            let Some(at) = events.iter().position(|event| event.key == INSTANCE) else { return Ok(()) };
            events.swap_remove(at);
            time = Some(Duration::ZERO);
        }
        // epoll_wait(2), which takes whole milliseconds, exists on every kernel; epoll_pwait2(2) does not.
        let time = time.map(|time| {
            let time = milliseconds(Some(time));
            Timespec { tv_sec: i64::from(time / 1000), tv_nsec: (time % 1000 * 1_000_000).into() }
        });
        epoll::wait(&self.kernel, spare_capacity(&mut self.ready), time.as_ref())?;
        let ended = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        // A receive stops at urgent data (tcp(7)), so a short read would look like the last one.
        let ended = ended | EventFlags::PRI;
        events.extend(self.ready.iter().map(|&epoll::Event { flags, data, .. }| Readiness {
            key: data.u64(),
            readable: flags.contains(EventFlags::IN),
            hangup: flags.intersects(ended),
        }));
        Ok(())
    }
}

fn flags<const EDGE: bool>(interest: Interest) -> EventFlags {
    let edge = if EDGE { EventFlags::ET } else { EventFlags::empty() };
    edge | match interest {
        // The kernel wakes one loop for a client instead of all (epoll_ctl(2)).
        Interest::Accept => EventFlags::IN | EventFlags::EXCLUSIVE,
        _ if EDGE => EventFlags::IN | EventFlags::PRI | EventFlags::OUT | EventFlags::RDHUP,
        Interest::Read => EventFlags::IN,
        Interest::Write => EventFlags::OUT,
    }
}
