//! Datagrams in batches: recvmmsg(2) and sendmmsg(2).
//!
//! All headers, addresses and buffers are allocated once. An answer is made in the buffer of its request, and sent with
//! the address and the control data (`IP_PKTINFO`, `IPV6_PKTINFO`) that the request came with, so that it leaves from
//! the address that was asked.
//!
//! The calls are made without what the C library adds: glibc makes them points of cancellation (as told in `line.rs`), and musl
//! sends one by one, to fill in padding, which is zero here.

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::null_mut,
};

use socket2::{SockAddr, SockAddrStorage};

use super::{
    names::{self, Destination, NAME, Name, Origin},
    path_mtu,
    shared::Pages,
};
use segments::Segments;

mod segments;

/// Room for any UDP datagram, and one byte more to notice a longer one (unix datagrams may be).
pub const LARGEST_DATAGRAM: usize = 65_536;

/// Datagrams a system call moves at most: a bit for each fits a word.
pub const MOST: usize = 64;

/// The distance of two buffers. Not a power of two: the first bytes of all buffers, which small datagrams use, would
/// compete for the same few places in the processor's caches.
const STRIDE: usize = ROOM + 4096 + 192;

/// Bytes of a datagram that are received.
const ROOM: usize = LARGEST_DATAGRAM;

/// Requests received together, and the answers to them.
pub struct Batch {
    buffers: Pages,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    pieces: Box<[libc::iovec]>,
    requests: Box<[libc::mmsghdr]>,
    answers: Box<[libc::mmsghdr]>,
    received: usize,
    answered: usize,
    /// Bytes of the answers.
    bytes: u64,
    /// Whether answers that follow each other may be sent as one.
    segments: Option<Segments>,
    /// A bit for each request that is not to be answered.
    refused: u64,
}

/// Room for one `IPV6_PKTINFO` (32 bytes with its header), aligned as cmsg(3) wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

const CONTROL: usize = 64;

// SAFETY: the pointers inside the headers lead to the boxes and pages beside them, which move along with the batch.
unsafe impl Send for Batch {}

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

impl Batch {
    /// A batch of up to `size` datagrams, at most [`MOST`]. `with_control` receives and returns control data.
    pub fn new(size: usize, with_control: bool) -> io::Result<Batch> {
        let size = size.clamp(1, MOST);
        let mut batch = Batch {
            buffers: Pages::new(size * STRIDE)?,
            names: vec![Name([0; NAME]); size].into(),
            controls: vec![Control([0; CONTROL]); size].into(),
            pieces: vec![libc::iovec { iov_base: null_mut(), iov_len: 0 }; size].into(),
            // SAFETY: `mmsghdr` is plain data for which all zeroes (null pointers, no lengths) is a valid value.
            requests: vec![unsafe { std::mem::zeroed() }; size].into(),
            // SAFETY: as above.
            answers: vec![unsafe { std::mem::zeroed() }; size].into(),
            received: size,
            answered: 0,
            bytes: 0,
            segments: None,
            refused: 0,
        };
        batch.point(with_control);
        Ok(batch)
    }

    /// Points every header at its buffer, address and control data. Their lengths are set before each call.
    fn point(&mut self, with_control: bool) {
        let size = self.names.len();
        let pieces = self.pieces.as_mut_ptr();
        for i in 0..size {
            self.pieces[i] =
                libc::iovec { iov_base: self.buffers[i * STRIDE..].as_mut_ptr().cast(), iov_len: ROOM };
            let header = &mut self.requests[i].msg_hdr;
            header.msg_name = (&raw mut self.names[i]).cast();
            header.msg_iov = pieces.wrapping_add(i);
            header.msg_iovlen = 1;
            if with_control {
                header.msg_control = self.controls[i].0.as_mut_ptr().cast();
            }
        }
    }

    /// Lets answers that follow each other to one peer be sent as one, if the kernel can do that for this socket.
    pub fn join_answers(&mut self, socket: BorrowedFd<'_>) {
        self.segments = Segments::new(socket, self.size());
    }

    /// How many datagrams this batch can hold.
    pub fn size(&self) -> usize {
        self.requests.len()
    }

    /// Receives up to `most` datagrams: waits for the first one unless the socket is non-blocking or `wait` is false,
    /// takes what else is there, and returns their number.
    ///
    /// # Errors
    /// As recvmmsg(2) says; EINTR and EAGAIN among them.
    pub fn receive(&mut self, fd: BorrowedFd<'_>, most: usize, wait: bool) -> io::Result<usize> {
        let most = most.clamp(1, self.size());
        // The kernel overwrote the lengths of those it filled the last time, and their answers those of the pieces.
        for (message, piece) in self.requests[..self.received].iter_mut().zip(&mut self.pieces) {
            piece.iov_len = ROOM;
            message.msg_hdr.msg_namelen = NAME as u32;
            if !message.msg_hdr.msg_control.is_null() {
                message.msg_hdr.msg_controllen = CONTROL as _;
            }
        }
        self.received = 0;
        (self.answered, self.bytes, self.refused) = (0, 0, 0);
        let flags = libc::MSG_WAITFORONE | if wait { 0 } else { libc::MSG_DONTWAIT };
        let headers = self.requests.as_mut_ptr();
        let forever = null_mut::<libc::timespec>();
        // SAFETY: `most` headers are valid, and each points at memory of this batch that is as large as it says.
        let n = unsafe {
            libc::syscall(libc::SYS_recvmmsg, fd.as_raw_fd(), headers, most as u32, flags as u32, forever)
        };
        self.received = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        Ok(self.received)
    }

    /// How many requests the batch holds.
    pub fn received(&self) -> usize {
        self.received
    }

    /// The length of request `i`.
    pub fn length(&self, i: usize) -> usize {
        (self.requests[i].msg_len as usize).min(ROOM)
    }

    /// Whether request `i` was longer than its buffer and lost its end.
    pub fn truncated(&self, i: usize) -> bool {
        self.requests[i].msg_hdr.msg_flags & libc::MSG_TRUNC != 0
    }

    /// Who sent request `i`.
    pub fn origin(&self, i: usize) -> Origin {
        names::origin(&self.names[i], self.requests[i].msg_hdr.msg_namelen as usize)
    }

    /// Where request `i` was sent to, if the socket tells.
    pub fn destination(&self, i: usize) -> Option<Destination> {
        let header = &self.requests[i].msg_hdr;
        match header.msg_control.is_null() {
            true => None,
            false => names::destination(&self.controls[i].0[..control_length(header)]),
        }
    }

    /// Lets the kernel choose the address that the answer to request `i` leaves from: nothing can be sent from one that stands
    /// for many.
    pub fn forget_destination(&mut self, i: usize) {
        let length = control_length(&self.requests[i].msg_hdr);
        names::forget_destination(&mut self.controls[i].0[..length]);
    }

    /// Request `i` is not to be answered.
    pub fn refuse(&mut self, i: usize) {
        self.refused |= 1 << i;
    }

    /// Whether request `i` is not to be answered.
    pub fn is_refused(&self, i: usize) -> bool {
        self.refused & (1 << i) != 0
    }

    /// Whether there is nothing to answer.
    pub fn is_all_refused(&self) -> bool {
        self.refused.count_ones() as usize == self.received
    }

    /// Who sent request `i`, for people.
    pub fn source(&self, i: usize) -> SockAddr {
        let length = self.requests[i].msg_hdr.msg_namelen;
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: both have the size of a `sockaddr_storage`, and any bytes make a `Name`.
        let view = unsafe { storage.view_as::<Name>() };
        *view = self.names[i];
        // SAFETY: the kernel wrote an address of this length into it.
        unsafe { SockAddr::new(storage, length) }
    }

    /// The buffer of request `i`, whole: the request at its start, and room for the answer.
    pub fn buffer(&mut self, i: usize) -> &mut [u8] {
        &mut self.buffers[i * STRIDE..][..ROOM]
    }

    /// Answers request `i` with the first `length` bytes of its buffer, when [`Batch::send`] is called.
    pub fn answer(&mut self, i: usize, length: usize) {
        let request = &self.requests[i];
        if !request.msg_hdr.msg_control.is_null() {
            names::forget_interface(&mut self.controls[i].0[..control_length(&request.msg_hdr)]);
        }
        let length = length.min(ROOM);
        self.pieces[i].iov_len = length;
        self.bytes += length as u64;
        if self.join(i, length) {
            return;
        }
        // All that the header of a request points at is what its answer takes.
        self.answers[self.answered] = self.requests[i];
        self.answered += 1;
        if let Some(segments) = &mut self.segments {
            segments.begin(i);
        }
    }

    /// Sends all answers, never waiting. One that the kernel refuses does not keep back the others.
    ///
    /// With `feedback` (`IP_RECVERR`) a call may also fail because of an answer sent before, to somebody else: then this one is
    /// tried again.
    pub fn send(&mut self, fd: BorrowedFd<'_>, feedback: bool) -> Sent {
        let mut sent = Sent::default();
        // ECONNREFUSED tells of an earlier answer only; other errors may be about this one.
        let (mut at, mut refused, mut tried) = (0, if feedback { MOST } else { 0 }, !feedback);
        let mut fragments = false;
        while at < self.answered {
            let left = &mut self.answers[at..self.answered];
            let (headers, count) = (left.as_mut_ptr(), left.len() as u32);
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            let (call, raw) = (libc::SYS_sendmmsg, fd.as_raw_fd());
            // SAFETY: `count` headers are valid, each points at memory of this batch as large as it says; a
            // sendmmsg(2) only reads what they point at, and writes `msg_len`.
            let n = unsafe { libc::syscall(call, raw, headers, count, flags as u32) };
            if n > 0 {
                let n = n as usize;
                // Mostly all of them at once.
                sent.bytes += match n == self.answered {
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
                    self.answered = segments::take_apart(&mut self.answers, at, self.answered);
                    if error == libc::EIO {
                        self.segments = None;
                    }
                    continue;
                }
                // Too long for its way, whole; from now on such answers are cut up.
                libc::EMSGSIZE if !fragments => {
                    fragments = true;
                    // Where it fails it is not about that, see below.
                    let _ = path_mtu::allow_fragments(&fd);
                    continue;
                }
                libc::EMSGSIZE => sent.oversize += 1,
                _ => sent.failed += 1,
            }
            (at, tried) = (at + 1, !feedback);
        }
        (self.answered, self.bytes) = (0, 0);
        sent
    }
}

/// How much of the control buffer of `header` is in use. C libraries differ in the type.
fn control_length(header: &libc::msghdr) -> usize {
    let length: usize = header.msg_controllen as _;
    length.min(CONTROL)
}
