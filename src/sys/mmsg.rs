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
    names::{self, Destination, NAME, RawSockAddr, SourceAddr},
    shared::Mapping,
};
use answers::Answers;
pub use answers::{SendRoom, Sent};

mod answers;
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
    buffers: Mapping,
    slots: Box<[Slot]>,
    /// Where each request lies, and its answer. Answers that follow each other are sent as one, with their pieces.
    pieces: Box<[libc::iovec]>,
    requests: Box<[libc::mmsghdr]>,
    answers: Answers,
    received: usize,
    /// How many of them were to be answered so far.
    considered: usize,
    /// A bit for each request that is not to be answered.
    refused: u64,
}

/// What comes with a request and goes with its answer.
#[derive(Clone, Copy)]
struct Slot {
    name: RawSockAddr,
    control: Control,
}

/// Room for the packet information, and for all else that whoever made the socket may have asked for (time stamps, security contexts,
/// what was dropped): the kernel leaves out what does not fit. Aligned as cmsg(3) wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

const CONTROL: usize = 512;

// SAFETY: the pointers inside the headers lead to the boxes and pages beside them, which move along with the batch.
unsafe impl Send for Batch {}

impl Batch {
    /// A batch of up to `size` datagrams, at most [`MOST`]. `with_control` receives and returns control data.
    pub fn new(size: usize, with_control: bool) -> io::Result<Batch> {
        let size = size.clamp(1, MOST);
        let slot = Slot { name: RawSockAddr([0; NAME]), control: Control([0; CONTROL]) };
        let mut batch = Batch {
            buffers: Mapping::new(size * STRIDE)?,
            slots: vec![slot; size].into(),
            pieces: vec![libc::iovec { iov_base: null_mut(), iov_len: 0 }; size].into(),
            // SAFETY: `mmsghdr` is plain data for which all zeroes (null pointers, no lengths) is a valid value.
            requests: vec![unsafe { std::mem::zeroed() }; size].into(),
            answers: Answers::new(size),
            received: size,
            considered: 0,
            refused: 0,
        };
        batch.point(with_control);
        Ok(batch)
    }

    /// Points every header at its buffer, address and control data. Their lengths are set before each call.
    fn point(&mut self, with_control: bool) {
        let buffers = self.buffers.chunks_exact_mut(STRIDE);
        let pieces = self.pieces.as_mut_ptr();
        for (i, ((slot, request), buffer)) in
            self.slots.iter_mut().zip(&mut self.requests).zip(buffers).enumerate()
        {
            self.pieces[i].iov_base = buffer.as_mut_ptr().cast();
            let header = &mut request.msg_hdr;
            header.msg_name = (&raw mut slot.name).cast();
            header.msg_iov = pieces.wrapping_add(i);
            header.msg_iovlen = 1;
            if with_control {
                header.msg_control = slot.control.0.as_mut_ptr().cast();
            }
        }
    }

    /// Lets answers that follow each other to one peer be sent as one, if the kernel can do that for this socket.
    pub fn join_answers(&mut self, socket: BorrowedFd<'_>) {
        self.answers.join(socket);
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
        (self.received, self.considered, self.refused) = (0, 0, 0);
        self.answers.clear();
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

    /// The requests, in the order they came.
    pub fn requests(&self) -> impl Iterator<Item = Request<'_>> {
        self.requests[..self.received]
            .iter()
            .zip(&self.slots)
            .map(|(message, slot)| Request { message, slot })
    }

    /// Lets the kernel choose the address that an answer leaves from where its request was sent to one that `is_for_many`: nothing
    /// can be sent from there.
    pub fn forget_destinations(&mut self, is_for_many: impl Fn(Option<Destination>) -> bool) {
        for (message, slot) in self.requests[..self.received].iter().zip(&mut self.slots) {
            if is_for_many((Request { message, slot }).destination()) {
                names::forget_destination(&mut slot.control.0[..control_length(&message.msg_hdr)]);
            }
        }
    }

    /// The requests that have a bit in `which`, the first in the lowest one, are not to be answered.
    pub fn refuse(&mut self, which: u64) {
        self.refused |= which;
    }

    /// The requests that are not to be answered, as [`Batch::refuse`] takes them.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether there is nothing to answer.
    pub fn is_all_refused(&self) -> bool {
        self.refused.count_ones() as usize == self.received
    }

    /// The bytes of request `i`.
    pub fn payload(&self, i: usize) -> &[u8] {
        &self.buffers[i * STRIDE..][..length(&self.requests[i])]
    }

    /// Has `make` answer each request that is not refused: it is given the buffer, with the request at its start and room for any
    /// answer, and the request, and returns the length of the answer. To be called again if it panics, for the rest.
    pub fn answer(&mut self, mut make: impl FnMut(&mut [u8], Request<'_>) -> Option<usize>) {
        // As slices of one length, so that a number is checked against it once.
        let all = self.received;
        let (requests, slots) = (&mut self.requests[..all], &mut self.slots[..all]);
        let (pieces, refused) = (&mut self.pieces[..all], self.refused);
        let buffers = self.buffers.chunks_exact_mut(STRIDE).skip(self.considered);
        for (i, buffer) in (self.considered..all).zip(buffers) {
            self.considered = i + 1;
            if refused & (1 << i) != 0 {
                continue;
            }
            if let Some(length) =
                make(&mut buffer[..ROOM], Request { message: &requests[i], slot: &slots[i] })
            {
                self.answers.add(requests, slots, pieces, i, length.min(ROOM));
            }
        }
    }

    /// Sends all answers, never waiting. One that the kernel refuses does not keep back the others.
    ///
    /// With `feedback` (`IP_RECVERR`) a call may also fail because of an answer sent before, to somebody else: then this one is
    /// tried again. `room` is given for unix sockets.
    pub fn send(&mut self, fd: BorrowedFd<'_>, feedback: bool, room: Option<&mut dyn SendRoom>) -> Sent {
        self.answers.send(fd, feedback, room)
    }
}

/// A request, where it was received.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    message: &'a libc::mmsghdr,
    slot: &'a Slot,
}

impl Request<'_> {
    /// Its length.
    pub fn length(self) -> usize {
        length(self.message)
    }

    /// Whether it was longer than its buffer and lost its end.
    pub fn is_truncated(self) -> bool {
        self.message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0
    }

    /// Who sent it.
    pub fn origin(self) -> SourceAddr {
        names::origin(&self.slot.name, self.message.msg_hdr.msg_namelen as usize)
    }

    /// Where it was sent to, if the socket tells.
    pub fn destination(self) -> Option<Destination> {
        let header = &self.message.msg_hdr;
        match header.msg_control.is_null() {
            true => None,
            false => names::destination(&self.slot.control.0[..control_length(header)]),
        }
    }

    /// Who sent it, for people.
    pub fn source(self) -> SockAddr {
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: both have the size of a `sockaddr_storage`, and any bytes make a `RawSockAddr`.
        let view = unsafe { storage.view_as::<RawSockAddr>() };
        *view = self.slot.name;
        // SAFETY: the kernel wrote an address of this length into it.
        unsafe { SockAddr::new(storage, self.message.msg_hdr.msg_namelen) }
    }
}

/// How many bytes were received: no more than there was room for.
fn length(message: &libc::mmsghdr) -> usize {
    message.msg_len as usize
}

/// How much of the control buffer of `header` is in use. C libraries differ in the type.
fn control_length(header: &libc::msghdr) -> usize {
    let length: usize = header.msg_controllen as _;
    length.min(CONTROL)
}
