//! Answers that follow each other to the same peer, sent as one: the kernel goes its way once, and cuts them apart at the end of it
//! (`UDP_SEGMENT`, udp(7)). What arrives is one datagram for each answer, as if each had been sent alone.

use std::{
    os::fd::{AsRawFd, BorrowedFd},
    ptr::null_mut,
};

use super::{CONTROL, Control, NAME, Slot, answers::Answers, control_length};

/// The longest answer that is sent that way: what fits everywhere in one packet, for such a packet is never fragmented (RFC 8200,
/// section 5: 1,280 bytes, of which 48 are headers).
const LONGEST: usize = 1232;

/// Bytes that are sent as one at most. The limit is that of a datagram.
const BYTES: usize = 60_000;

/// Answers that are sent as one at most (`UDP_MAX_SEGMENTS`).
const SEGMENTS: usize = 64;

/// Room that the control message takes.
// SAFETY: CMSG_SPACE(3) computes a number.
const SPACE: usize = unsafe { libc::CMSG_SPACE(size_of::<u16>() as u32) } as usize;

/// Control data of answers: what their requests came with, and the length of a segment.
pub(super) struct Segments(Box<[Control]>);

impl Segments {
    /// For batches of `size` answers, if the kernel can do that for this socket.
    pub(super) fn new(socket: BorrowedFd<'_>, size: usize) -> Option<Segments> {
        is_offered(socket).then(|| Segments(vec![Control([0; CONTROL]); size].into()))
    }

    /// Adds the length of a segment to the control data of an answer.
    fn describe(&mut self, at: usize, length: usize, header: &mut libc::msghdr) {
        let before = if header.msg_control.is_null() { 0 } else { control_length(header) };
        let control = &mut self.0[at].0;
        // SAFETY: the control data of a request, which is as long as its header says and overlaps none of ours.
        unsafe { std::ptr::copy_nonoverlapping(header.msg_control.cast(), control.as_mut_ptr(), before) };
        // SAFETY: plain data (musl pads it) for which all zeroes is a valid value.
        let mut message: libc::cmsghdr = unsafe { std::mem::zeroed() };
        // SAFETY: CMSG_LEN(3) computes a number.
        message.cmsg_len = unsafe { libc::CMSG_LEN(size_of::<u16>() as u32) } as _;
        message.cmsg_level = libc::SOL_UDP;
        message.cmsg_type = libc::UDP_SEGMENT;
        let (head, data) = control[before..before + SPACE].split_at_mut(size_of::<libc::cmsghdr>());
        // SAFETY: there are as many bytes, and any bytes may stand there.
        unsafe { head.as_mut_ptr().cast::<libc::cmsghdr>().write_unaligned(message) };
        data[..2].copy_from_slice(&(length as u16).to_ne_bytes());
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = (before + SPACE) as _;
    }
}

impl Answers {
    /// Lets the answer to request `i` follow the one before, if they go the same way.
    #[inline(never)]
    pub(super) fn follow(
        &mut self,
        requests: &[libc::mmsghdr],
        slots: &[Slot],
        answers: &[libc::iovec],
        i: usize,
    ) -> bool {
        let (Some(segments), Some(at)) = (&mut self.segments, self.count.checked_sub(1)) else {
            return false;
        };
        let (first, header) = (self.first, &mut self.headers[at].msg_hdr);
        let count = pieces(header);
        if i != first + count
            || !may_follow(&answers[first..=i])
            || !go_the_same_way(requests, slots, first, i)
        {
            return false;
        }
        if count == 1 {
            segments.describe(at, answers[first].iov_len, header);
        }
        header.msg_iovlen += 1;
        true
    }
}

/// Whether the last of these answers, which were received side by side, may be a segment beside the others.
fn may_follow(answers: &[libc::iovec]) -> bool {
    let ([first, ..], [.., before, last]) = (answers, answers) else { return false };
    let segment = first.iov_len;
    // One that is shorter was the last.
    before.iov_len == segment
        && segment <= LONGEST
        && (1..=segment).contains(&last.iov_len)
        && answers.len() <= SEGMENTS
        && answers.len() * segment <= BYTES
}

/// Whether two requests came from one peer to one address.
fn go_the_same_way(requests: &[libc::mmsghdr], slots: &[Slot], one: usize, other: usize) -> bool {
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

/// How many pieces a message consists of. C libraries differ in the type.
pub(super) fn pieces(header: &libc::msghdr) -> usize {
    header.msg_iovlen as _
}

/// Takes answer `at` of `answered` apart again. There is room for that: each was an answer of its own before.
pub(super) fn take_apart(answers: &mut [libc::mmsghdr], at: usize, answered: usize) -> usize {
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

/// Whether the kernel has it: one that has not would send the answers as one datagram.
fn is_offered(socket: BorrowedFd<'_>) -> bool {
    let mut value: libc::c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `value`.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    got == 0
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd};

    use super::{
        super::{Batch, Sent},
        *,
    };

    /// Has these texts answered as one batch; how many messages that takes, and what arrives.
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
    fn answers_to_one_peer_are_sent_as_one_and_arrive_alone() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (messages, texts) in [
            (1, &[&b"one"[..], b"two", b"six"][..]),
            // The last may be shorter, and nothing follows it; a longer one begins anew.
            (2, &[b"three", b"one", b"two"]),
            (2, &[b"one", b"three", b"seven"]),
            // There is nothing to cut in an empty one, and those that may not fit go alone.
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
    fn answers_to_several_peers_stay_apart() {
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

    /// What lies between them in memory is nobody's answer.
    #[test]
    fn answers_with_a_gap_between_their_requests_stay_apart() {
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
    fn what_cannot_be_sent_as_one_is_sent_alone() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let off: libc::c_int = 1;
        // Without checksums nothing can be cut apart.
        // SAFETY: the kernel reads an integer.
        let set = unsafe {
            libc::setsockopt(
                server.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NO_CHECK,
                (&raw const off).cast(),
                size_of_val(&off) as libc::socklen_t,
            )
        };
        assert_eq!(set, 0);
        let texts = [&b"one"[..], b"two", b"six", b"x", b"four", b"five", b""];
        let (messages, arrived) = answered(&server, &texts);
        assert_eq!(messages, 3);
        assert_eq!(arrived, texts);
    }
}
