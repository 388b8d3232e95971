//! The transport of a connection that a plan hits: what is not due yet looks like a socket that would block.

use std::{
    io,
    ops::Range,
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use rustix::net::{RecvFlags, recv};
use socket2::Socket;

use super::stream::{ConnectionFaults, Stage};
use crate::{
    config::{After, Protocol},
    report::fault_kind::FaultKind,
    sys::{
        send_buffer,
        transport::{SocketTransport, Transport},
    },
};

/// A transport over a non-blocking socket.
pub(super) struct FaultyTransport<'a> {
    socket: &'a Socket,
    scratch: &'a mut [u8],
    faults: &'a mut ConnectionFaults,
    protocol: Protocol,
}

impl<'a> FaultyTransport<'a> {
    pub(super) fn new(
        socket: &'a Socket,
        scratch: &'a mut [u8],
        faults: &'a mut ConnectionFaults,
        protocol: Protocol,
    ) -> Self {
        FaultyTransport { socket, scratch, faults, protocol }
    }

    fn direct(&mut self) -> SocketTransport<'_> {
        SocketTransport::new(self.socket, self.scratch)
    }

    /// Whether bytes may be received and answers made now.
    fn may_move(&mut self, now: Instant) -> io::Result<bool> {
        let may_move = self.faults.may_move(now);
        if matches!(self.faults.stage, Stage::Resetting(_)) {
            // After the end of the connection its peer acknowledges nothing more.
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            // Without this wait, a reset would destroy what the peer's kernel has not acknowledged. A unix socket has handed it
            // over already.
            let is_acknowledged = self.protocol != Protocol::Tcp || send_buffer::used(self.socket)? == 0;
            self.faults.reset_when(is_acknowledged, now);
        }
        Ok(may_move)
    }

    /// Whether this is a unix socket, and the plan resets the connection, or may reset it, after a number of bytes.
    fn is_reset_by_bytes(&self) -> bool {
        let reset_after = self.faults.possible_plan().and_then(|plan| plan.reset_after);
        self.protocol == Protocol::Unix && matches!(reset_after, Some(After::Bytes(_)))
    }

    /// On a unix socket, whether the answer to what is received next may reach the number of bytes after which the connection is
    /// reset. Behind a PROXY header any number may follow.
    fn is_last_read(&self, length: usize) -> bool {
        let reset_after = self.faults.possible_plan().and_then(|plan| plan.reset_after);
        match reset_after {
            Some(After::Bytes(bytes)) => {
                self.faults.is_undecided || self.faults.sent + length as u64 >= bytes
            }
            _ => false,
        }
    }

    /// Takes out what [`FaultyTransport::receive_for_reset`] has left: the connection goes on after all.
    fn take_left(&mut self) -> io::Result<()> {
        match self.faults.left_unread {
            true => take_left(self.socket, self.faults),
            false => Ok(()),
        }
    }

    /// Receives from a unix socket that is to be reset once an answer was sent: closing it is a reset only while it has unread
    /// input (unix(7)). So the last byte is answered, and left in the socket.
    fn receive_for_reset(&mut self) -> io::Result<Option<usize>> {
        let Some(length) = would_block(recv(self.socket, &mut *self.scratch, RecvFlags::PEEK))? else {
            return Ok(None);
        };
        let is_last = length > 0 && self.is_last_read(length);
        let take = length - usize::from(is_last);
        if take > 0 {
            let taken = would_block(recv(self.socket, &mut self.scratch[..take], RecvFlags::empty()))?;
            if taken != Some(take) {
                // Passed descriptors split what is received (unix(7)).
                return Ok(taken);
            }
        }
        self.faults.left_unread = is_last;
        Ok(Some(length))
    }

    /// Sends what the plan allows of an answer of `length` bytes: its `first` byte spoilt, or with `send` as many bytes of it.
    fn send_by_plan(
        &mut self,
        length: usize,
        first: Option<u8>,
        send: impl FnOnce(&mut SocketTransport<'_>, usize) -> io::Result<Option<usize>>,
    ) -> io::Result<Option<usize>> {
        let now = Instant::now();
        if !self.may_move(now)? {
            return Ok(None);
        }
        self.faults.note_answer(now);
        if !self.faults.may_send() {
            return Ok(None);
        }
        let allowed = self.faults.allowance(length, now);
        let sent = match first.filter(|_| self.faults.spoils_next()) {
            Some(byte) => self.direct().send_kept(&[byte ^ 1])?,
            None => send(&mut self.direct(), allowed)?,
        };
        sent.iter().for_each(|n| self.faults.note_sent(*n, length - n, now));
        Ok(sent)
    }
}

impl Transport for FaultyTransport<'_> {
    fn receive(&mut self) -> io::Result<Option<usize>> {
        let now = Instant::now();
        if !self.may_move(now)? || self.faults.ignores_end {
            return Ok(None);
        }
        self.take_left()?;
        let received = match self.is_reset_by_bytes() {
            true => self.receive_for_reset()?,
            false => self.direct().receive()?,
        };
        match received {
            Some(0) if self.faults.plan().is_some_and(|plan| plan.ignore_half_close) => {
                self.faults.ignores_end = true;
                self.faults.inject(FaultKind::IgnoreHalfClose);
                Ok(None)
            }
            Some(n) if n > 0 => {
                self.faults.note_read(now);
                Ok(Some(n))
            }
            received => Ok(received),
        }
    }

    fn receive_now(&mut self) -> io::Result<Option<usize>> {
        if !self.may_move(Instant::now())? {
            return Ok(None);
        }
        self.take_left()?;
        self.direct().receive_now()
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.scratch
    }

    fn send(&mut self, part: Range<usize>) -> io::Result<Option<usize>> {
        let first = self.scratch.get(part.start).copied();
        self.send_by_plan(part.len(), first, |transport, n| transport.send(part.start..part.start + n))
    }

    fn send_kept(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        self.send_by_plan(bytes.len(), bytes.first().copied(), |transport, n| {
            transport.send_kept(&bytes[..n])
        })
    }

    fn end(&mut self) -> io::Result<()> {
        self.direct().end()
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Takes the byte out of the socket that was answered and left there.
pub(super) fn take_left(socket: &Socket, faults: &mut ConnectionFaults) -> io::Result<()> {
    let taken = would_block(recv(socket, &mut [0; 1], RecvFlags::empty()))?;
    faults.left_unread = taken.is_none();
    Ok(())
}

/// `None` if it would block, or was interrupted.
fn would_block(received: rustix::io::Result<(usize, usize)>) -> io::Result<Option<usize>> {
    match received {
        Ok((n, _)) => Ok(Some(n)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
