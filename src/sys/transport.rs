//! How the bytes of a connection get to and from the kernel, and the buffer that they are in meanwhile.

use std::{
    io,
    net::Shutdown,
    ops::Range,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};
use socket2::Socket;

use super::record;

/// Moves the bytes of one connection. `None` in place of a count means that the socket would block.
pub trait Transport {
    /// Whether the socket keeps records apart (SOCK_SEQPACKET): a receive returns one, and a send takes one, in full.
    const RECORDS: bool = false;

    /// Receives to the start of [`Transport::buffer`]; 0 is the end of file, or an empty record. A count greater than the length of
    /// the buffer is that of a record, of which the rest is lost.
    ///
    /// # Errors
    /// As recv(2), without EINTR and EAGAIN.
    fn receive(&mut self) -> io::Result<Option<usize>>;

    /// Whether a receive of 0 bytes was the end of file.
    fn is_end(&self) -> bool {
        true
    }

    /// Like [`Transport::receive`], but does not wait, even on a blocking socket.
    ///
    /// # Errors
    /// As recv(2).
    fn receive_now(&mut self) -> io::Result<Option<usize>>;

    /// The buffer that requests are received into and answers are made in.
    fn buffer(&mut self) -> &mut [u8];

    /// Sends a part of the buffer. The caller must not read the buffer afterwards if all of the part was sent.
    ///
    /// # Errors
    /// As send(2), without EINTR and EAGAIN.
    fn send(&mut self, part: Range<usize>) -> io::Result<Option<usize>>;

    /// Sends bytes from outside of the buffer.
    ///
    /// # Errors
    /// As [`Transport::send`].
    fn send_kept(&mut self, bytes: &[u8]) -> io::Result<Option<usize>>;

    /// Whether the kernel has accepted all that was sent. If not, [`Transport::send`] would block.
    ///
    /// # Errors
    /// As [`Transport::send`].
    fn flush(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    /// The socket, for what it tells of itself.
    fn socket(&self) -> BorrowedFd<'_>;

    /// Shuts down the sending side: the peer receives an end of file.
    ///
    /// # Errors
    /// As shutdown(2): the peer is gone.
    fn end(&mut self) -> io::Result<()>;
}

/// The transport of a stream.
pub type SocketTransport<'a> = DirectTransport<'a, false>;

/// The transport of records.
pub type RecordTransport<'a> = DirectTransport<'a, true>;

/// One system call for each receive and send. They bypass the C library, whose calls are cancellation points (pthreads(7)): in a
/// multi-threaded process that is two locked instructions a call.
pub struct DirectTransport<'a, const RECORDS: bool> {
    socket: &'a Socket,
    scratch: &'a mut [u8],
    /// Where there are records: whether the end of file was received.
    ended: bool,
}

impl<'a, const RECORDS: bool> DirectTransport<'a, RECORDS> {
    /// A transport with `scratch` as its buffer.
    pub fn new(socket: &'a Socket, scratch: &'a mut [u8]) -> Self {
        DirectTransport { socket, scratch, ended: false }
    }

    /// As [`Transport::receive`], but made once: for a socket with time-outs, of which the kernel counts the whole again when an
    /// interrupted call is repeated.
    ///
    /// # Errors
    /// As recv(2).
    pub fn receive_once(&mut self) -> Result<usize, Errno> {
        self.receive_with(RecvFlags::empty())
    }

    fn receive_with(&mut self, flags: RecvFlags) -> Result<usize, Errno> {
        if !RECORDS {
            return recv(self.socket, &mut *self.scratch, flags).map(|(n, _)| n);
        }
        let received = record::receive(self.socket, self.scratch, flags)?;
        self.ended = received.is_none();
        Ok(received.unwrap_or(0))
    }

    /// As [`Transport::send`], but made once.
    ///
    /// # Errors
    /// As send(2).
    pub fn send_once(&mut self, part: Range<usize>) -> Result<usize, Errno> {
        send(self.socket, &self.scratch[part], SendFlags::NOSIGNAL)
    }

    /// As [`Transport::send_kept`], but made once.
    ///
    /// # Errors
    /// As send(2).
    pub fn send_kept_once(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        send(self.socket, bytes, SendFlags::NOSIGNAL)
    }
}

impl<const RECORDS: bool> Transport for DirectTransport<'_, RECORDS> {
    const RECORDS: bool = RECORDS;

    fn receive(&mut self) -> io::Result<Option<usize>> {
        unless_blocked(|| self.receive_once())
    }

    fn is_end(&self) -> bool {
        !RECORDS || self.ended
    }

    fn receive_now(&mut self) -> io::Result<Option<usize>> {
        match self.receive_with(RecvFlags::DONTWAIT) {
            Ok(n) => Ok(Some(n)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.scratch
    }

    fn send(&mut self, part: Range<usize>) -> io::Result<Option<usize>> {
        unless_blocked(|| self.send_once(part.clone()))
    }

    fn send_kept(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        unless_blocked(|| self.send_kept_once(bytes))
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn end(&mut self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }
}

/// Repeats a call that a signal interrupted; `None` if it would block.
fn unless_blocked(mut call: impl FnMut() -> Result<usize, Errno>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(n) => return Ok(Some(n)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
