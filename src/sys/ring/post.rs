//! What the ring knows of one descriptor that it watches.

use std::{io, os::fd::RawFd};

use nix::sys::socket::{MsgFlags, send};

use super::buffers::{Buffers, Pieces};
use crate::sys::poller::Interest;

/// One descriptor.
#[derive(Default)]
pub(super) struct FdState {
    pub(super) key: u64,
    /// How many have had this number: what is about one that has left is told by that.
    pub(super) generation: u32,
    /// In which round a request that names the descriptor was made.
    pub(super) touched: u32,
    pub(super) interest: Interest,
    pub(super) armed: Armed,
    pub(super) taken: bool,
    /// Whether it is a connection whose bytes the ring may carry, and whether it does.
    pub(super) carries: bool,
    pub(super) carry: bool,
    /// Whether it is on the list of those to be armed.
    pub(super) listed: bool,
    /// Whether it is on the list of those to be told of.
    pub(super) told: bool,
    /// Whether an answer is on its way.
    pub(super) sending: bool,
    /// Whether the request under way has left something in the socket that nobody tells of.
    pub(super) left: bool,
    /// Small messages in a row that were received by system calls.
    small: u8,
    /// Why no more comes: 0 for the end of file, or the number of an error.
    pub(super) end: Option<i32>,
    /// What was received and not asked for yet.
    pub(super) pieces: Pieces,
    held: Option<Box<Backpressure>>,
}

/// What is kept for a peer that does not read.
#[derive(Default)]
struct Backpressure {
    /// The rest of an answer, and how much of it was sent.
    unsent: Vec<u8>,
    sent: usize,
    /// What had been received by then, and how much of it was asked for.
    ahead: Vec<u8>,
    read: usize,
}

/// The request that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Armed {
    /// None.
    #[default]
    No,
    /// A multishot receive.
    Receive,
    /// A poll for input.
    PollIn,
    /// A poll for a connection to accept, shared with other rings.
    PollAccept,
    /// A poll for room to send.
    PollOut,
}

/// After so many small messages a connection is carried again.
const SETTLED: u8 = 4;

impl FdState {
    pub(super) fn move_in(&mut self, key: u64, interest: Interest, carries: bool) {
        let (generation, listed, told) = (self.generation, self.listed, self.told);
        *self = FdState {
            key,
            generation,
            listed,
            told,
            interest,
            carries,
            carry: carries,
            taken: true,
            ..FdState::default()
        };
    }

    pub(super) fn move_out(&mut self, buffers: &mut Buffers) {
        while let Some(piece) = self.pieces.pop(buffers) {
            buffers.give_back(piece);
        }
        // The number stays on the lists it is on; whoever is there then is looked at.
        let (listed, told) = (self.listed, self.told);
        // 24 bits of it travel with a request, and none lives through sixteen million successors.
        let generation = self.generation.wrapping_add(1) & 0xff_ffff;
        *self = FdState { generation, listed, told, ..FdState::default() };
    }

    /// The request that tells of what is waited for.
    pub(super) fn wanted(&mut self) -> Armed {
        if !self.taken {
            return Armed::No;
        }
        if self.is_blocked() {
            return Armed::PollOut;
        }
        match self.interest {
            Interest::Write => Armed::PollOut,
            // All is known, and will be told.
            _ if self.end.is_some() => Armed::No,
            Interest::Accept => Armed::PollAccept,
            Interest::Read => {
                if self.left && self.armed == Armed::Receive {
                    (self.left, self.carry, self.small) = (false, false, 0);
                }
                self.carry |= self.carries && self.small >= SETTLED && !self.has_news();
                if self.carry { Armed::Receive } else { Armed::PollIn }
            }
        }
    }

    /// One message that does not fill its buffer, and no end: what the ring is quickest at.
    pub(super) fn is_simple(&self, buffers: &Buffers) -> bool {
        self.end.is_none() && self.held.is_none() && self.pieces.is_one_and_short(buffers)
    }

    /// Whether there is something that its owner waits for and that no request will tell.
    pub(super) fn has_news(&self) -> bool {
        let ahead = self.held.as_ref().is_some_and(|held| held.read < held.ahead.len());
        let some = !self.pieces.is_empty() || self.end.is_some() || ahead;
        self.taken && some && self.interest == Interest::Read
    }

    /// Whether the rest of an answer waits for room.
    pub(super) fn is_blocked(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.sent < held.unsent.len())
    }

    /// Keeps the rest of an answer.
    pub(super) fn hold(&mut self, rest: &[u8]) {
        let held = self.held.get_or_insert_default();
        (held.unsent, held.sent) = (rest.to_vec(), 0);
        self.carry = false;
    }

    /// Sends the rest of an answer, as far as there is room.
    pub(super) fn send_held(&mut self, fd: RawFd) {
        let Some(held) = &mut self.held else { return };
        while held.sent < held.unsent.len() {
            match send(fd, &held.unsent[held.sent..], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(n) => held.sent += n,
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return,
                Err(error) => {
                    self.end = Some(error as i32);
                    held.sent = held.unsent.len();
                }
            }
        }
        held.unsent = Vec::new();
        held.sent = 0;
        if held.ahead.is_empty() {
            self.held = None;
        }
    }

    /// Copies what was received out of the ring's buffers if nobody will ask for it soon: they are few.
    pub(super) fn set_aside_if_waiting(&mut self, buffers: &mut Buffers) {
        if self.interest != Interest::Write && !self.is_blocked() {
            return;
        }
        while let Some(piece) = self.pieces.pop(buffers) {
            self.held.get_or_insert_default().ahead.extend_from_slice(buffers.bytes(&piece));
            buffers.give_back(piece);
        }
    }

    /// Takes from what was set aside.
    pub(super) fn take_ahead(&mut self, to: &mut [u8]) -> usize {
        let Some(held) = &mut self.held else { return 0 };
        let n = to.len().min(held.ahead.len() - held.read);
        to[..n].copy_from_slice(&held.ahead[held.read..][..n]);
        held.read += n;
        if held.read == held.ahead.len() {
            (held.ahead, held.read) = (Vec::new(), 0);
            if held.unsent.is_empty() {
                self.held = None;
            }
        }
        n
    }

    /// What the end of input is for whoever receives.
    pub(super) fn ended(&self) -> Option<io::Result<Option<usize>>> {
        self.end.map(|end| match end {
            0 => Ok(Some(0)),
            error => Err(io::Error::from_raw_os_error(error)),
        })
    }

    /// Notes the length of a message that was received by a system call.
    pub(super) fn note(&mut self, short: bool) {
        self.small = if short { self.small.saturating_add(1) } else { 0 };
    }
}
