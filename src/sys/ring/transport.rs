//! A connection's bytes, carried by the ring as long as that is simple, and by system calls otherwise.

use std::{
    io,
    ops::Range,
    os::fd::{AsRawFd, RawFd},
};

use socket2::Socket;

use super::{
    Ring, Sending,
    buffers::{PIECE, Piece},
    queue::{Request, Wait},
};
use crate::sys::transport::{SocketTransport, Transport};

/// See [`Transport`].
pub(super) struct RingTransport<'a> {
    ring: &'a mut Ring,
    fd: RawFd,
    socket: &'a Socket,
    scratch: &'a mut [u8],
    /// What was received last, if the ring received it.
    piece: Option<Piece>,
}

impl<'a> RingTransport<'a> {
    pub(super) fn new(ring: &'a mut Ring, socket: &'a Socket, scratch: &'a mut [u8]) -> Self {
        let fd = socket.as_raw_fd();
        // It may not be watched yet.
        ring.post(fd);
        RingTransport { ring, fd, socket, scratch, piece: None }
    }

    fn direct(&mut self) -> SocketTransport<'_> {
        SocketTransport::new(self.socket, self.scratch)
    }

    fn put_piece_back(&mut self) {
        if let Some(piece) = self.piece.take() {
            self.ring.buffers.give_back(piece);
        }
    }

    /// Makes a request of it, which is submitted with the next wait.
    fn send_later(&mut self, piece: Piece) -> io::Result<()> {
        let (ring, fd) = (&mut *self.ring, self.fd);
        ring.make_room()?;
        let post = &mut ring.worker_states[fd as usize];
        (post.sending, post.touched) = (true, ring.round);
        ring.queue.push(&Request::send(fd, ring.buffers.bytes(&piece), ring.sends.len() as u32));
        ring.sends.push(Sending { fd, generation: post.generation, piece });
        Ok(())
    }

    /// Whether something that was sent before has not reached the kernel yet.
    fn is_behind(&self) -> bool {
        let post = &self.ring.worker_states[self.fd as usize];
        post.sending || post.is_blocked()
    }
}

impl Transport for RingTransport<'_> {
    fn receive(&mut self) -> io::Result<Option<usize>> {
        self.put_piece_back();
        let post = &mut self.ring.worker_states[self.fd as usize];
        if post.is_blocked() {
            return Ok(None);
        }
        match post.take_ahead(self.scratch) {
            0 => {}
            n => return Ok(Some(n)),
        }
        if let Some(piece) = post.pieces.pop(&mut self.ring.buffers) {
            let n = piece.length();
            self.piece = Some(piece);
            return Ok(Some(n));
        }
        if let Some(end) = post.ended() {
            return end;
        }
        let received = self.direct().receive()?;
        if let Some(n) = received {
            self.ring.worker_states[self.fd as usize].note(n < PIECE);
        }
        Ok(received)
    }

    fn receive_now(&mut self) -> io::Result<Option<usize>> {
        // The socket never blocks here.
        self.receive()
    }

    fn buffer(&mut self) -> &mut [u8] {
        match &self.piece {
            Some(piece) => self.ring.buffers.whole(piece),
            None => self.scratch,
        }
    }

    fn send(&mut self, part: Range<usize>) -> io::Result<Option<usize>> {
        if self.is_behind() {
            return Ok(None);
        }
        let carry = self.ring.worker_states[self.fd as usize].carry;
        if let Some(piece) = self.piece.take_if(|_| carry) {
            let n = part.len();
            self.send_later(piece.part(part))?;
            return Ok(Some(n));
        }
        match &self.piece {
            Some(piece) => {
                let socket = self.socket;
                let words = &self.ring.buffers.whole(piece)[part];
                SocketTransport::new(socket, &mut []).send_kept(words)
            }
            None => self.direct().send(part),
        }
    }

    fn send_kept(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        match self.is_behind() {
            true => Ok(None),
            false => self.direct().send_kept(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<bool> {
        if self.ring.worker_states[self.fd as usize].sending {
            self.ring.enter(Wait::Not)?;
        }
        Ok(!self.is_behind())
    }

    fn end(&mut self) -> io::Result<()> {
        self.direct().end()
    }
}

impl Drop for RingTransport<'_> {
    fn drop(&mut self) {
        self.put_piece_back();
        self.ring.tell_later(self.fd);
    }
}
