//! What the kernel notes about a request beside its bytes and addresses: the hops that it had left (TTL, hop limit), its traffic
//! class (DSCP and ECN), when it arrived, and the process that sent it over a unix socket.
//!
//! A datagram carries its notes as control data, once they are asked for ([`ask`]): `IP_RECVTTL` and `IP_RECVTOS` (ip(7)),
//! `IPV6_RECVHOPLIMIT` and `IPV6_RECVTCLASS` (ipv6(7)), `SO_TIMESTAMPNS` (socket(7)), `SO_PASSCRED` (unix(7)). Of a TCP connection
//! the kernel keeps those of the segment that completed the handshake ([`of_connection`]).

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{
    getsockopt, setsockopt,
    sockopt::{Ipv4RecvTtl, Ipv6RecvHopLimit, PassCred, ReceiveTimestampns},
};
use socket2::SockRef;

use super::{credentials::Credentials, names};

/// Room for the notes of a connection: two messages of an integer each.
const CONTROL: usize = 128;

/// What the kernel noted about a request, as far as it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestNotes {
    /// The TTL or hop limit that it arrived with.
    pub hops: Option<u8>,
    /// The traffic class that it arrived with: six bits of DSCP, two of ECN.
    pub traffic_class: Option<u8>,
    /// When it arrived, in nanoseconds of `CLOCK_REALTIME`.
    pub stamp: Option<u64>,
    /// The process that sent it over a unix socket.
    pub sender: Option<Credentials>,
}

/// The family of a socket of datagrams, which decides about the notes that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotedFamily {
    /// IPv4.
    V4,
    /// IPv6, and IPv4 by mapped addresses.
    V6,
    /// A unix socket.
    Unix,
}

/// Has the kernel note what it knows of each datagram, or no longer; but for the traffic class, which others ask for as well. What it
/// cannot note is missing later.
pub fn ask(socket: &impl AsFd, family: NotedFamily, on: bool) {
    let _ = setsockopt(socket, ReceiveTimestampns, &on);
    if family == NotedFamily::Unix {
        let _ = setsockopt(socket, PassCred, &on);
        return;
    }
    // A socket of IPv6 needs both: datagrams of IPv4 are noted by the options of IPv4.
    let _ = setsockopt(socket, Ipv4RecvTtl, &on);
    if family == NotedFamily::V6 {
        let _ = setsockopt(socket, Ipv6RecvHopLimit, &on);
    }
}

/// Whether [`ask`] was called for this socket before.
pub fn are_asked(socket: &impl AsFd, family: NotedFamily) -> bool {
    let other = match family {
        NotedFamily::Unix => getsockopt(socket, PassCred),
        NotedFamily::V4 | NotedFamily::V6 => getsockopt(socket, Ipv4RecvTtl),
    };
    other.unwrap_or(false) && getsockopt(socket, ReceiveTimestampns).unwrap_or(false)
}

/// The notes in the control data of a datagram.
pub fn of_control(control: &[u8]) -> RequestNotes {
    let mut notes = RequestNotes::default();
    for (kind, data) in names::messages(control) {
        match kind {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => notes.stamp = stamp(data),
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => notes.sender = sender(data),
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                notes.hops = byte(data);
            }
            (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                notes.traffic_class = byte(data);
            }
            _ => {}
        }
    }
    notes
}

/// The notes about the handshake of a connection. Nothing where it is not one of TCP.
pub fn of_connection(socket: BorrowedFd<'_>) -> RequestNotes {
    let sock = SockRef::from(&socket);
    let is_asked_v4 = setsockopt(&socket, Ipv4RecvTtl, &true).is_ok() && sock.set_recv_tos_v4(true).is_ok();
    let v4 = if is_asked_v4 { kept(socket, libc::IPPROTO_IP, libc::IP_PKTOPTIONS) } else { None };
    let is_v6 = || {
        sock.local_addr()
            .is_ok_and(|local| local.as_socket_ipv6().is_some_and(|v6| v6.ip().to_ipv4_mapped().is_none()))
    };
    if !is_v6() {
        return v4.unwrap_or_default();
    }
    let is_asked =
        setsockopt(&socket, Ipv6RecvHopLimit, &true).is_ok() && sock.set_recv_tclass_v6(true).is_ok();
    let v6 = if is_asked { kept(socket, libc::IPPROTO_IPV6, libc::IPV6_2292PKTOPTIONS) } else { None };
    v6.unwrap_or_default()
}

/// The notes that the kernel keeps with a connection.
fn kept(socket: BorrowedFd<'_>, level: i32, option: i32) -> Option<RequestNotes> {
    let mut control = [0_u64; CONTROL / 8];
    let mut length = CONTROL as libc::socklen_t;
    let to = control.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `length` bytes to `control`, and their number to `length`.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, to, &raw mut length) };
    let mut bytes = [0; CONTROL];
    for (to, word) in bytes.chunks_exact_mut(8).zip(control) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    (result == 0).then(|| of_control(&bytes[..(length as usize).min(CONTROL)]))
}

/// An integer of one byte (`IP_TOS`), or of four that fits one byte.
fn byte(data: &[u8]) -> Option<u8> {
    match data.get(..4).and_then(|data| data.try_into().ok()) {
        Some(number) => u8::try_from(i32::from_ne_bytes(number)).ok(),
        None => data.first().copied(),
    }
}

/// A `timespec`, whose fields are as long as an address.
fn stamp(data: &[u8]) -> Option<u64> {
    const WORD: usize = size_of::<libc::c_long>();
    let word = |at: usize| {
        let part = data.get(at..at + WORD)?.try_into().ok()?;
        u64::try_from(libc::c_long::from_ne_bytes(part)).ok()
    };
    word(0)?.checked_mul(1_000_000_000)?.checked_add(word(WORD)?)
}

/// A `ucred`.
fn sender(data: &[u8]) -> Option<Credentials> {
    let word = |at: usize| Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?));
    let sender = Credentials { pid: word(0)?, uid: word(4)?, gid: word(8)? };
    // The kernel has not recorded the sender of a datagram that was there before it was asked to.
    (sender.pid != 0 || sender.uid != OVERFLOW).then_some(sender)
}

/// The user that the kernel tells in place of one that it cannot (`/proc/sys/kernel/overflowuid`).
const OVERFLOW: u32 = 65_534;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_tells_of_its_handshake() {
        for (at, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")] {
            let Ok(listener) = TcpListener::bind(at) else {
                eprintln!("SKIPPED: nothing can be bound to {at}");
                continue;
            };
            let _client = TcpStream::connect((to, listener.local_addr().unwrap().port())).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let notes = of_connection(accepted.as_fd());
            assert_eq!(
                (notes.hops, notes.traffic_class, notes.stamp),
                (Some(64), Some(0), None),
                "{at} {to}"
            );
        }
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(of_connection(one.as_fd()), RequestNotes::default());
    }

    #[test]
    fn nothing_is_read_of_what_is_cut_short() {
        for length in 0..16 {
            assert_eq!(stamp(&[0; 16][..length]), None);
            assert_eq!(sender(&[1; 12][..length.min(11)]), None);
        }
        assert_eq!((byte(&[]), byte(&[3]), byte(&300_i32.to_ne_bytes())), (None, Some(3), None));
        assert_eq!(of_control(&[0xff; 40]), RequestNotes::default());
    }
}
