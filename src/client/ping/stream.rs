//! Probes over one lasting connection, which is made again when it breaks.
//!
//! TCP loses nothing, it waits: a loss shows as a late answer, and the kernel tells that it has sent again.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    os::fd::{AsFd, BorrowedFd},
};

use nix::poll::PollFlags;
use socket2::Socket;

use super::{
    books::{Arrival, Books},
    event::Event,
    wire::{Connections, Wire},
};
use crate::{
    client::{
        histogram::Histogram,
        options::Common,
        probe::Answer,
        socket::{OpenError, open},
        target::Target,
    },
    config::Protocol,
    report::error::Failure,
    socket::resolve::error_text,
    sys::{clock, stamps, tcp_info},
};

/// Bytes read before others have their turn.
const MOST: usize = 1 << 20;

/// How long a connection may take to come about before another is tried.
const PATIENCE: u64 = 10_000_000_000;

/// Time before the second attempt to connect; it doubles with every further one.
const FIRST_PAUSE: u64 = 100_000_000;
const LONGEST_PAUSE: u64 = 2_000_000_000;

/// Answers in a row that are wrong before the stream counts as out of step.
const OUT_OF_STEP: u32 = 2;

/// One connection, or the attempts to have one.
#[derive(Debug)]
pub(super) struct StreamWire {
    target: Target,
    common: Common,
    link: Link,
    /// Probes that leave as soon as there is a connection.
    held: VecDeque<u64>,
    /// What is still to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// What has been read and is no whole answer yet.
    inbox: Vec<u8>,
    wrong_in_a_row: u32,
    retransmits: u32,
    /// Whether each probe is a record of its own, and its answer is to be one.
    keeps_records: bool,
    /// Attempts that failed, one after the other.
    failures: u32,
    /// Before that, no other attempt is made.
    not_before: u64,
    /// Why the last one failed.
    last_error: Option<io::Error>,
    connect: Histogram,
    start: u64,
}

#[derive(Debug)]
enum Link {
    Down,
    Connecting { socket: Socket, since: u64 },
    Up { socket: Socket },
}

impl StreamWire {
    /// For a connection to `target`.
    pub(super) fn new(target: &Target, common: &Common) -> Self {
        Self {
            target: target.clone(),
            common: common.clone(),
            link: Link::Down,
            held: VecDeque::new(),
            out: Vec::new(),
            written: 0,
            inbox: Vec::new(),
            wrong_in_a_row: 0,
            retransmits: 0,
            keeps_records: target.protocol == Protocol::UnixSeqpacket,
            failures: 0,
            not_before: 0,
            last_error: None,
            connect: Histogram::default(),
            start: clock::now(),
        }
    }

    /// Begins to connect.
    fn connect(&mut self, books: &mut Books) -> Result<(), Failure> {
        let since = clock::now();
        match open(&self.target, &self.common, None) {
            Ok(opened) => {
                books.set_source(0, opened.source());
                match opened.is_connected {
                    true => self.is_up(opened.socket, since, books),
                    false => self.link = Link::Connecting { socket: opened.socket, since },
                }
                Ok(())
            }
            Err(OpenError::Unreachable(error)) => {
                self.has_failed(error, books);
                Ok(())
            }
            Err(OpenError::Local(failure)) => Err(failure),
        }
    }

    fn is_up(&mut self, socket: Socket, since: u64, books: &mut Books) {
        self.connect.record(clock::now() - since);
        (self.failures, self.wrong_in_a_row, self.retransmits) = (0, 0, 0);
        self.out.clear();
        self.inbox.clear();
        self.written = 0;
        books.set_source(0, socket.local_addr().ok().and_then(|local| local.as_socket()));
        self.link = Link::Up { socket };
        for sequence in std::mem::take(&mut self.held) {
            // One that has waited too long is lost already.
            if books.is_waiting(sequence) {
                let now = clock::now();
                books.sent_only_now(sequence, now);
                self.write(sequence, now, books);
            }
        }
    }

    /// There is no connection, and that is the fate of the probes that wait for one.
    fn has_failed(&mut self, error: io::Error, books: &mut Books) {
        self.link = Link::Down;
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures += 1;
        self.not_before = clock::now() + pause;
        for sequence in std::mem::take(&mut self.held) {
            refuse(sequence, &error, books);
        }
        self.last_error = Some(error);
    }

    /// The connection ended.
    fn has_broken(&mut self, why: &str, books: &mut Books) {
        self.link = Link::Down;
        self.held.clear();
        books.note(format!("connection closed: {why}; the next probe makes another one"));
        books.all_broken();
    }

    fn write(&mut self, sequence: u64, sent: u64, books: &mut Books) {
        let from = self.out.len();
        self.out.resize(from + books.probes.size(), 0);
        books.probes.write(sequence, sent.saturating_sub(self.start), &mut self.out[from..]);
        self.flush(books);
    }

    fn flush(&mut self, books: &mut Books) {
        let Link::Up { socket } = &self.link else { return };
        while self.written < self.out.len() {
            let mut socket = socket;
            let at_once = if self.keeps_records { books.probes.size() } else { usize::MAX };
            let waiting = &self.out[self.written..];
            match socket.write(&waiting[..at_once.min(waiting.len())]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return self.has_broken(&error_text(&error), books),
            }
        }
        self.out.clear();
        self.written = 0;
    }

    fn read(&mut self, books: &mut Books) {
        let mut chunk = [0; 1 << 16];
        let mut all = 0;
        while let Link::Up { socket } = &self.link
            && all < MOST
        {
            let mut socket = socket;
            match socket.read(&mut chunk) {
                Ok(0) => return self.has_broken("by the server", books),
                Ok(length) if self.keeps_records && length != books.probes.size() => {
                    return self.has_broken("a record came back with another length", books);
                }
                Ok(length) => {
                    all += length;
                    self.inbox.extend_from_slice(&chunk[..length]);
                    self.take_answers(books);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return self.has_broken(&error_text(&error), books),
            }
        }
    }

    fn take_answers(&mut self, books: &mut Books) {
        let (size, read) = (books.probes.size(), clock::now());
        let mut taken = 0;
        while let Some(answer) = self.inbox.get(taken..taken + size) {
            taken += size;
            let is_whole = matches!(books.probes.check(answer), Answer::Whole { .. });
            books.answer(answer, Arrival { read, ..Arrival::default() });
            self.wrong_in_a_row = if is_whole { 0 } else { self.wrong_in_a_row + 1 };
            if self.wrong_in_a_row == OUT_OF_STEP {
                return self.has_broken("what comes back is out of step with what was sent", books);
            }
        }
        self.inbox.drain(..taken);
        let Link::Up { socket } = &self.link else { return };
        let Some(now) = tcp_info::retransmits(socket).filter(|now| taken > 0 && *now > self.retransmits)
        else {
            return;
        };
        books.replies.retransmitted += 1;
        books.events.push(Event::Retransmitted { count: now - self.retransmits });
        self.retransmits = now;
    }
}

/// The fate of a probe for which there was no connection.
pub(super) fn refuse(sequence: u64, error: &io::Error, books: &mut Books) {
    let refusals = [libc::ECONNREFUSED, libc::ENOENT, libc::ECONNRESET, libc::EACCES, libc::EPERM];
    match error.raw_os_error().is_some_and(|error| refusals.contains(&error)) {
        true => books.refused(Some(sequence), 0, &error_text(error)),
        false => {
            books.note(format!("cannot connect: {}", error_text(error)));
            books.broken(sequence);
        }
    }
}

impl Wire for StreamWire {
    fn open(&mut self, books: &mut Books) -> Result<(), Failure> {
        self.connect(books)?;
        match &self.last_error {
            Some(error) if error.kind() == ErrorKind::PermissionDenied => {
                Err(crate::client::socket::unreachable(&self.target, error))
            }
            _ => Ok(()),
        }
    }

    fn is_open(&self) -> bool {
        !matches!(self.link, Link::Connecting { .. })
    }

    fn send(&mut self, books: &mut Books) {
        let now = clock::now();
        if matches!(self.link, Link::Down)
            && now >= self.not_before
            && let Err(failure) = self.connect(books)
        {
            return books.unsent(now, 0, failure.message);
        }
        if matches!(self.link, Link::Up { .. }) && self.written < self.out.len() {
            return books.unsent(now, 0, "the connection takes no more yet".to_owned());
        }
        let offset = stamps::clock_offset();
        // Once more: to connect may have taken a while.
        let now = clock::now();
        let sequence = books.sent(now, offset, 0);
        match &self.link {
            Link::Up { .. } => self.write(sequence, now, books),
            Link::Connecting { .. } => self.held.push_back(sequence),
            Link::Down => {
                let error = self.last_error.take().unwrap_or_else(|| ErrorKind::NotConnected.into());
                refuse(sequence, &error, books);
                self.last_error = Some(error);
            }
        }
    }

    fn watch<'a>(&'a self, watched: &mut Vec<(BorrowedFd<'a>, PollFlags)>) {
        match &self.link {
            Link::Down => {}
            Link::Connecting { socket, .. } => watched.push((socket.as_fd(), PollFlags::POLLOUT)),
            Link::Up { socket } => {
                let more =
                    if self.written < self.out.len() { PollFlags::POLLOUT } else { PollFlags::empty() };
                watched.push((socket.as_fd(), PollFlags::POLLIN | more));
            }
        }
    }

    fn ready(&mut self, _: usize, what: PollFlags, books: &mut Books) {
        match std::mem::replace(&mut self.link, Link::Down) {
            Link::Down => {}
            Link::Connecting { socket, since } => match socket.take_error() {
                Ok(None) => self.is_up(socket, since, books),
                Ok(Some(error)) | Err(error) => self.has_failed(error, books),
            },
            Link::Up { socket } => {
                self.link = Link::Up { socket };
                if what.intersects(PollFlags::POLLOUT) {
                    self.flush(books);
                }
                if what.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                    self.read(books);
                }
            }
        }
    }

    fn expire(&mut self, now: u64, books: &mut Books) {
        if self.next_expiry().is_some_and(|expiry| expiry <= now) {
            self.has_failed(io::Error::from_raw_os_error(libc::ETIMEDOUT), books);
        }
    }

    fn next_expiry(&self) -> Option<u64> {
        match self.link {
            Link::Connecting { since, .. } => Some(since + PATIENCE),
            _ => None,
        }
    }

    fn connections(&self) -> Connections<'_> {
        Connections { connect: Some(&self.connect), close: None }
    }
}
