//! The transport of a ring: requests on the fast path, system calls otherwise.

use std::{
    io,
    ops::Range,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use socket2::Socket;

use super::{
    Ring, Sending,
    buffers::{PIECE, Piece},
    queue::{RingRequest, Wait},
};
use crate::sys::transport::{SocketTransport, Transport};

/// Carries the bytes of one connection.
pub(super) struct RingTransport<'a> {
    ring: &'a mut Ring,
    fd: RawFd,
    socket: &'a Socket,
    scratch: &'a mut [u8],
    /// The last piece received, if the ring received it.
    piece: Option<Piece>,
}

impl<'a> RingTransport<'a> {
    pub(super) fn new(ring: &'a mut Ring, socket: &'a Socket, scratch: &'a mut [u8]) -> Self {
        let fd = socket.as_raw_fd();
        // The connection may not be watched yet.
        ring.state(fd);
        RingTransport { ring, fd, socket, scratch, piece: None }
    }

    fn direct(&mut self) -> SocketTransport<'_> {
        SocketTransport::new(self.socket, self.scratch)
    }

    fn give_piece_back(&mut self) {
        if let Some(piece) = self.piece.take() {
            self.ring.buffers.give_back(piece);
        }
    }

    /// Pushes a send request, which the next wait submits.
    fn send_later(&mut self, piece: Piece) -> io::Result<()> {
        let (ring, fd) = (&mut *self.ring, self.fd);
        ring.make_room()?;
        let state = &mut ring.states[fd as usize];
        (state.sending, state.submitted_in) = (true, ring.round);
        ring.queue.push(&RingRequest::send(fd, ring.buffers.bytes(&piece), ring.sends.len() as u32));
        ring.sends.push(Sending { fd, generation: state.generation, piece });
        Ok(())
    }

    /// Whether an earlier answer has not reached the kernel completely.
    fn is_behind(&self) -> bool {
        let state = &self.ring.states[self.fd as usize];
        state.sending || state.is_blocked()
    }
}

impl Transport for RingTransport<'_> {
    fn receive(&mut self) -> io::Result<Option<usize>> {
        self.give_piece_back();
        let state = &mut self.ring.states[self.fd as usize];
        if state.is_blocked() {
            return Ok(None);
        }
        match state.read_ahead(self.scratch) {
            0 => {}
            n => return Ok(Some(n)),
        }
        if let Some(piece) = state.pieces.pop(&mut self.ring.buffers) {
            let n = piece.length();
            self.piece = Some(piece);
            return Ok(Some(n));
        }
        if let Some(end) = state.ended() {
            return end;
        }
        let received = self.direct().receive()?;
        if let Some(n) = received {
            self.ring.states[self.fd as usize].note_size(n < PIECE);
        }
        Ok(received)
    }

    fn receive_now(&mut self) -> io::Result<Option<usize>> {
        // The sockets of an event loop never block.
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
        let carry = self.ring.states[self.fd as usize].carry;
        if let Some(piece) = self.piece.take_if(|_| carry) {
            let n = part.len();
            self.send_later(piece.part(part))?;
            return Ok(Some(n));
        }
        match &self.piece {
            Some(piece) => {
                let socket = self.socket;
                let answer = &self.ring.buffers.whole(piece)[part];
                SocketTransport::new(socket, &mut []).send_kept(answer)
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
        if self.ring.states[self.fd as usize].sending {
            self.ring.enter(Wait::Not)?;
        }
        Ok(!self.is_behind())
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn end(&mut self) -> io::Result<()> {
        self.direct().end()
    }
}

impl Drop for RingTransport<'_> {
    fn drop(&mut self) {
        self.give_piece_back();
        self.ring.report_later(self.fd);
    }
}
