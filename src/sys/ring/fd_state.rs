//! The state of one descriptor that the ring watches.

use std::{io, os::fd::RawFd};

use nix::sys::socket::{MsgFlags, send};

use super::{
    buffers::{Buffers, Pieces},
    queue::Armed,
};
use crate::sys::poller::Interest;

/// A descriptor.
#[derive(Default)]
pub(super) struct FdState {
    pub(super) key: u64,
    /// The generation of the descriptor's number. A completion of an earlier generation is stale.
    pub(super) generation: u32,
    /// The latest submission round with a request that names the descriptor.
    pub(super) submitted_in: u32,
    pub(super) interest: Interest,
    pub(super) armed: Armed,
    pub(super) is_watched: bool,
    /// Whether the ring may carry the bytes of this connection, and whether it does at present.
    pub(super) carries: bool,
    pub(super) carry: bool,
    /// Whether it is in the list `unarmed`.
    pub(super) in_unarmed: bool,
    /// Whether it is in the list `ready`.
    pub(super) in_ready: bool,
    /// Whether an answer has been pushed and its result is not known yet.
    pub(super) sending: bool,
    /// Whether the current request has left data in the socket that no completion reports.
    pub(super) left: bool,
    /// The number of small messages in a row received by system calls.
    small: u8,
    /// The end of input: 0 for end of file, otherwise an errno.
    pub(super) end: Option<i32>,
    /// Received and not read by the owner yet.
    pub(super) pieces: Pieces,
    backpressure: Option<Box<Backpressure>>,
}

/// What is stored for a peer that does not read.
#[derive(Default)]
struct Backpressure {
    /// The rest of an answer, and how much of it was sent.
    unsent: Vec<u8>,
    sent: usize,
    /// Input that was received behind that answer, and how much of it the owner has read.
    ahead: Vec<u8>,
    read: usize,
}

/// After this many small messages in a row the ring carries the connection again.
const SETTLED: u8 = 4;

impl FdState {
    pub(super) fn start(&mut self, key: u64, interest: Interest, carries: bool) {
        let (generation, in_unarmed, in_ready) = (self.generation, self.in_unarmed, self.in_ready);
        *self = FdState {
            key,
            generation,
            in_unarmed,
            in_ready,
            interest,
            carries,
            carry: carries,
            is_watched: true,
            ..FdState::default()
        };
    }

    pub(super) fn reset(&mut self, buffers: &mut Buffers) {
        while let Some(piece) = self.pieces.pop(buffers) {
            buffers.give_back(piece);
        }
        // The number stays in the lists it is in; its state is checked when they are processed.
        let (in_unarmed, in_ready) = (self.in_unarmed, self.in_ready);
        // A request carries 24 bits of the generation. No request stays in flight for sixteen million generations.
        let generation = self.generation.wrapping_add(1) & 0xff_ffff;
        *self = FdState { generation, in_unarmed, in_ready, ..FdState::default() };
    }

    /// The request that reports what the owner waits for.
    pub(super) fn wanted(&mut self) -> Armed {
        if !self.is_watched {
            return Armed::No;
        }
        if self.is_blocked() {
            return Armed::PollOut;
        }
        match self.interest {
            Interest::Write => Armed::PollOut,
            // The end is known, and no request will report it again.
            _ if self.end.is_some() => Armed::No,
            Interest::Accept => Armed::PollAccept,
            Interest::Read => {
                if self.left && self.armed == Armed::Receive {
                    (self.left, self.carry, self.small) = (false, false, 0);
                }
                self.carry |= self.carries && self.small >= SETTLED && !self.has_input();
                if self.carry { Armed::Receive } else { Armed::PollIn }
            }
        }
    }

    /// One message that does not fill its buffer, and no end: the ring's fast path.
    pub(super) fn is_simple(&self, buffers: &Buffers) -> bool {
        self.end.is_none() && self.backpressure.is_none() && self.pieces.is_one_and_short(buffers)
    }

    /// Whether the owner waits for input that is here already and that no request will report.
    pub(super) fn has_input(&self) -> bool {
        let ahead = self.backpressure.as_ref().is_some_and(|pressure| pressure.read < pressure.ahead.len());
        let some = !self.pieces.is_empty() || self.end.is_some() || ahead;
        self.is_watched && some && self.interest == Interest::Read
    }

    /// Whether the rest of an answer waits for room in the send buffer.
    pub(super) fn is_blocked(&self) -> bool {
        self.backpressure.as_ref().is_some_and(|pressure| pressure.sent < pressure.unsent.len())
    }

    /// Stores the rest of an answer.
    pub(super) fn keep_unsent(&mut self, rest: &[u8]) {
        let pressure = self.backpressure.get_or_insert_default();
        (pressure.unsent, pressure.sent) = (rest.to_vec(), 0);
        self.carry = false;
    }

    /// Sends the rest of an answer until the socket would block.
    pub(super) fn send_unsent(&mut self, fd: RawFd) {
        let Some(pressure) = &mut self.backpressure else { return };
        while pressure.sent < pressure.unsent.len() {
            match send(fd, &pressure.unsent[pressure.sent..], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
            {
                Ok(n) => pressure.sent += n,
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return,
                Err(error) => {
                    self.end = Some(error as i32);
                    pressure.sent = pressure.unsent.len();
                }
            }
        }
        pressure.unsent = Vec::new();
        pressure.sent = 0;
        if pressure.ahead.is_empty() {
            self.backpressure = None;
        }
    }

    /// Copies received input out of the ring's buffers if the owner will not read it soon: the buffers are few.
    pub(super) fn copy_out_if_waiting(&mut self, buffers: &mut Buffers) {
        if self.interest != Interest::Write && !self.is_blocked() {
            return;
        }
        while let Some(piece) = self.pieces.pop(buffers) {
            self.backpressure.get_or_insert_default().ahead.extend_from_slice(buffers.bytes(&piece));
            buffers.give_back(piece);
        }
    }

    /// Reads from the input that was copied out.
    pub(super) fn read_ahead(&mut self, to: &mut [u8]) -> usize {
        let Some(pressure) = &mut self.backpressure else { return 0 };
        let n = to.len().min(pressure.ahead.len() - pressure.read);
        to[..n].copy_from_slice(&pressure.ahead[pressure.read..][..n]);
        pressure.read += n;
        if pressure.read == pressure.ahead.len() {
            (pressure.ahead, pressure.read) = (Vec::new(), 0);
            if pressure.unsent.is_empty() {
                self.backpressure = None;
            }
        }
        n
    }

    /// The end of input, as a receive returns it.
    pub(super) fn ended(&self) -> Option<io::Result<Option<usize>>> {
        self.end.map(|end| match end {
            0 => Ok(Some(0)),
            error => Err(io::Error::from_raw_os_error(error)),
        })
    }

    /// Counts messages that were received by system calls.
    pub(super) fn note_size(&mut self, short: bool) {
        self.small = if short { self.small.saturating_add(1) } else { 0 };
    }
}
