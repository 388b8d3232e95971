//! poll(2): the whole list goes to the kernel and comes back with every wait.

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

use super::{Interest, Poller, Readiness, milliseconds};

/// The list for poll(2).
#[derive(Default)]
pub struct Poll {
    list: Vec<libc::pollfd>,
    keys: Vec<u64>,
    /// The place of each descriptor in the list, by its number.
    places: Vec<u32>,
}

impl Poll {
    /// A new one.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many descriptors are watched.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Ends watching `fd`; whether it was watched.
    pub(super) fn take_out(&mut self, fd: BorrowedFd<'_>) -> bool {
        let index = fd.as_raw_fd() as usize;
        let place = self.places.get(index).map_or(usize::MAX, |&place| place as usize);
        if place >= self.list.len() {
            return false;
        }
        self.places[index] = u32::MAX;
        self.list.swap_remove(place);
        self.keys.swap_remove(place);
        if let Some(moved) = self.list.get(place) {
            self.places[moved.fd as usize] = place as u32;
        }
        true
    }
}

impl Poller for Poll {
    fn add(&mut self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        let number = fd.as_raw_fd();
        let index = number as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, u32::MAX);
        }
        self.places[index] = self.list.len() as u32;
        self.list.push(libc::pollfd { fd: number, events: flags(interest), revents: 0 });
        self.keys.push(key);
        Ok(())
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, _: u64, interest: Interest) -> io::Result<()> {
        let place = self.places[fd.as_raw_fd() as usize] as usize;
        self.list[place].events = flags(interest);
        Ok(())
    }

    fn remove(&mut self, fd: BorrowedFd<'_>) {
        self.take_out(fd);
    }

    fn wait(&mut self, events: &mut Vec<Readiness>, time: Option<Duration>) -> io::Result<()> {
        events.clear();
        let (list, count) = (self.list.as_mut_ptr(), self.list.len() as libc::nfds_t);
        // SAFETY: the list holds `count` valid structures, and nobody else uses it during the call.
        let happened = unsafe { libc::poll(list, count, milliseconds(time)) };
        let mut left = usize::try_from(happened).map_err(|_| io::Error::last_os_error())?;
        let ended = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
        for (entry, &key) in self.list.iter().zip(&self.keys) {
            if left == 0 {
                break;
            }
            if entry.revents != 0 {
                left -= 1;
                let readable = entry.revents & libc::POLLIN != 0;
                events.push(Readiness { key, readable, hangup: entry.revents & ended != 0 });
            }
        }
        Ok(())
    }
}

fn flags(interest: Interest) -> i16 {
    match interest {
        Interest::Read | Interest::Accept => libc::POLLIN,
        Interest::Write => libc::POLLOUT,
    }
}
