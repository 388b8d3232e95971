//! What carries the bytes of a stream connection to and from the kernel, and the buffer that they are in meanwhile.

use std::{io, net::Shutdown, ops::Range};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};
use socket2::Socket;

/// One way of carrying bytes. In place of a count, `None` says that the socket would block.
pub trait Transport {
    /// Receives, to the start of [`Transport::buffer`]; 0 is the end of file.
    ///
    /// # Errors
    /// As recv(2) says, but never EINTR or EAGAIN.
    fn receive(&mut self) -> io::Result<Option<usize>>;

    /// As [`Transport::receive`], but never waits, not even where the socket blocks.
    ///
    /// # Errors
    /// As recv(2) says.
    fn receive_now(&mut self) -> io::Result<Option<usize>>;

    /// Where requests arrive and answers are made.
    fn buffer(&mut self) -> &mut [u8];

    /// Sends a part of the buffer, which is not to be looked at afterwards if all of it went.
    ///
    /// # Errors
    /// As send(2) says, but never EINTR or EAGAIN.
    fn send(&mut self, part: Range<usize>) -> io::Result<Option<usize>>;

    /// Sends bytes that are kept elsewhere.
    ///
    /// # Errors
    /// As [`Transport::send`].
    fn send_kept(&mut self, bytes: &[u8]) -> io::Result<Option<usize>>;

    /// Whether the kernel has all that was sent; with false, [`Transport::send`] would block.
    ///
    /// # Errors
    /// As [`Transport::send`].
    fn flush(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    /// Tells the peer that nothing more will be sent.
    ///
    /// # Errors
    /// As shutdown(2) says: the peer is gone.
    fn end(&mut self) -> io::Result<()>;
}

/// A line by system calls: each receive and send is one. They are not those of libc, where a thread that makes one can be
/// cancelled (pthreads(7)): in a process of several threads that takes two locked instructions, each time.
pub struct SocketTransport<'a> {
    socket: &'a Socket,
    scratch: &'a mut [u8],
}

impl<'a> SocketTransport<'a> {
    /// A line that uses `scratch` as its buffer.
    pub fn new(socket: &'a Socket, scratch: &'a mut [u8]) -> Self {
        SocketTransport { socket, scratch }
    }
}

impl Transport for SocketTransport<'_> {
    fn receive(&mut self) -> io::Result<Option<usize>> {
        unless_blocked(|| recv(self.socket, &mut *self.scratch, RecvFlags::empty()).map(|(n, _)| n))
    }

    fn receive_now(&mut self) -> io::Result<Option<usize>> {
        match recv(self.socket, &mut *self.scratch, RecvFlags::DONTWAIT) {
            Ok((n, _)) => Ok(Some(n)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.scratch
    }

    fn send(&mut self, part: Range<usize>) -> io::Result<Option<usize>> {
        unless_blocked(|| send(self.socket, &self.scratch[part.clone()], SendFlags::NOSIGNAL))
    }

    fn send_kept(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        unless_blocked(|| send(self.socket, bytes, SendFlags::NOSIGNAL))
    }

    fn end(&mut self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }
}

/// Makes a call again when a signal interrupted it; `None` if it would block.
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
