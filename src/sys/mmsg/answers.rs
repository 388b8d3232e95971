//! Sending the answers of a batch, and counting the outcomes.

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

/// How often room is made for the answers of a batch.
const CROWDED: usize = 4;

/// The outcome of sending the answers of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Bytes that the kernel accepted.
    pub bytes: u64,
    /// Answers dropped because the receiver's queue or the socket's send buffer was full (EAGAIN, ENOBUFS).
    pub dropped: u64,
    /// Answers that the packet filter forbids (EPERM, EACCES).
    pub forbidden: u64,
    /// Answers to an address without a route (EHOSTUNREACH, ENETUNREACH).
    pub unreachable: u64,
    /// Answers longer than the path allows (EMSGSIZE).
    pub oversize: u64,
    /// Answers that failed with another error.
    pub failed: u64,
    /// Answers withheld from peers that do not read, see [`SendRoom`].
    pub withheld: u64,
    /// The errno of the last answer that failed, or 0.
    pub error: i32,
    /// Whether a call failed that may have reported an error of an earlier answer. The socket's error queue has the details.
    pub has_feedback: bool,
}

/// Decides which peers get answers while unread answers fill the send buffer of a unix socket, which all peers share.
pub trait SendRoom {
    /// Notes that an empty answer is sent to the unix socket `name`.
    fn note_empty(&self, name: &[u8]);

    /// Whether each answer needs the consent of [`SendRoom::admits`].
    fn is_scarce(&self, fd: BorrowedFd<'_>) -> bool;

    /// After EAGAIN: makes room if the socket's send buffer is full, rather than the queue of that peer. Returns whether the answer is
    /// to be tried again: room is scarce from then on. `was_scarce` says whether the answer had consent.
    fn makes_room(&self, fd: BorrowedFd<'_>, was_scarce: bool) -> bool;

    /// Whether an answer of `length` bytes may be sent to the unix socket `name`. If room is not scarce any more, it may.
    fn admits(&mut self, fd: BorrowedFd<'_>, name: &[u8], length: usize) -> bool;
}

/// The message headers of the answers. They point at memory of the batch.
pub(super) struct Answers {
    pub(super) headers: Box<[libc::mmsghdr]>,
    pub(super) count: usize,
    /// Bytes of all answers.
    bytes: u64,
    /// Set if consecutive answers may be sent as segments of one message.
    pub(super) segments: Option<Segments>,
    /// The index of the first request that the last message answers, and the start of its source address.
    pub(super) first: usize,
    start: u64,
    /// Whether any answer is empty.
    has_empty: bool,
    /// Whether an answer that is longer than its path may be fragmented after all.
    pub(super) may_fragment: bool,
    /// Whether an answer has the type of service of its request.
    pub(super) reflects_tos: bool,
}

impl Answers {
    /// Room for `size` of them.
    pub(super) fn new(size: usize) -> Answers {
        // SAFETY: `mmsghdr` is plain data for which all zeroes (null pointers, no lengths) is a valid value.
        let headers = vec![unsafe { std::mem::zeroed() }; size].into();
        Answers {
            headers,
            count: 0,
            bytes: 0,
            segments: None,
            first: 0,
            start: 0,
            has_empty: false,
            may_fragment: true,
            reflects_tos: false,
        }
    }

    /// Sends consecutive answers to one peer as segments of one message, if the kernel supports that on this socket.
    pub(super) fn join(&mut self, socket: BorrowedFd<'_>) {
        self.segments = Segments::new(socket, self.headers.len());
    }

    /// Removes all answers.
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
            let control = &mut slot.control.0[..control_length(request)];
            request.msg_controllen = names::turn_around(control, self.reflects_tos) as _;
        }
        pieces[i].iov_len = length;
        self.bytes += length as u64;
        self.has_empty |= length == 0;
        // A cheap test first: two peers mostly differ in their port.
        let start = slot.name.start();
        if start == self.start && self.follow(requests, slots, pieces, i) {
            return;
        }
        // The answer takes all that the header of its request points at.
        self.headers[self.count] = requests[i];
        self.count += 1;
        (self.first, self.start) = (i, start);
    }

    /// Appends the answer to request `i` to the last message, if both go to the same peer.
    #[inline(never)]
    pub(super) fn follow(
        &mut self,
        requests: &[libc::mmsghdr],
        slots: &[Slot],
        answers: &[libc::iovec],
        i: usize,
    ) -> bool {
        let (Some(joined), Some(at)) = (&mut self.segments, self.count.checked_sub(1)) else {
            return false;
        };
        let (first, header) = (self.first, &mut self.headers[at].msg_hdr);
        let count = segments::pieces(header);
        if i != first + count
            || !segments::may_follow(&answers[first..=i])
            || !segments::have_same_path(requests, slots, first, i)
        {
            return false;
        }
        if count == 1 {
            joined.describe(at, answers[first].iov_len, header);
        }
        header.msg_iovlen += 1;
        true
    }

    /// Sends all answers, see [`super::Batch::send`].
    pub(super) fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        feedback: bool,
        mut room: Option<&mut dyn SendRoom>,
    ) -> Sent {
        let mut sent = Sent::default();
        let mut is_scarce = room.as_ref().is_some_and(|room| self.is_room_scarce(fd, &**room));
        // ECONNREFUSED always concerns an earlier answer; any other error may concern this one.
        let (mut at, mut refused, mut tried) = (0, if feedback { MOST } else { 0 }, !feedback);
        let (mut crowded, mut fragments) = (CROWDED, false);
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
            // SAFETY: `count` headers are valid, and each points at memory of this batch that is as large as the header says.
            // sendmmsg(2) only reads that memory, and writes `msg_len`.
            let n = unsafe { libc::syscall(call, raw, headers, count, flags as u32) };
            if n > 0 {
                let n = n as usize;
                // The common case: one call took all of them.
                sent.bytes += match n == self.count {
                    true => self.bytes,
                    false => left[..n].iter().map(|m| u64::from(m.msg_len)).sum(),
                };
                // A call that ends early met an error, and sendmmsg(2) does not return it.
                sent.has_feedback |= feedback && n < left.len();
                (at, tried) = (at + n, !feedback);
                continue;
            }
            let error = io::Error::last_os_error().raw_os_error().unwrap_or(0);
            let count = segments::pieces(&left[0].msg_hdr) as u64;
            match error {
                libc::EINTR => continue,
                // Other processes enlarge and restore the buffer meanwhile, but not each time.
                libc::EAGAIN
                    if crowded > 0 && room.as_ref().is_some_and(|room| room.makes_room(fd, is_scarce)) =>
                {
                    (crowded, is_scarce) = (crowded - 1, true);
                    continue;
                }
                libc::EAGAIN | libc::ENOBUFS => sent.dropped += count,
                libc::ECONNREFUSED if refused > 0 => {
                    (refused, sent.has_feedback) = (refused - 1, true);
                    continue;
                }
                _ if !tried => {
                    (tried, sent.has_feedback) = (true, true);
                    continue;
                }
                libc::EPERM | libc::EACCES => sent.forbidden += count,
                libc::EHOSTUNREACH | libc::ENETUNREACH => sent.unreachable += count,
                // The path may not allow segments: its MTU is too small, or the interface cannot compute checksums.
                _ if count > 1 => {
                    self.count = segments::split(&mut self.headers, at, self.count);
                    if error == libc::EIO {
                        self.segments = None;
                    }
                    continue;
                }
                // Longer than the path MTU even alone. Allow fragments on this socket from now on.
                libc::EMSGSIZE if !fragments && self.may_fragment => {
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

    /// Notes the empty answers, and returns whether room is scarce.
    #[inline(never)]
    fn is_room_scarce(&self, fd: BorrowedFd<'_>, room: &dyn SendRoom) -> bool {
        if self.has_empty {
            let empty = self.headers[..self.count].iter().filter(|header| length(header) == 0);
            empty.for_each(|header| room.note_empty(name(header)));
        }
        room.is_scarce(fd)
    }
}

/// The name of the unix socket that an answer goes to.
fn name(answer: &libc::mmsghdr) -> &[u8] {
    let header = &answer.msg_hdr;
    let length = (header.msg_namelen as usize).min(NAME);
    // SAFETY: `msg_name` points at the address of a request of this batch, which has room for `NAME` bytes.
    let address = unsafe { std::slice::from_raw_parts(header.msg_name.cast::<u8>(), length) };
    address.get(size_of::<libc::sa_family_t>()..).unwrap_or_default()
}

/// The length of an answer with one piece.
fn length(answer: &libc::mmsghdr) -> usize {
    // SAFETY: `msg_iov` points at a piece of this batch.
    unsafe { *answer.msg_hdr.msg_iov }.iov_len
}
