//! poll(2): every wait passes the whole list to the kernel and back.

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

use super::{Interest, Poller, Readiness, milliseconds};

/// A list for poll(2).
#[derive(Default)]
pub struct Poll {
    list: Vec<libc::pollfd>,
    keys: Vec<u64>,
    /// The index in `list` of each descriptor, by its number; `u32::MAX` if it is not watched.
    indexes: Vec<u32>,
}

impl Poll {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of descriptors watched.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Stops watching `fd`, and returns whether it was watched.
    pub(super) fn take_out(&mut self, fd: BorrowedFd<'_>) -> bool {
        let number = fd.as_raw_fd() as usize;
        let index = self.indexes.get(number).map_or(usize::MAX, |&index| index as usize);
        if index >= self.list.len() {
            return false;
        }
        self.indexes[number] = u32::MAX;
        self.list.swap_remove(index);
        self.keys.swap_remove(index);
        if let Some(moved) = self.list.get(index) {
            self.indexes[moved.fd as usize] = index as u32;
        }
        true
    }
}

impl Poller for Poll {
    fn add(&mut self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        let number = fd.as_raw_fd();
        let index = number as usize;
        if self.indexes.len() <= index {
            self.indexes.resize(index + 1, u32::MAX);
        }
        self.indexes[index] = self.list.len() as u32;
        self.list.push(libc::pollfd { fd: number, events: flags(interest), revents: 0 });
        self.keys.push(key);
        Ok(())
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, _: u64, interest: Interest) -> io::Result<()> {
        let index = self.indexes[fd.as_raw_fd() as usize] as usize;
        self.list[index].events = flags(interest);
        Ok(())
    }

    fn remove(&mut self, fd: BorrowedFd<'_>) {
        self.take_out(fd);
    }

    fn wait(&mut self, events: &mut Vec<Readiness>, time: Option<Duration>) -> io::Result<()> {
        events.clear();
        let (list, count) = (self.list.as_mut_ptr(), self.list.len() as libc::nfds_t);
        // SAFETY: the list holds `count` valid structures, and is borrowed exclusively during the call.
        let ready = unsafe { libc::poll(list, count, milliseconds(time)) };
        let mut left = usize::try_from(ready).map_err(|_| io::Error::last_os_error())?;
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
