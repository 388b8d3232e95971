//! The answers of a batch, and what became of them.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::{
    MOST, Slot, control_length,
    segments::{self, Segments},
};
use crate::sys::{
    names::{self, NAME},
    path_mtu,
};

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
    /// Answers withheld from peers that do not read, see [`SendRoom`].
    pub withheld: u64,
    /// The error of the last answer that could not be sent, or 0.
    pub error: i32,
    /// A call failed that may have told of an earlier answer: the error queue of the socket says of which.
    pub told: bool,
}

/// Decides to whom answers are sent where unread ones fill the send buffer of the socket: it belongs to all peers.
pub trait SendRoom {
    /// Notes that an empty answer is sent to the unix socket with that name.
    fn note_empty(&self, name: &[u8]);

    /// Whether each answer is to be asked for.
    fn is_scarce(&self, fd: BorrowedFd<'_>) -> bool;

    /// After EAGAIN: whether the send buffer is full, and not the queue of that peer. From then on room is scarce.
    fn is_full(&self, fd: BorrowedFd<'_>) -> bool;

    /// Whether an answer of `length` bytes may be sent to the unix socket with that name.
    fn admits(&mut self, fd: BorrowedFd<'_>, name: &[u8], length: usize) -> bool;
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
    /// Whether one of them is empty.
    has_empty: bool,
}

impl Answers {
    /// Room for `size` of them.
    pub(super) fn new(size: usize) -> Answers {
        // SAFETY: `mmsghdr` is plain data for which all zeroes (null pointers, no lengths) is a valid value.
        let headers = vec![unsafe { std::mem::zeroed() }; size].into();
        Answers { headers, count: 0, bytes: 0, segments: None, first: 0, start: 0, has_empty: false }
    }

    /// Lets those that follow each other to one peer be sent as one, if the kernel can do that for this socket.
    pub(super) fn join(&mut self, socket: BorrowedFd<'_>) {
        self.segments = Segments::new(socket, self.headers.len());
    }

    /// There is none any more.
    pub(super) fn clear(&mut self) {
        (self.count, self.bytes, self.start, self.has_empty) = (0, 0, 0, false);
    }

    /// Adds the answer to request `i`: the first `length` bytes of its buffer.
    #[inline(always)]
    pub(super) fn add(
        &mut self,
        requests: &mut [libc::mmsghdr],
        slots: &mut [Slot],
        pieces: &mut [libc::iovec],
        i: usize,
        length: usize,
    ) {
        let (request, slot) = (&mut requests[i].msg_hdr, &mut slots[i]);
        if !request.msg_control.is_null() {
            let kept = names::keep_packet_info(&mut slot.control.0[..control_length(request)]);
            names::forget_interface(&mut slot.control.0[..kept]);
            request.msg_controllen = kept as _;
        }
        pieces[i].iov_len = length;
        self.bytes += length as u64;
        self.has_empty |= length == 0;
        // Most peers differ in their port already, and no more of them is looked at.
        let start = slot.name.start();
        if start == self.start && self.follow(requests, slots, pieces, i) {
            return;
        }
        // All that the header of a request points at is what its answer takes.
        self.headers[self.count] = requests[i];
        self.count += 1;
        (self.first, self.start) = (i, start);
    }

    /// Sends them, see [`super::Batch::send`].
    pub(super) fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        feedback: bool,
        mut room: Option<&mut dyn SendRoom>,
    ) -> Sent {
        let mut sent = Sent::default();
        let mut is_scarce = room.as_ref().is_some_and(|room| self.look_for_room(fd, &**room));
        // ECONNREFUSED tells of an earlier answer only; other errors may be about this one.
        let (mut at, mut refused, mut tried) = (0, if feedback { MOST } else { 0 }, !feedback);
        let mut fragments = false;
        while at < self.count {
            let left = &mut self.headers[at..self.count];
            if let Some(room) = room.as_mut().filter(|_| is_scarce)
                && !room.admits(fd, name(&left[0]), length(&left[0]))
            {
                (at, sent.withheld) = (at + 1, sent.withheld + 1);
                continue;
            }
            let left = if is_scarce { &mut left[..1] } else { left };
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
                libc::EAGAIN if !is_scarce && room.as_ref().is_some_and(|room| room.is_full(fd)) => {
                    is_scarce = true;
                    continue;
                }
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
            sent.error = error;
            (at, tried) = (at + 1, !feedback);
        }
        (self.count, self.bytes) = (0, 0);
        sent
    }

    /// Tells of empty answers, and asks whether room is scarce.
    #[inline(never)]
    fn look_for_room(&self, fd: BorrowedFd<'_>, room: &dyn SendRoom) -> bool {
        if self.has_empty {
            let empty = self.headers[..self.count].iter().filter(|header| length(header) == 0);
            empty.for_each(|header| room.note_empty(name(header)));
        }
        room.is_scarce(fd)
    }
}

/// The name of the unix socket that an answer is for.
fn name(answer: &libc::mmsghdr) -> &[u8] {
    let header = &answer.msg_hdr;
    let length = (header.msg_namelen as usize).min(NAME);
    // SAFETY: it points at the address of a request of this batch, which has room for so many bytes.
    let address = unsafe { std::slice::from_raw_parts(header.msg_name.cast::<u8>(), length) };
    address.get(size_of::<libc::sa_family_t>()..).unwrap_or_default()
}

/// The length of an answer that consists of one piece.
fn length(answer: &libc::mmsghdr) -> usize {
    // SAFETY: it points at a piece of this batch.
    unsafe { *answer.msg_hdr.msg_iov }.iov_len
}
