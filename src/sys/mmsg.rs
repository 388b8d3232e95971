//! Datagrams in batches: recvmmsg(2) and sendmmsg(2).
//!
//! Headers, addresses and buffers are allocated once. An answer is made in the buffer of its request. It is sent with the address
//! and the control data (`IP_PKTINFO`, `IPV6_PKTINFO`) of the request, so that it leaves from the address that the client sent
//! to.
//!
//! The calls bypass the C library: glibc makes them cancellation points (see `transport.rs`), and musl sends one message at a
//! time in order to clear padding, which is zero here already.

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::null_mut,
};

use socket2::{SockAddr, SockAddrStorage};

use super::{
    names::{self, Destination, NAME, RawSockAddr, SourceAddr},
    request_notes::{self, RequestNotes},
    shared::Mapping,
};
use answers::Answers;
pub use answers::{SendRoom, Sent};
pub use held::HeldAnswer;

mod answers;
mod held;
mod segments;

/// Room for any UDP datagram. One byte more than the longest, so that a longer unix datagram is recognised.
pub const LARGEST_DATAGRAM: usize = 65_536;

/// Datagrams per system call, at most: one bit each in a `u64`.
pub const MOST: usize = 64;

/// The distance between two buffers. Not a power of two: the first bytes of all buffers, which small datagrams use, would map to
/// the same cache sets.
const STRIDE: usize = ROOM + 4096 + 192;

/// Bytes received of each datagram.
const ROOM: usize = LARGEST_DATAGRAM;

/// Requests received by one call, and the answers to them.
pub struct Batch {
    buffers: Mapping,
    slots: Box<[Slot]>,
    /// The bytes of each request, then of its answer. A segmented answer takes the pieces of several consecutive requests.
    pieces: Box<[libc::iovec]>,
    requests: Box<[libc::mmsghdr]>,
    answers: Answers,
    received: usize,
    /// How many requests `answer` has processed.
    considered: usize,
    /// One bit for each request that gets no answer.
    refused: u64,
    /// What the caller has tagged each request with; empty unless it does.
    tags: Vec<Tag>,
}

/// What the caller of [`Batch::tag`] tags a request with.
pub type Tag = [u64; 2];

/// What is received with a request and sent with its answer.
#[derive(Clone, Copy)]
struct Slot {
    name: RawSockAddr,
    control: Control,
}

/// Room for the packet information, and for whatever else the creator of an inherited socket enabled (time stamps, security
/// contexts, drop counts). The kernel truncates what does not fit. Aligned as cmsg(3) requires.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

const CONTROL: usize = 512;

// SAFETY: the pointers in the headers lead to heap memory and mappings that the batch owns. Moving the batch does not move them.
unsafe impl Send for Batch {}

impl Batch {
    /// A batch of up to `size` datagrams, at most [`MOST`]. With `with_control`, control data is received with requests and sent
    /// with answers.
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
            tags: Vec::new(),
        };
        batch.point(with_control);
        Ok(batch)
    }

    /// Points every header at its buffer, address and control data. The lengths are set before each call.
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

    /// Sends consecutive answers to one peer as segments of one message, if the kernel supports that on this socket.
    pub fn join_answers(&mut self, socket: BorrowedFd<'_>) {
        self.answers.join(socket);
    }

    /// Sends each answer with the type of service (or traffic class) of its request, if the kernel tells that of this socket's requests.
    pub fn reflect_tos(&mut self) {
        self.answers.reflects_tos = true;
    }

    /// Gives up answers that are longer than their path, instead of having them fragmented.
    pub fn never_fragment(&mut self) {
        self.answers.may_fragment = false;
    }

    /// The number of datagrams that this batch can hold.
    pub fn size(&self) -> usize {
        self.requests.len()
    }

    /// Receives up to `most` datagrams and returns their number. Waits for the first one, unless the socket is non-blocking or
    /// `wait` is false; takes as many more as have arrived.
    ///
    /// # Errors
    /// As recvmmsg(2); among them EINTR and EAGAIN.
    pub fn receive(&mut self, fd: BorrowedFd<'_>, most: usize, wait: bool) -> io::Result<usize> {
        let most = most.clamp(1, self.size());
        // The last call overwrote the lengths in the headers it filled, and the answers those of the pieces.
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
        // SAFETY: `most` headers are valid, and each points at memory of this batch that is as large as the header says.
        let n = unsafe {
            libc::syscall(libc::SYS_recvmmsg, fd.as_raw_fd(), headers, most as u32, flags as u32, forever)
        };
        self.received = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        Ok(self.received)
    }

    /// The number of requests received.
    pub fn received(&self) -> usize {
        self.received
    }

    /// The requests, in order of arrival.
    pub fn requests(&self) -> impl Iterator<Item = Request<'_>> {
        self.requests[..self.received]
            .iter()
            .zip(&self.slots)
            .map(|(message, slot)| Request { message, slot })
    }

    /// Lets the kernel choose the source address of each answer whose request was sent to an address that `is_for_many` matches:
    /// a broadcast or multicast address cannot be a source.
    pub fn forget_destinations(&mut self, is_for_many: impl Fn(Option<Destination>) -> bool) {
        for (message, slot) in self.requests[..self.received].iter().zip(&mut self.slots) {
            if is_for_many((Request { message, slot }).destination()) {
                names::forget_destination(&mut slot.control.0[..control_length(&message.msg_hdr)]);
            }
        }
    }

    /// Marks requests that get no answer: bit 0 of `which` is the first request.
    pub fn refuse(&mut self, which: u64) {
        self.refused |= which;
    }

    /// The requests that get no answer, as in [`Batch::refuse`].
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether no request gets an answer.
    pub fn is_all_refused(&self) -> bool {
        self.refused.count_ones() as usize == self.received
    }

    /// The bytes of request `i`.
    pub fn payload(&self, i: usize) -> &[u8] {
        &self.buffers[i * STRIDE..][..length(&self.requests[i])]
    }

    /// Tags each request that is not refused, for [`Batch::answer_tagged`].
    pub fn tag(&mut self, mut tag: impl FnMut(Request<'_>) -> Tag) {
        let mut tags = std::mem::take(&mut self.tags);
        tags.clear();
        let is_refused = |i: usize| self.refused & (1 << i) != 0;
        let tag = |(i, request)| if is_refused(i) { Tag::default() } else { tag(request) };
        tags.extend(self.requests().enumerate().map(tag));
        self.tags = tags;
    }

    /// The tags of the requests; after [`Batch::answer_tagged`] of those that got an answer, and the default for the others.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// As [`Batch::answer`], with the tag of each request.
    pub fn answer_tagged(&mut self, mut make: impl FnMut(&mut [u8], Request<'_>, Tag) -> Option<usize>) {
        self.answer_each(|tags, i, buffer, request| {
            let tag = tags.get_mut(i).map(std::mem::take).unwrap_or_default();
            let answer = make(buffer, request, tag)?;
            tags.get_mut(i).into_iter().for_each(|of_request| *of_request = tag);
            Some(answer)
        });
    }

    /// Calls `make` for each request that is not refused, with a buffer that starts with the request and has room for any answer.
    /// `make` returns the length of the answer, or `None` for no answer. If `make` panics, a further call goes on with the next
    /// request.
    #[inline(always)]
    pub fn answer(&mut self, mut make: impl FnMut(&mut [u8], Request<'_>) -> Option<usize>) {
        self.answer_each(|_, _, buffer, request| make(buffer, request));
    }

    #[inline(always)]
    fn answer_each(
        &mut self,
        mut make: impl FnMut(&mut [Tag], usize, &mut [u8], Request<'_>) -> Option<usize>,
    ) {
        // Slices of one length: the compiler then checks each index once.
        let all = self.received;
        let (requests, slots) = (&mut self.requests[..all], &mut self.slots[..all]);
        let (pieces, refused) = (&mut self.pieces[..all], self.refused);
        let buffers = self.buffers.chunks_exact_mut(STRIDE).skip(self.considered);
        for (i, buffer) in (self.considered..all).zip(buffers) {
            self.considered = i + 1;
            if refused & (1 << i) != 0 {
                continue;
            }
            if let Some(length) = make(
                &mut self.tags,
                i,
                &mut buffer[..ROOM],
                Request { message: &requests[i], slot: &slots[i] },
            ) {
                self.answers.add(requests, slots, pieces, i, length.min(ROOM));
            }
        }
    }

    /// Sends all answers without waiting. An answer that the kernel refuses does not hold up the others.
    ///
    /// With `feedback` (`IP_RECVERR`), a call may also fail because of an earlier answer to another peer; the answer is then sent
    /// again. `room` is given for unix sockets.
    pub fn send(&mut self, fd: BorrowedFd<'_>, feedback: bool, room: Option<&mut dyn SendRoom>) -> Sent {
        self.answers.send(fd, feedback, room)
    }
}

/// A received request.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    message: &'a libc::mmsghdr,
    slot: &'a Slot,
}

impl<'a> Request<'a> {
    /// Its length.
    pub fn length(self) -> usize {
        length(self.message)
    }

    /// Whether the datagram was longer than its buffer, so that its end is lost.
    pub fn is_truncated(self) -> bool {
        self.message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0
    }

    /// The address of the sender.
    pub fn origin(self) -> SourceAddr {
        names::origin(&self.slot.name, self.message.msg_hdr.msg_namelen as usize)
    }

    /// The address that the datagram was sent to, if the socket reports it.
    pub fn destination(self) -> Option<Destination> {
        let header = &self.message.msg_hdr;
        match header.msg_control.is_null() {
            true => None,
            false => names::destination(&self.slot.control.0[..control_length(header)]),
        }
    }

    /// The name of the unix socket that sent it, as in `sun_path`.
    pub fn unix_name(self) -> &'a [u8] {
        let length = (self.message.msg_hdr.msg_namelen as usize).min(NAME);
        self.slot.name.0[..length].get(size_of::<libc::sa_family_t>()..).unwrap_or_default()
    }

    /// What the kernel noted about the datagram, where it was asked to.
    pub fn notes(self) -> RequestNotes {
        let header = &self.message.msg_hdr;
        match header.msg_control.is_null() {
            true => RequestNotes::default(),
            false => request_notes::of_control(&self.slot.control.0[..control_length(header)]),
        }
    }

    /// The address of the sender, for log lines and for whoami.
    pub fn source(self) -> SockAddr {
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: both types have the size of a `sockaddr_storage`, and any bytes are a valid `RawSockAddr`.
        let view = unsafe { storage.view_as::<RawSockAddr>() };
        *view = self.slot.name;
        // SAFETY: the kernel wrote an address of this length into the storage.
        unsafe { SockAddr::new(storage, self.message.msg_hdr.msg_namelen) }
    }
}

/// The number of bytes received, which never exceeds the buffer.
fn length(message: &libc::mmsghdr) -> usize {
    message.msg_len as usize
}

/// The bytes of control data in `header`. The type of the field differs between C libraries.
fn control_length(header: &libc::msghdr) -> usize {
    let length: usize = header.msg_controllen as _;
    length.min(CONTROL)
}
