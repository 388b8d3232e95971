//! select(2): bit sets, which cannot hold a descriptor of 1024 or above.

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::null_mut,
    time::Duration,
};

use super::{Interest, Poller, Readiness};

/// Descriptors from this number on do not fit into the sets (`FD_SETSIZE`): setting their bit would write out of bounds.
pub const LIMIT: usize = libc::FD_SETSIZE;

const BITS: usize = u64::BITS as usize;

/// A bit set as select(2) reads it: descriptor n is bit n % 64 of word n / 64.
#[derive(Clone, Copy, Default)]
struct Set([u64; LIMIT / BITS]);

const _: () = assert!(size_of::<Set>() == size_of::<libc::fd_set>());

impl Set {
    fn put(&mut self, number: usize, present: bool) {
        let bit = 1 << (number % BITS);
        match present {
            true => self.0[number / BITS] |= bit,
            false => self.0[number / BITS] &= !bit,
        }
    }
}

/// The sets for select(2).
pub struct Select {
    read: Set,
    write: Set,
    keys: Box<[u64]>,
    /// One more than the highest descriptor ever added.
    end: usize,
}

impl Select {
    /// Empty sets.
    pub fn new() -> Self {
        Select { read: Set::default(), write: Set::default(), keys: vec![0; LIMIT].into(), end: 0 }
    }
}

impl Default for Select {
    fn default() -> Self {
        Self::new()
    }
}

impl Poller for Select {
    fn admits(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let number = fd.as_raw_fd() as usize;
        if number < LIMIT {
            return Ok(());
        }
        let text = format!("descriptor {number} is beyond what select can hold");
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }

    fn add(&mut self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        self.admits(fd)?;
        let number = fd.as_raw_fd() as usize;
        self.keys[number] = key;
        self.end = self.end.max(number + 1);
        self.modify(fd, key, interest)
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, _: u64, interest: Interest) -> io::Result<()> {
        let number = fd.as_raw_fd() as usize;
        self.read.put(number, interest != Interest::Write);
        self.write.put(number, interest == Interest::Write);
        Ok(())
    }

    fn remove(&mut self, fd: BorrowedFd<'_>) {
        let number = fd.as_raw_fd() as usize;
        if number < LIMIT {
            self.read.put(number, false);
            self.write.put(number, false);
        }
    }

    fn wait(&mut self, events: &mut Vec<Readiness>, time: Option<Duration>) -> io::Result<()> {
        events.clear();
        let (mut read, mut write) = (self.read, self.write);
        let mut time = time
            .map(|time| libc::timeval { tv_sec: time.as_secs() as _, tv_usec: time.subsec_micros().into() });
        let time = time.as_mut().map_or(null_mut(), |time| &raw mut *time);
        let (readable, writable) = ((&raw mut read).cast(), (&raw mut write).cast());
        // SAFETY: both sets have the size and layout of `fd_set`. Descriptors below `end` were checked against the limit when
        // they were added.
        let ready = unsafe { libc::select(self.end as i32, readable, writable, null_mut(), time) };
        if ready < 0 {
            return Err(io::Error::last_os_error());
        }
        for (word, (read, write)) in read.0.iter().zip(&write.0).enumerate() {
            let mut bits = read | write;
            while bits != 0 {
                let bit = bits.trailing_zeros();
                bits &= bits - 1;
                let key = self.keys[word * BITS + bit as usize];
                // select(2) does not report hang-ups; a read finds them.
                events.push(Readiness { key, readable: read >> bit & 1 != 0, hangup: false });
            }
        }
        Ok(())
    }
}
