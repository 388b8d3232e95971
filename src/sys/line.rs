//! What carries the bytes of a stream connection to and from the kernel, and the buffer that they are in meanwhile.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    ops::Range,
    os::fd::AsRawFd,
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};
use socket2::Socket;

/// One way of carrying bytes. In place of a count, `None` says that the socket would block.
pub trait Line {
    /// Receives, to the start of [`Line::buffer`]; 0 is the end of file.
    ///
    /// # Errors
    /// As recv(2) says, but never EINTR or EAGAIN.
    fn receive(&mut self) -> io::Result<Option<usize>>;

    /// As [`Line::receive`], but never waits, not even where the socket blocks.
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
    /// As [`Line::send`].
    fn send_kept(&mut self, bytes: &[u8]) -> io::Result<Option<usize>>;

    /// Whether the kernel has all that was sent; with false, [`Line::send`] would block.
    ///
    /// # Errors
    /// As [`Line::send`].
    fn flush(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    /// Tells the peer that nothing more will be sent.
    ///
    /// # Errors
    /// As shutdown(2) says: the peer is gone.
    fn end(&mut self) -> io::Result<()>;
}

/// A line by system calls: each receive and send is one.
pub struct Direct<'a> {
    socket: &'a Socket,
    scratch: &'a mut [u8],
}

impl<'a> Direct<'a> {
    /// A line that uses `scratch` as its buffer.
    pub fn new(socket: &'a Socket, scratch: &'a mut [u8]) -> Self {
        Direct { socket, scratch }
    }
}

impl Line for Direct<'_> {
    fn receive(&mut self) -> io::Result<Option<usize>> {
        unless_blocked(|| (&*self.socket).read(self.scratch))
    }

    fn receive_now(&mut self) -> io::Result<Option<usize>> {
        match recv(self.socket.as_raw_fd(), self.scratch, MsgFlags::MSG_DONTWAIT) {
            Ok(n) => Ok(Some(n)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.scratch
    }

    fn send(&mut self, part: Range<usize>) -> io::Result<Option<usize>> {
        unless_blocked(|| (&*self.socket).write(&self.scratch[part.clone()]))
    }

    fn send_kept(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        unless_blocked(|| (&*self.socket).write(bytes))
    }

    fn end(&mut self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }
}

/// Makes a call again when a signal interrupted it; `None` if it would block.
fn unless_blocked(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(n) => return Ok(Some(n)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
