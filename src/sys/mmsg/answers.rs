//! The answers of a batch, and what became of them.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::{
    MOST, Slot, control_length,
    segments::{self, Segments},
};
use crate::sys::{names, path_mtu};

/// What became of the answers of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Bytes of the answers that the kernel took.
    pub bytes: u64,
    /// Answers dropped because the receiver's queue or our send buffer was full (EAGAIN, ENOBUFS).
    pub dropped: u64,
    /// Answers that a rule of the packet filter forbids (EPERM, EACCES).
    pub forbidden: u64,
    /// Answers to where no route leads (EHOSTUNREACH, ENETUNREACH).
    pub unreachable: u64,
    /// Answers that were too long for the way they had to go (EMSGSIZE).
    pub oversize: u64,
    /// Answers that could not be sent for another reason.
    pub failed: u64,
    /// A call failed that may have told of an earlier answer: the error queue of the socket says of which.
    pub told: bool,
}

/// The headers of the answers of a batch. What they point at is the batch's.
pub(super) struct Answers {
    pub(super) headers: Box<[libc::mmsghdr]>,
    pub(super) count: usize,
    /// Bytes of all of them.
    bytes: u64,
    /// Whether those that follow each other may be sent as one.
    pub(super) segments: Option<Segments>,
    /// The first of the requests that the last one is for, and how the address that sent it begins.
    pub(super) first: usize,
    start: u64,
}

impl Answers {
    /// Room for `size` of them.
    pub(super) fn new(size: usize) -> Answers {
        // SAFETY: `mmsghdr` is plain data for which all zeroes (null pointers, no lengths) is a valid value.
        let headers = vec![unsafe { std::mem::zeroed() }; size].into();
        Answers { headers, count: 0, bytes: 0, segments: None, first: 0, start: 0 }
    }

    /// Lets those that follow each other to one peer be sent as one, if the kernel can do that for this socket.
    pub(super) fn join(&mut self, socket: BorrowedFd<'_>) {
        self.segments = Segments::new(socket, self.headers.len());
    }

    /// There is none any more.
    pub(super) fn clear(&mut self) {
        (self.count, self.bytes, self.start) = (0, 0, 0);
    }

    /// Adds the answer to request `i`: the first `length` bytes of its buffer.
    #[inline(always)]
    pub(super) fn add(
        &mut self,
        requests: &[libc::mmsghdr],
        slots: &mut [Slot],
        pieces: &mut [libc::iovec],
        i: usize,
        length: usize,
    ) {
        let (request, slot) = (&requests[i], &mut slots[i]);
        if !request.msg_hdr.msg_control.is_null() {
            names::forget_interface(&mut slot.control.0[..control_length(&request.msg_hdr)]);
        }
        pieces[i].iov_len = length;
        self.bytes += length as u64;
        // Most peers differ in their port already, and no more of them is looked at.
        let start = slot.name.start();
        if start == self.start && self.follow(requests, slots, pieces, i) {
            return;
        }
        // All that the header of a request points at is what its answer takes.
        self.headers[self.count] = *request;
        self.count += 1;
        (self.first, self.start) = (i, start);
    }

    /// Sends them, see [`super::Batch::send`].
    pub(super) fn send(&mut self, fd: BorrowedFd<'_>, feedback: bool) -> Sent {
        let mut sent = Sent::default();
        // ECONNREFUSED tells of an earlier answer only; other errors may be about this one.
        let (mut at, mut refused, mut tried) = (0, if feedback { MOST } else { 0 }, !feedback);
        let mut fragments = false;
        while at < self.count {
            let left = &mut self.headers[at..self.count];
            let (headers, count) = (left.as_mut_ptr(), left.len() as u32);
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            let (call, raw) = (libc::SYS_sendmmsg, fd.as_raw_fd());
            // SAFETY: `count` headers are valid, each points at memory of this batch as large as it says; a
            // sendmmsg(2) only reads what they point at, and writes `msg_len`.
            let n = unsafe { libc::syscall(call, raw, headers, count, flags as u32) };
            if n > 0 {
                let n = n as usize;
                // Mostly all of them at once.
                sent.bytes += match n == self.count {
                    true => self.bytes,
                    false => left[..n].iter().map(|m| u64::from(m.msg_len)).sum(),
                };
                // Where the call ended early, one failed, and the error is gone with the call.
                sent.told |= feedback && n < left.len();
                (at, tried) = (at + n, !feedback);
                continue;
            }
            let error = io::Error::last_os_error().raw_os_error().unwrap_or(0);
            let count = segments::pieces(&left[0].msg_hdr) as u64;
            match error {
                libc::EINTR => continue,
                libc::EAGAIN | libc::ENOBUFS => sent.dropped += count,
                libc::ECONNREFUSED if refused > 0 => {
                    (refused, sent.told) = (refused - 1, true);
                    continue;
                }
                _ if !tried => {
                    (tried, sent.told) = (true, true);
                    continue;
                }
                libc::EPERM | libc::EACCES => sent.forbidden += count,
                libc::EHOSTUNREACH | libc::ENETUNREACH => sent.unreachable += count,
                // The way may be one where they cannot be sent as one: too narrow, or without checksums by the interface.
                _ if count > 1 => {
                    self.count = segments::take_apart(&mut self.headers, at, self.count);
                    if error == libc::EIO {
                        self.segments = None;
                    }
                    continue;
                }
                // Too long for its way, whole; from now on such answers are cut up.
                libc::EMSGSIZE if !fragments => {
                    fragments = true;
                    path_mtu::allow_fragments(&fd);
                    continue;
                }
                libc::EMSGSIZE => sent.oversize += 1,
                _ => sent.failed += 1,
            }
            (at, tried) = (at + 1, !feedback);
        }
        (self.count, self.bytes) = (0, 0);
        sent
    }
}
