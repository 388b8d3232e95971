//! ICMP errors about datagrams that were sent. The kernel keeps them in the error queue of a socket that set `IP_RECVERR` (ip(7))
//! or `IPV6_RECVERR` (ipv6(7)).
//!
//! Each error also fails one later call on the socket, whichever call that is. poll(2) reports POLLERR until the queue is empty,
//! so the queue has to be drained.

use std::{
    io::{self, IoSliceMut},
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
        sockopt::{Ipv4RecvErr, Ipv6RecvErr},
    },
};

/// Errors read by one [`drain`]; the rest are read after the next failing call.
const MOST: usize = 256;

/// Port unreachable, in ICMP and in ICMPv6.
const PORT_UNREACHABLE: [(u8, u8, u8); 2] =
    [(libc::SO_EE_ORIGIN_ICMP, 3, 3), (libc::SO_EE_ORIGIN_ICMP6, 1, 4)];

/// Besides: the protocol is unreachable, and the three ways in which a firewall says no (RFC 1812, section 5.2.7.1; RFC 4443).
const OTHER_REFUSALS: [(u8, u8, u8); 6] = [
    (libc::SO_EE_ORIGIN_ICMP, 3, 2),
    (libc::SO_EE_ORIGIN_ICMP, 3, 9),
    (libc::SO_EE_ORIGIN_ICMP, 3, 10),
    (libc::SO_EE_ORIGIN_ICMP, 3, 13),
    (libc::SO_EE_ORIGIN_ICMP6, 1, 1),
    (libc::SO_EE_ORIGIN_ICMP6, 1, 6),
];

/// Turns the error queue of this socket on or off.
pub fn enable(socket: &impl AsFd, ipv6: bool, wanted: bool) -> io::Result<()> {
    if ipv6 {
        setsockopt(socket, Ipv6RecvErr, &wanted)?;
    }
    // An IPv6 socket may also send to IPv4 addresses.
    Ok(setsockopt(socket, Ipv4RecvErr, &wanted)?)
}

/// Whether a call that failed with `error` may have reported an ICMP error about an earlier datagram.
pub fn may_be_feedback(error: &io::Error) -> bool {
    let known = [
        libc::ECONNREFUSED,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::ENONET,
        libc::EMSGSIZE,
        libc::EPROTO,
        libc::ENOPROTOOPT,
        libc::EOPNOTSUPP,
        libc::EACCES,
    ];
    error.raw_os_error().is_some_and(|error| known.contains(&error))
}

/// An entry of the queue.
struct QueuedError {
    /// Where the datagram was sent to.
    to: Option<SockaddrStorage>,
    error: Option<libc::sock_extended_err>,
    /// Bytes of the datagram that are quoted.
    quoted: usize,
}

/// Takes the next entry of the queue, and copies what it quotes of the datagram to `quote`.
fn next(socket: BorrowedFd<'_>, quote: &mut [u8]) -> Option<QueuedError> {
    let mut control = [0; 512];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    loop {
        let mut pieces = [IoSliceMut::new(quote)];
        match recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut pieces, Some(&mut control), flags) {
            Ok(message) => {
                let error = message.cmsgs().into_iter().flatten().find_map(|note| match note {
                    ControlMessageOwned::Ipv4RecvErr(error, _)
                    | ControlMessageOwned::Ipv6RecvErr(error, _) => Some(error),
                    _ => None,
                });
                return Some(QueuedError { to: message.address, error, quoted: message.bytes });
            }
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

fn is_one_of(error: &libc::sock_extended_err, known: &[(u8, u8, u8)]) -> bool {
    known.contains(&(error.ee_origin, error.ee_type, error.ee_code))
}

/// Drains the queue, and calls `closed` with each address and port that was reported unreachable.
pub fn drain(socket: BorrowedFd<'_>, mut closed: impl FnMut(IpAddr, u16)) {
    for _ in 0..MOST {
        let Some(QueuedError { to, error, .. }) = next(socket, &mut [0; 1]) else { return };
        let is_closed = error.is_some_and(|error| is_one_of(&error, &PORT_UNREACHABLE));
        let Some(to) = to.filter(|_| is_closed) else { continue };
        if let Some(to) = to.as_sockaddr_in() {
            closed(to.ip().into(), to.port());
        } else if let Some(to) = to.as_sockaddr_in6() {
            closed(to.ip().into(), to.port());
        }
    }
}

/// What the network said of a datagram that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// The error as a call would have it.
    pub errno: i32,
    /// Whether nobody listens there, or a firewall refuses the datagram.
    pub is_refusal: bool,
    /// Bytes of the datagram that are quoted.
    pub quoted: usize,
}

/// Takes the next entry of the queue that came from the network, and copies what it quotes of the datagram to `quote`.
pub fn take(socket: BorrowedFd<'_>, quote: &mut [u8]) -> Option<Feedback> {
    for _ in 0..MOST {
        let QueuedError { error, quoted, .. } = next(socket, quote)?;
        let is_remote = |error: &libc::sock_extended_err| {
            [libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6].contains(&error.ee_origin)
        };
        if let Some(error) = error.filter(is_remote) {
            let is_refusal = is_one_of(&error, &PORT_UNREACHABLE) || is_one_of(&error, &OTHER_REFUSALS);
            return Some(Feedback { errno: error.ee_errno.cast_signed(), is_refusal, quoted });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

    use super::*;

    #[test]
    fn a_closed_port_is_reported() {
        let loopbacks: [(IpAddr, bool); 2] =
            [(Ipv4Addr::LOCALHOST.into(), false), (Ipv6Addr::LOCALHOST.into(), true)];
        for (loopback, ipv6) in loopbacks {
            let ours = UdpSocket::bind((loopback, 0)).unwrap();
            enable(&ours, ipv6, true).unwrap();
            // The temporary socket is closed again, so the port is unreachable.
            let closed = UdpSocket::bind((loopback, 0)).unwrap().local_addr().unwrap();
            assert_eq!(ours.send_to(b"x", closed).unwrap(), 1);
            // Over loopback the ICMP error is queued before send_to() returns. The next call fails with it.
            let error = ours.send_to(b"x", closed).unwrap_err();
            assert!(may_be_feedback(&error), "{error}");
            let mut reported = Vec::new();
            drain(ours.as_fd(), |address, port| reported.push((address, port)));
            assert_eq!(reported, [(loopback, closed.port())]);
            drain(ours.as_fd(), |_, _| panic!("the queue is empty"));
            assert_eq!(ours.send_to(b"quoted", closed).unwrap(), 6);
            let mut quote = [0; 16];
            let feedback = take(ours.as_fd(), &mut quote).unwrap();
            assert_eq!(feedback, Feedback { errno: libc::ECONNREFUSED, is_refusal: true, quoted: 6 });
            assert_eq!(&quote[..6], b"quoted");
            assert_eq!(take(ours.as_fd(), &mut quote), None);
        }
    }
}
