//! Consecutive answers to one peer, sent as segments of one message (`UDP_SEGMENT`, udp(7)). The message passes through the
//! kernel's stack once and is split at its end. The peer receives one datagram for each answer.

use std::{os::fd::BorrowedFd, ptr::null_mut};

use super::{CONTROL, Control, NAME, Slot, control_length};
use crate::sys::socket_option;

/// The longest answer that may be a segment. Segments are never fragmented, so it has to fit the smallest IPv6 MTU: 1,280 bytes
/// (RFC 8200, section 5), less 48 bytes of headers.
const LONGEST: usize = 1232;

/// Bytes of one segmented message, at most. It is subject to the limit of a UDP datagram.
const BYTES: usize = 60_000;

/// Segments of one message, at most (`UDP_MAX_SEGMENTS`).
const SEGMENTS: usize = 64;

/// The size of the control message.
// SAFETY: CMSG_SPACE(3) computes a number.
const SPACE: usize = unsafe { libc::CMSG_SPACE(size_of::<u16>() as u32) } as usize;

/// Control data of segmented messages: that of the request, and the segment size.
pub(super) struct Segments(Box<[Control]>);

impl Segments {
    /// For batches of `size` answers, if the kernel supports segments on this socket.
    pub(super) fn new(socket: BorrowedFd<'_>, size: usize) -> Option<Segments> {
        is_supported(socket).then(|| Segments(vec![Control([0; CONTROL]); size].into()))
    }

    /// Adds the segment size to the control data of a message.
    pub(super) fn describe(&mut self, at: usize, length: usize, header: &mut libc::msghdr) {
        let before = if header.msg_control.is_null() { 0 } else { control_length(header) };
        let control = &mut self.0[at].0;
        // SAFETY: copies the control data of a request, which is as long as its header says and does not overlap with `self`.
        unsafe { std::ptr::copy_nonoverlapping(header.msg_control.cast(), control.as_mut_ptr(), before) };
        // SAFETY: `cmsghdr` is plain data (padded in musl) for which all zeroes is a valid value.
        let mut message: libc::cmsghdr = unsafe { std::mem::zeroed() };
        // SAFETY: CMSG_LEN(3) computes a number.
        message.cmsg_len = unsafe { libc::CMSG_LEN(size_of::<u16>() as u32) } as _;
        message.cmsg_level = libc::SOL_UDP;
        message.cmsg_type = libc::UDP_SEGMENT;
        let (head, data) = control[before..before + SPACE].split_at_mut(size_of::<libc::cmsghdr>());
        // SAFETY: `head` is as large as a `cmsghdr` and may hold any bytes.
        unsafe { head.as_mut_ptr().cast::<libc::cmsghdr>().write_unaligned(message) };
        data[..2].copy_from_slice(&(length as u16).to_ne_bytes());
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = (before + SPACE) as _;
    }
}

/// Whether the last of these answers, whose requests are consecutive, may be a segment of the same message.
pub(super) fn may_follow(answers: &[libc::iovec]) -> bool {
    let ([first, ..], [.., before, last]) = (answers, answers) else { return false };
    let segment = first.iov_len;
    // Only the last segment may be shorter.
    before.iov_len == segment
        && segment <= LONGEST
        && (1..=segment).contains(&last.iov_len)
        && answers.len() <= SEGMENTS
        && answers.len() * segment <= BYTES
}

/// Whether two requests have the same source and the same destination.
pub(super) fn have_same_path(requests: &[libc::mmsghdr], slots: &[Slot], one: usize, other: usize) -> bool {
    let (a, b) = (&requests[one].msg_hdr, &requests[other].msg_hdr);
    let (name, control) = (a.msg_namelen as usize, control_length(a));
    a.msg_namelen == b.msg_namelen
        && slots[one].name.0[..name.min(NAME)] == slots[other].name.0[..name.min(NAME)]
        && a.msg_control.is_null() == b.msg_control.is_null()
        && (a.msg_control.is_null()
            || (a.msg_controllen == b.msg_controllen
                && control + SPACE <= CONTROL
                && slots[one].control.0[..control] == slots[other].control.0[..control]))
}

/// The number of pieces of a message. The type of the field differs between C libraries.
pub(super) fn pieces(header: &libc::msghdr) -> usize {
    header.msg_iovlen as _
}

/// Splits message `at` of `answered` into single answers. They fit: each had a header of its own before.
pub(super) fn split(answers: &mut [libc::mmsghdr], at: usize, answered: usize) -> usize {
    let joined = answers[at].msg_hdr;
    let count = pieces(&joined);
    answers.copy_within(at + 1..answered, at + count);
    for (i, answer) in answers[at..at + count].iter_mut().enumerate() {
        let header = &mut answer.msg_hdr;
        *header = joined;
        header.msg_iov = joined.msg_iov.wrapping_add(i);
        header.msg_iovlen = 1;
        let left = control_length(header) - SPACE;
        header.msg_controllen = left as _;
        if left == 0 {
            header.msg_control = null_mut();
        }
    }
    answered + count - 1
}

/// Whether the kernel supports `UDP_SEGMENT`. A kernel that does not would send the answers as one long datagram.
fn is_supported(socket: BorrowedFd<'_>) -> bool {
    socket_option::get(&socket, libc::SOL_UDP, libc::UDP_SEGMENT).is_ok()
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd};

    use super::{
        super::{Batch, Sent},
        *,
    };

    /// Sends `texts` to `server`, has them answered as one batch, and returns the number of messages sent and the datagrams
    /// received.
    fn answered(server: &UdpSocket, texts: &[&[u8]]) -> (usize, Vec<Vec<u8>>) {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        let mut batch = Batch::new(texts.len(), false).unwrap();
        batch.join_answers(server.as_fd());
        for text in texts {
            client.send(text).unwrap();
        }
        assert_eq!(batch.receive(server.as_fd(), texts.len(), true).unwrap(), texts.len());
        batch.answer(|_, request| Some(request.length()));
        let messages = batch.answers.count;
        let sent = batch.send(server.as_fd(), false, None);
        let bytes = texts.iter().map(|text| text.len() as u64).sum();
        assert_eq!(sent, Sent { bytes, ..Sent::default() });
        let mut buffer = [0; 4096];
        let receive = |_| client.recv(&mut buffer).map(|length| buffer[..length].to_vec()).unwrap();
        (messages, texts.iter().map(receive).collect())
    }

    const LONG: &[u8] = &[b'x'; LONGEST + 1];

    #[test]
    fn consecutive_answers_to_one_peer_are_segments() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (messages, texts) in [
            (1, &[&b"one"[..], b"two", b"six"][..]),
            // The last segment may be shorter, and then ends the message. A longer answer starts a new message.
            (2, &[b"three", b"one", b"two"]),
            (2, &[b"one", b"three", b"seven"]),
            // An empty answer cannot be a segment; nor can one longer than `LONGEST`.
            (3, &[b"one", b"", b"two"]),
            (2, &[b"", b""]),
            (2, &[LONG, LONG]),
            (1, &[&LONG[1..], &LONG[1..], b"x"]),
        ] {
            let (took, arrived) = answered(&server, texts);
            assert_eq!(arrived, texts);
            assert_eq!(took, messages, "{:?}", texts.iter().map(|text| text.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn answers_to_several_peers_are_messages_of_their_own() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let clients = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut batch = Batch::new(4, false).unwrap();
        batch.join_answers(server.as_fd());
        for (client, text) in [(0, b"one"), (0, b"two"), (1, b"six"), (0, b"ten")] {
            clients[client].send_to(text, server.local_addr().unwrap()).unwrap();
        }
        assert_eq!(batch.receive(server.as_fd(), 4, true).unwrap(), 4);
        batch.answer(|_, request| Some(request.length()));
        assert_eq!(batch.answers.count, 3);
        assert_eq!(batch.send(server.as_fd(), false, None), Sent { bytes: 12, ..Sent::default() });
    }

    /// The bytes between the two answers belong to no answer.
    #[test]
    fn answers_with_a_gap_between_their_requests_are_not_joined() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        let mut batch = Batch::new(4, false).unwrap();
        batch.join_answers(server.as_fd());
        for text in [b"one", b"two", b"six", b"ten"] {
            client.send_to(text, server.local_addr().unwrap()).unwrap();
        }
        assert_eq!(batch.receive(server.as_fd(), 4, true).unwrap(), 4);
        batch.refuse(0b10);
        batch.answer(|_, request| Some(request.length()));
        assert_eq!(batch.answers.count, 2);
        assert_eq!(batch.send(server.as_fd(), false, None), Sent { bytes: 9, ..Sent::default() });
        let mut buffer = [0; 8];
        for text in [b"one", b"six", b"ten"] {
            let length = client.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], text);
        }
    }

    #[test]
    fn segments_that_the_kernel_refuses_are_sent_one_by_one() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        // The kernel cannot segment without checksums.
        socket_option::set(&server, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
        let texts = [&b"one"[..], b"two", b"six", b"x", b"four", b"five", b""];
        let (messages, arrived) = answered(&server, &texts);
        assert_eq!(messages, 3);
        assert_eq!(arrived, texts);
    }
}
