//! Answers that unix clients have not read. They count against the send buffer of our socket, so one client that does
//! not read would block the answers of all others: the kernel bounds a client's queue only if the client is not
//! connected to us.
//!
//! While there is room, nothing is checked and nothing is recorded. When the buffer is full it is enlarged once, and
//! from then on every answer is checked: it is sent only to a client that has read what it was sent before, as far as
//! the kernel tells, and no client gets more of the room than leaves as much again for others. When half of the usual
//! buffer is free again, the checks end.
//!
//! The threads and processes of a listener share what is recorded, and each may be held up between any two of its steps: another
//! may have restored the buffer since, or not have enlarged it yet.

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
        send_buffer::{self, UsualBuffer},
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

/// Bits of the word of a socket, beside the usual size of its buffer in bytes: whether that was chosen, and whether room is scarce.
const CHOSEN: u64 = 1 << 62;
const SCARCE: u64 = 1 << 63;

/// This part of the enlarged buffer may be unread by one client before the kernel is asked whether it has read.
const SHARE: usize = 32;

/// The wait before the kernel is asked again about a client that has not read, in nanoseconds: doubled each time, up to
/// the longest.
const PAUSE: u64 = 5_000_000;
const LONGEST_PAUSE: u64 = 160_000_000;

/// What is recorded about the clients of one listener.
pub struct Unread {
    hash: RandomState,
    /// Each socket's usual buffer, and whether its room is scarce; 0 until it is for the first time.
    sockets: SharedArray<AtomicU64>,
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
        Self::new().map(Some)
    }

    fn new() -> io::Result<Unread> {
        Ok(Unread {
            hash: RandomState::new(),
            sockets: SharedArray::new(SOCKETS)?,
            clients: SharedArray::new(CLIENTS)?,
            sent_empty: SharedArray::new(EMPTY)?,
        })
    }

    /// The room of one of the listener's sockets.
    pub fn room(&self, listener: &Listener) -> AnswerRoom<'_> {
        AnswerRoom { unread: self, socket: listener.address().number() as usize % SOCKETS, withheld: None }
    }
}

impl SendRoom for AnswerRoom<'_> {
    fn is_scarce(&self, fd: BorrowedFd<'_>) -> bool {
        let Some(usual) = self.usual_if_scarce() else { return false };
        let is_scarce = send_buffer::used(&fd).is_ok_and(|used| used > usual.size / 2);
        if !is_scarce && self.word().fetch_and(!SCARCE, Relaxed) & SCARCE != 0 {
            // What is recorded is about answers that have been read.
            self.unread.clients.iter().for_each(|client| client.key.store(0, Relaxed));
            // If this fails, the buffer stays large.
            let _ = usual.restore(&fd);
        }
        is_scarce
    }

    fn makes_room(&self, fd: BorrowedFd<'_>, was_scarce: bool) -> bool {
        let (Ok(used), Ok(size)) = (send_buffer::used(&fd), send_buffer::size(&fd)) else { return false };
        if used < size {
            // Another process may have made room since.
            return !was_scarce && self.usual_if_scarce().is_some();
        }
        let Ok(usual) = self.usual(fd) else { return false };
        if was_scarce && size > usual.size {
            return false;
        }
        self.word().fetch_or(SCARCE, Relaxed);
        // If this fails there is no more room than before, and no client is answered.
        let _ = usual.enlarge(&fd);
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
        let Some(usual) = self.usual_if_scarce() else { return true };
        let (Ok(used), Ok(mut size)) = (send_buffer::used(&fd), send_buffer::size(&fd)) else { return true };
        if size <= usual.size {
            size = usual.enlarge(&fd).unwrap_or(size);
        }
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

    fn word(&self) -> &AtomicU64 {
        &self.unread.sockets[self.socket]
    }

    /// The usual buffer of the socket, while its room is scarce.
    fn usual_if_scarce(&self) -> Option<UsualBuffer> {
        let word = self.word().load(Relaxed);
        (word & SCARCE != 0).then(|| usual(word))
    }

    /// The usual buffer of the socket: nobody has enlarged it before the first who finds it full notes it here.
    fn usual(&self, fd: BorrowedFd<'_>) -> io::Result<UsualBuffer> {
        let now = UsualBuffer::of(&fd)?;
        let word = now.size as u64 | if now.is_chosen { CHOSEN } else { 0 };
        let there = self.word().compare_exchange(0, word, Relaxed, Relaxed);
        Ok(there.map_or_else(usual, |_| now))
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

/// The usual buffer that the word of a socket tells of.
fn usual(word: u64) -> UsualBuffer {
    UsualBuffer { size: (word & !(CHOSEN | SCARCE)) as usize, is_chosen: word & CHOSEN != 0 }
}

/// Kernel memory that a datagram takes, in bytes, or a little more: buffers come in powers of two, and what exceeds a
/// large one in pages.
fn cost(length: usize) -> usize {
    const LINEAR: usize = 16 << 10;
    if length < LINEAR { (length + 512).next_power_of_two() + 512 } else { length + LINEAR / 2 }
}

#[cfg(test)]
mod tests {
    use std::os::{fd::AsFd, unix::net::UnixDatagram};

    use super::*;

    /// A socket whose buffer is full of what a client has not read, and another client that reads.
    struct Crowded {
        unread: Unread,
        socket: UnixDatagram,
        silent: UnixDatagram,
    }

    const READER: &[u8] = b"\0reader";

    impl Crowded {
        fn new() -> Crowded {
            let (socket, silent) = UnixDatagram::pair().unwrap();
            socket.set_nonblocking(true).unwrap();
            silent.set_nonblocking(true).unwrap();
            let crowded = Crowded { unread: Unread::new().unwrap(), socket, silent };
            crowded.fill();
            crowded
        }

        /// A worker's view.
        fn room(&self) -> AnswerRoom<'_> {
            AnswerRoom { unread: &self.unread, socket: 0, withheld: None }
        }

        fn fill(&self) {
            while self.socket.send(&[0; 10_000]).is_ok() {}
        }

        fn drain(&self) {
            while self.silent.recv(&mut [0]).is_ok() {}
        }

        /// Whether an answer that has consent is sent.
        fn has_room(&self) -> bool {
            self.socket.send(b"an answer").is_ok()
        }
    }

    #[test]
    fn who_comes_before_the_buffer_is_enlarged_is_answered() {
        let it = Crowded::new();
        let usual = it.room().usual(it.socket.as_fd()).unwrap();
        // A worker that found it full is held up here.
        it.room().word().fetch_or(SCARCE, Relaxed);
        let mut room = it.room();
        assert!(room.is_scarce(it.socket.as_fd()));
        assert!(room.admits(it.socket.as_fd(), READER, 9) && it.has_room());
        it.drain();
        assert!(!room.is_scarce(it.socket.as_fd()));
        assert_eq!(UsualBuffer::of(&it.socket).unwrap(), usual);
    }

    #[test]
    fn who_is_told_that_it_is_full_while_another_enlarges_it_tries_again() {
        let it = Crowded::new();
        assert!(it.room().makes_room(it.socket.as_fd(), false));
        let mut late = it.room();
        assert!(late.makes_room(it.socket.as_fd(), false));
        assert!(late.admits(it.socket.as_fd(), READER, 9) && it.has_room());
        assert!(!late.makes_room(it.socket.as_fd(), true), "a queue of one client is not made longer");
    }

    #[test]
    fn who_comes_when_the_buffer_has_been_restored_and_filled_again_is_answered() {
        let it = Crowded::new();
        assert!(it.room().makes_room(it.socket.as_fd(), false));
        let mut late = it.room();
        assert!(late.is_scarce(it.socket.as_fd()));
        it.drain();
        assert!(!it.room().is_scarce(it.socket.as_fd()));
        it.fill();
        assert!(late.admits(it.socket.as_fd(), READER, 9) && !it.has_room());
        assert!(late.makes_room(it.socket.as_fd(), true));
        assert!(late.admits(it.socket.as_fd(), READER, 9) && it.has_room());
    }
}
