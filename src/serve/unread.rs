//! Answers that unix clients have not read. They count against the send buffer of our socket, so one client that does
//! not read would block the answers of all others: the kernel bounds a client's queue only if the client is not
//! connected to us.
//!
//! While there is room, nothing is checked and nothing is recorded. When the buffer is full it is enlarged once, and
//! from then on every answer is checked: it is sent only to a client that has read what it was sent before, as far as
//! the kernel tells, and no client gets more of the room than leaves as much again for others. When half of the usual
//! buffer is free again, the checks end.
//!
//! The threads and processes of a listener share what is recorded.

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

/// Sockets whose room is kept apart; one word each makes one page.
const SOCKETS: usize = 512;
/// Clients that are kept apart, by a keyed hash of their names.
const CLIENTS: usize = 1024;
/// Words of the bit set of clients that were sent an empty answer.
const EMPTY: usize = 1024;

/// This part of the enlarged buffer may be unread by one client before the kernel is asked whether it has read.
const SHARE: usize = 32;

/// The wait before the kernel is asked again about a client that has not read, in nanoseconds: doubled each time, up to
/// the longest.
const PAUSE: u64 = 5_000_000;
const LONGEST_PAUSE: u64 = 160_000_000;

/// What is recorded about the clients of one listener.
pub struct Unread {
    hash: RandomState,
    /// The usual buffer size of a socket whose room is scarce, in bytes; otherwise 0.
    usual: SharedArray<AtomicU64>,
    clients: SharedArray<Client>,
    /// Clients that were ever sent an empty answer: a queue that begins with an empty datagram looks like an empty
    /// queue.
    sent_empty: SharedArray<AtomicU64>,
}

atomics! {
/// A client, while room is scarce.
#[repr(C)]
struct Client {
    /// Hash of its name and the socket; 0 for a free entry.
    key: AtomicU64,
    /// Bytes of kernel memory that it was sent since it last had read everything.
    has_pending: AtomicU64,
    /// Bytes in use when the first of these was sent.
    level: AtomicU64,
    /// Until then it is known not to have read, in nanoseconds.
    silent_until: AtomicU64,
    /// The last wait, in nanoseconds.
    pause: AtomicU64,
}
}

/// The room for answers of one socket.
pub struct AnswerRoom<'a> {
    unread: &'a Unread,
    socket: usize,
    /// The first client from which an answer was withheld.
    withheld: Option<Vec<u8>>,
}

impl Unread {
    /// For a listener whose answers can fill its buffer: a service that answers unix datagrams.
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

    /// The room of one of the listener's sockets.
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
            // What is recorded is about answers that have been read.
            self.unread.clients.iter().for_each(|client| client.key.store(0, Relaxed));
            // If this fails, the buffer stays large.
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
            // If this fails there is no more room than before, and no client is answered.
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
        // A client that has proved that it reads may also use the room that is kept for new clients.
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

    /// The entry of a client; `None` if another client that has not read everything has it.
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

    /// Whether a client has read all that it was sent. Where the kernel does not show its queue, or an empty datagram
    /// may come first in it, the buffer in use says whether it `may_have_read`.
    fn has_read(&self, name: &[u8], key: u64, may_have_read: bool) -> bool {
        let (word, bit) = self.bit(key);
        match unix_diag::first_unread(name) {
            Ok(Some(0)) => may_have_read || word.load(Relaxed) & bit == 0,
            Ok(Some(_)) => false,
            Ok(None) | Err(_) => may_have_read,
        }
    }
}

/// Kernel memory that a datagram takes, in bytes, or a little more: buffers come in powers of two, and what exceeds a
/// large one in pages.
fn cost(length: usize) -> usize {
    const LINEAR: usize = 16 << 10;
    if length < LINEAR { (length + 512).next_power_of_two() + 512 } else { length + LINEAR / 2 }
}
