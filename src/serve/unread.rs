//! Answers that unix clients have not read. They lie in the send buffer of our socket, so that a client that does not read would
//! keep the answers of all others from being sent: the kernel bounds the queue of a client only while it is not connected to us.
//!
//! As long as there is room nothing is asked and nothing is noted. When the buffer is full it is enlarged once, and from then on
//! each answer is asked for: it is sent to a client that has read what it was sent, as far as the kernel tells, and no more of the
//! room is given to one than leaves as much again for others. When half of the usual buffer is free, all is as before.
//!
//! The threads and processes of a listener share what is noted.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{
    config::{self, Protocol, ServiceKind},
    socket::{address::Peer, listener::Listener},
    sys::{
        clock,
        mmsg::SendRoom,
        send_buffer,
        shared::{SharedArray, atomics},
        unix_diag,
    },
};

/// Sockets whose room is told apart; a word for each is a page.
const SOCKETS: usize = 512;
/// Clients that are told apart, by a keyed hash of their names.
const CLIENTS: usize = 1024;
/// Bits for clients that were sent an empty answer, in words.
const EMPTY: usize = 1024;

/// A client may owe this part of the enlarged buffer before the kernel is asked whether it has read.
const SHARE: usize = 32;

/// The pause before the kernel is asked again about a client that has not read, in nanoseconds: doubled each time, up to the longest.
const PAUSE: u64 = 5_000_000;
const LONGEST_PAUSE: u64 = 160_000_000;

/// What is noted of the clients of one listener.
pub struct Unread {
    hash: RandomState,
    /// The usual size of the buffer of a socket whose room is scarce; 0 otherwise.
    usual: SharedArray<AtomicU64>,
    clients: SharedArray<Client>,
    /// Who was ever sent an empty answer: one that is first in a queue looks like an empty queue.
    sent_empty: SharedArray<AtomicU64>,
}

atomics! {
/// A client, while room is scarce.
#[repr(C)]
struct Client {
    /// The hash of its name and of the socket; 0 for nobody.
    key: AtomicU64,
    /// What it was sent since it had read all, in bytes of the kernel's memory.
    has_pending: AtomicU64,
    /// How much was in use when the first of that was sent.
    level: AtomicU64,
    /// Until when it is known not to have read, in nanoseconds.
    silent_until: AtomicU64,
    /// The last pause.
    pause: AtomicU64,
}
}

/// The room that one socket has for answers.
pub struct AnswerRoom<'a> {
    unread: &'a Unread,
    socket: usize,
    /// The first client that was not sent an answer.
    withheld: Option<Vec<u8>>,
}

impl Unread {
    /// For a listener whose answers can fill its buffer: one of unix datagrams that answers.
    pub fn of(listener: &config::Listener) -> io::Result<Option<Unread>> {
        if listener.protocol != Protocol::UnixDatagram || listener.service == ServiceKind::Discard {
            return Ok(None);
        }
        Ok(Some(Unread {
            hash: RandomState::new(),
            usual: SharedArray::new(SOCKETS)?,
            clients: SharedArray::new(CLIENTS)?,
            sent_empty: SharedArray::new(EMPTY)?,
        }))
    }

    /// The room of one of its sockets.
    pub fn room(&self, listener: &Listener) -> AnswerRoom<'_> {
        AnswerRoom { unread: self, socket: listener.address().number() as usize % SOCKETS, withheld: None }
    }
}

impl SendRoom for AnswerRoom<'_> {
    fn is_scarce(&self, fd: BorrowedFd<'_>) -> bool {
        let usual = self.usual().load(Relaxed) as usize;
        if usual == 0 {
            return false;
        }
        let is_scarce = send_buffer::used(&fd).is_ok_and(|used| used > usual / 2);
        if !is_scarce && self.usual().swap(0, Relaxed) != 0 {
            // What is noted is about what has been read.
            self.unread.clients.iter().for_each(|client| client.key.store(0, Relaxed));
            // It stays large if that fails.
            let _ = send_buffer::restore(&fd, usual);
        }
        is_scarce
    }

    fn is_full(&self, fd: BorrowedFd<'_>) -> bool {
        let (Ok(used), Ok(size)) = (send_buffer::used(&fd), send_buffer::size(&fd)) else { return false };
        if used < size {
            return false;
        }
        if self.usual().compare_exchange(0, size as u64, Relaxed, Relaxed).is_ok() {
            // Without more room nobody is answered, as before.
            let _ = send_buffer::enlarge(&fd, size);
        }
        true
    }

    fn admits(&mut self, fd: BorrowedFd<'_>, name: &[u8], length: usize) -> bool {
        let admits = self.may_have(fd, name, length);
        if !admits && self.withheld.is_none() {
            self.withheld = Some(name.to_vec());
        }
        admits
    }

    fn note_empty(&self, name: &[u8]) {
        let (word, bit) = self.bit(self.key(name));
        word.fetch_or(bit, Relaxed);
    }
}

impl AnswerRoom<'_> {
    /// The first client from which an answer was withheld.
    pub fn withheld_from(&self) -> Option<Peer> {
        self.withheld.as_deref().map(Peer::unix)
    }

    fn may_have(&self, fd: BorrowedFd<'_>, name: &[u8], length: usize) -> bool {
        let (Ok(used), Ok(size)) = (send_buffer::used(&fd), send_buffer::size(&fd)) else { return true };
        let (key, cost, free) = (self.key(name), cost(length), size.saturating_sub(used));
        let Some(client) = self.client(key) else {
            return cost <= free / 2 && self.has_read(name, key, true);
        };
        let has_pending = client.has_pending.load(Relaxed);
        let is_reader = client.pause.load(Relaxed) == 0 && has_pending > 0;
        if has_pending > 0 && has_pending as usize + cost <= size / SHARE && cost <= free / 2 {
            client.has_pending.fetch_add(cost as u64, Relaxed);
            return true;
        }
        let now = clock::now();
        if now < client.silent_until.load(Relaxed) {
            return false;
        }
        let may_have_read = has_pending == 0 || used as u64 <= client.level.load(Relaxed);
        if !self.has_read(name, key, may_have_read) {
            let pause = (client.pause.load(Relaxed) * 2).clamp(PAUSE, LONGEST_PAUSE);
            client.pause.store(pause, Relaxed);
            client.silent_until.store(now + pause, Relaxed);
            return false;
        }
        client.pause.store(0, Relaxed);
        // A client that has shown that it reads may have what newcomers leave.
        let admitted = cost <= if is_reader { free } else { free / 2 };
        client.has_pending.store(if admitted { cost as u64 } else { 0 }, Relaxed);
        client.level.store(used as u64, Relaxed);
        admitted
    }

    fn usual(&self) -> &AtomicU64 {
        &self.unread.usual[self.socket]
    }

    fn key(&self, name: &[u8]) -> u64 {
        self.unread.hash.hash_one((self.socket, name)).max(1)
    }

    fn bit(&self, key: u64) -> (&AtomicU64, u64) {
        (&self.unread.sent_empty[(key >> 6) as usize % EMPTY], 1 << (key % 64))
    }

    /// The place of a client; none if another one has it that owes something.
    fn client(&self, key: u64) -> Option<&Client> {
        let client = &self.unread.clients[(key >> 32) as usize % CLIENTS];
        let there = client.key.load(Relaxed);
        if there == key {
            return Some(client);
        }
        if there != 0 && (client.has_pending.load(Relaxed) > 0 || client.pause.load(Relaxed) > 0) {
            return None;
        }
        client.key.compare_exchange(there, key, Relaxed, Relaxed).ok()?;
        [&client.has_pending, &client.level, &client.silent_until, &client.pause]
            .into_iter()
            .for_each(|number| number.store(0, Relaxed));
        Some(client)
    }

    /// Whether a client has read all that it was sent. Where the kernel does not show its queue, or an empty datagram may be first in
    /// it, what is in use says whether it `may_have_read`.
    fn has_read(&self, name: &[u8], key: u64, may_have_read: bool) -> bool {
        let (word, bit) = self.bit(key);
        match unix_diag::first_unread(name) {
            Ok(Some(0)) => may_have_read || word.load(Relaxed) & bit == 0,
            Ok(Some(_)) => false,
            Ok(None) | Err(_) => may_have_read,
        }
    }
}

/// What a datagram takes of the kernel's memory, or a little more: buffers come in powers of two, and what does not fit a large one
/// in pages.
fn cost(length: usize) -> usize {
    const LINEAR: usize = 16 << 10;
    if length < LINEAR { (length + 512).next_power_of_two() + 512 } else { length + LINEAR / 2 }
}
