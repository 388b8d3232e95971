//! A connection to the server. It sends and reads at once, so that neither side waits for the other, and every step has a deadline.

use std::{
    cell::RefCell,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr},
    time::{Duration, Instant},
};

use rustix::event::PollFlags;
use socket2::{Domain, Socket};

use super::{Subject, complaint::Trouble, ready::ready};
use crate::{config::Protocol, stream::connection::LONGEST_RECORD};

/// A whole conversation may take so many times as long as one step: a server may be slow, but not for ever.
const STEPS: u32 = 30;

/// How a message is sent.
pub(super) struct Manner {
    /// The sizes of the pieces, again and again.
    pub(super) pieces: &'static [usize],
    /// Sends for as long as the server takes it before anything is read.
    pub(super) reads_late: bool,
    /// Ends its side behind the message, and wants to see the end of the other.
    pub(super) ends: bool,
}

/// All at once, read as it comes.
pub(super) const PLAIN: Manner = Manner { pieces: &[64 * 1024], reads_late: false, ends: false };

/// A connection that does not block.
pub(super) struct Conversation {
    socket: Socket,
    patience: Duration,
    quiet: Duration,
    limit: Instant,
    /// Where records are kept apart: what is left of the last one, of which a read takes a part.
    record: Option<RefCell<Vec<u8>>>,
}

impl Conversation {
    pub(super) fn open(subject: &Subject) -> Result<Self, Trouble> {
        Self::open_with(subject, None)
    }

    /// Opens a connection, whose receive buffer has that many bytes.
    pub(super) fn open_with(subject: &Subject, room: Option<usize>) -> Result<Self, Trouble> {
        let patience = subject.patience;
        let socket = Self::socket(subject, room).map_err(Trouble::Failed)?;
        let address = subject.target.peer.socket_address().map_err(Trouble::Failed)?;
        let connected = match subject.target.protocol {
            Protocol::Unix | Protocol::UnixSeqpacket => {
                // It waits while the queue of connections is full.
                let limited = socket.set_write_timeout(Some(patience));
                // With a time-out the kernel does not go on with a call that a stop of this process interrupted (signal(7)).
                let connect = || loop {
                    match socket.connect(&address) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        outcome => return outcome,
                    }
                };
                limited.and_then(|()| connect())
            }
            _ => socket.connect_timeout(&address, patience),
        };
        connected.map_err(Trouble::Nobody)?;
        socket.set_nonblocking(true).map_err(Trouble::Failed)?;
        let record = (subject.target.protocol == Protocol::UnixSeqpacket).then(RefCell::default);
        Ok(Self {
            socket,
            patience,
            quiet: subject.quiet(),
            limit: Instant::now() + patience * STEPS,
            record,
        })
    }

    fn socket(subject: &Subject, room: Option<usize>) -> io::Result<Socket> {
        let address = subject.target.peer.socket_address()?;
        let kind = subject.target.protocol.socket_type();
        let socket = Socket::new(Domain::from(i32::from(address.family())), kind, None)?;
        if let Some(room) = room {
            socket.set_recv_buffer_size(room)?;
        }
        if subject.target.protocol == Protocol::Tcp {
            socket.set_tcp_nodelay(true)?;
        }
        Ok(socket)
    }

    /// Its own address, if it is an internet address.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }

    /// Sends `message`, and expects the same back.
    pub(super) fn echo(&self, message: &[u8], manner: &Manner) -> Result<(), Trouble> {
        let (mut sent, mut received, mut has_ended) = (0, 0, false);
        let mut pieces = manner.pieces.iter().cycle();
        let mut piece = 0;
        let mut reads = !manner.reads_late;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let mut wanted = PollFlags::empty();
            wanted.set(PollFlags::IN, reads);
            wanted.set(PollFlags::OUT, sent < message.len());
            let patience = if reads { self.patience } else { self.quiet };
            let found = self.wait(wanted, patience)?;
            if found.is_empty() {
                if !reads {
                    reads = true;
                    continue;
                }
                let waited = patience;
                return Err(match received {
                    0 if sent < message.len() => Trouble::Unread { waited, sent },
                    _ => Trouble::Silent { waited, received },
                });
            }
            if wanted.contains(PollFlags::OUT) {
                if piece == 0 {
                    piece = pieces.next().copied().unwrap_or(1).min(message.len() - sent);
                }
                let n = self.write(&message[sent..sent + piece], received)?;
                (sent, piece) = (sent + n, piece - n);
                reads |= sent == message.len();
            }
            if sent == message.len() && manner.ends && !has_ended {
                has_ended = true;
                self.end()?;
            }
            if reads {
                match self.read(&mut buffer, received)? {
                    None => {}
                    Some(0) if received == message.len() && manner.ends => return Ok(()),
                    Some(0) => return Err(Trouble::Closed { received }),
                    Some(n) => {
                        differs(&message[received..sent], &buffer[..n], received)?;
                        received += n;
                    }
                }
                if received == message.len() && !manner.ends {
                    return Ok(());
                }
            }
        }
    }

    /// Sends records, and expects each back as it was, in order.
    pub(super) fn echo_records(&self, records: &[Vec<u8>]) -> Result<(), Trouble> {
        for record in records {
            if self.wait(PollFlags::OUT, self.patience)?.is_empty() {
                return Err(Trouble::Unread { waited: self.patience, sent: 0 });
            }
            self.write(record, 0)?;
        }
        let mut buffer = vec![0; LONGEST_RECORD + 1];
        for (number, record) in records.iter().enumerate() {
            let came = self.next(&mut buffer, 0)?;
            if came == 0 {
                return Err(Trouble::Closed { received: records[..number].iter().map(Vec::len).sum() });
            }
            if came != record.len() {
                return Err(Trouble::Length { number, sent: record.len(), came });
            }
            differs(record, &buffer[..came], 0)?;
        }
        Ok(())
    }

    /// Sends all of it, whatever comes.
    pub(super) fn send(&self, message: &[u8]) -> Result<(), Trouble> {
        let mut sent = 0;
        while sent < message.len() {
            if self.wait(PollFlags::OUT, self.patience)?.is_empty() {
                return Err(Trouble::Unread { waited: self.patience, sent });
            }
            sent += self.write(&message[sent..], 0)?;
        }
        Ok(())
    }

    /// Reads until so many bytes are there.
    pub(super) fn take(&self, length: usize) -> Result<Vec<u8>, Trouble> {
        let mut taken = vec![0; length];
        let mut received = 0;
        while received < length {
            match self.next(&mut taken[received..], received)? {
                0 => return Err(Trouble::Closed { received }),
                n => received += n,
            }
        }
        Ok(taken)
    }

    /// Reads to the end of the stream, which is to come after at most so many bytes.
    pub(super) fn rest(&self, most: usize) -> Result<Vec<u8>, Trouble> {
        let mut taken = vec![0; most + 1];
        let mut received = 0;
        while received <= most {
            match self.next(&mut taken[received..], received)? {
                0 => {
                    taken.truncate(received);
                    return Ok(taken);
                }
                n => received += n,
            }
        }
        Err(Trouble::Endless { most })
    }

    /// Waits for as long as silence takes; what came instead, where an empty piece is the end of the stream.
    pub(super) fn overhears(&self) -> Result<Option<Vec<u8>>, Trouble> {
        if self.wait(PollFlags::IN, self.quiet)?.is_empty() {
            return Ok(None);
        }
        let mut buffer = vec![0; 64];
        let read = self.read(&mut buffer, 0)?;
        Ok(read.map(|n| {
            buffer.truncate(n);
            buffer
        }))
    }

    /// Reads nothing for a while.
    pub(super) fn pause(&self) {
        std::thread::sleep(self.quiet);
    }

    /// Ends the client's side.
    pub(super) fn end(&self) -> Result<(), Trouble> {
        // A server that has gone already shows when it is read.
        match self.socket.shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(Trouble::Failed(error)),
            _ => Ok(()),
        }
    }

    /// Resets the connection; one of a unix socket is closed with its answers unread.
    pub(super) fn reset(self) {
        // Where that fails it is closed, which is no worse.
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }

    /// Waits for a piece; 0 is the end of the stream.
    fn next(&self, to: &mut [u8], received: usize) -> Result<usize, Trouble> {
        loop {
            if self.wait(PollFlags::IN, self.patience)?.is_empty() {
                return Err(Trouble::Silent { waited: self.patience, received });
            }
            if let Some(n) = self.read(to, received)? {
                return Ok(n);
            }
        }
    }

    /// What the socket is ready for before that time is over.
    fn wait(&self, wanted: PollFlags, patience: Duration) -> Result<PollFlags, Trouble> {
        let now = Instant::now();
        if wanted.contains(PollFlags::IN)
            && self.record.as_ref().is_some_and(|record| !record.borrow().is_empty())
        {
            return Ok(PollFlags::IN);
        }
        if now >= self.limit {
            return Err(Trouble::Slow { whole: self.patience * STEPS });
        }
        ready(&self.socket, wanted, (now + patience).min(self.limit))
    }

    fn read(&self, to: &mut [u8], received: usize) -> Result<Option<usize>, Trouble> {
        if let Some(record) = &self.record {
            return self.read_of_record(&mut record.borrow_mut(), to, received);
        }
        match (&self.socket).read(to) {
            Ok(n) => Ok(Some(n)),
            Err(error) if is_later(&error) => Ok(None),
            Err(error) => Err(Trouble::of(error, received)),
        }
    }

    /// A stream of records: what does not fit is kept for the next read.
    fn read_of_record(
        &self,
        record: &mut Vec<u8>,
        to: &mut [u8],
        received: usize,
    ) -> Result<Option<usize>, Trouble> {
        if record.is_empty() {
            record.resize(LONGEST_RECORD + 1, 0);
            match (&self.socket).read(record) {
                Ok(n) => record.truncate(n),
                Err(error) => {
                    record.clear();
                    return if is_later(&error) { Ok(None) } else { Err(Trouble::of(error, received)) };
                }
            }
        }
        let n = record.len().min(to.len());
        to[..n].copy_from_slice(&record[..n]);
        record.drain(..n);
        Ok(Some(n))
    }

    fn write(&self, bytes: &[u8], received: usize) -> Result<usize, Trouble> {
        let most = if self.record.is_some() { LONGEST_RECORD } else { usize::MAX };
        match (&self.socket).write(&bytes[..bytes.len().min(most)]) {
            Ok(n) => Ok(n),
            Err(error) if is_later(&error) => Ok(0),
            Err(error) => Err(Trouble::of(error, received)),
        }
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Compares what came with what was sent and is still owed.
fn differs(owed: &[u8], came: &[u8], received: usize) -> Result<(), Trouble> {
    let byte = |at: usize| owed.get(at).copied();
    match came.iter().enumerate().find(|(at, came)| byte(*at) != Some(**came)) {
        Some((at, came)) => Err(Trouble::Differs { at: received + at, sent: byte(at), came: *came }),
        None => Ok(()),
    }
}
