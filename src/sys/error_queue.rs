//! What routers and peers say about datagrams that were sent: ICMP errors, which the kernel keeps in the error queue of a
//! socket that asked for them (`IP_RECVERR`, ip(7); `IPV6_RECVERR`, ipv6(7)).
//!
//! Such a socket also fails the next call on it, whatever that is about, once for each. And as long as its queue is not empty,
//! poll(2) says POLLERR: so the queue is to be emptied.

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

/// Errors that are read in one go; those behind them have to wait for the next call that fails.
const MOST: usize = 256;

/// ICMP and ICMPv6: nobody listens at that port.
const PORT_UNREACHABLE: [(u8, u8, u8); 2] =
    [(libc::SO_EE_ORIGIN_ICMP, 3, 3), (libc::SO_EE_ORIGIN_ICMP6, 1, 4)];

/// Asks for errors about what is sent from this socket, or does not want them.
pub fn enable(socket: &impl AsFd, ipv6: bool, wanted: bool) -> io::Result<()> {
    if ipv6 {
        setsockopt(socket, Ipv6RecvErr, &wanted)?;
    }
    // An IPv6 socket may send to IPv4 addresses too.
    Ok(setsockopt(socket, Ipv4RecvErr, &wanted)?)
}

/// Whether a call that failed this way may have told of a datagram that was sent before.
pub fn may_tell(error: &io::Error) -> bool {
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

/// Empties the queue, and tells of each address and port where nobody listens.
pub fn drain(socket: BorrowedFd<'_>, mut closed: impl FnMut(IpAddr, u16)) {
    let mut control = [0; 512];
    for _ in 0..MOST {
        let mut payload = [0; 1];
        let mut pieces = [IoSliceMut::new(&mut payload)];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let message =
            match recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut pieces, Some(&mut control), flags) {
                Ok(message) => message,
                Err(Errno::EINTR) => continue,
                Err(_) => return,
            };
        let Ok(mut told) = message.cmsgs() else { continue };
        let is_closed = told.any(|told| match told {
            ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
                PORT_UNREACHABLE.contains(&(error.ee_origin, error.ee_type, error.ee_code))
            }
            _ => false,
        });
        let Some(to) = message.address.filter(|_| is_closed) else { continue };
        if let Some(to) = to.as_sockaddr_in() {
            closed(to.ip().into(), to.port());
        } else if let Some(to) = to.as_sockaddr_in6() {
            closed(to.ip().into(), to.port());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

    use super::*;

    #[test]
    fn a_closed_port_is_told_of() {
        let loopbacks: [(IpAddr, bool); 2] =
            [(Ipv4Addr::LOCALHOST.into(), false), (Ipv6Addr::LOCALHOST.into(), true)];
        for (loopback, ipv6) in loopbacks {
            let ours = UdpSocket::bind((loopback, 0)).unwrap();
            enable(&ours, ipv6, true).unwrap();
            // A port that nobody listens at: it was one's a moment ago.
            let closed = UdpSocket::bind((loopback, 0)).unwrap().local_addr().unwrap();
            assert_eq!(ours.send_to(b"x", closed).unwrap(), 1);
            // Over loopback the answer is there when the call returns. The next call tells that something is in the queue.
            let error = ours.send_to(b"x", closed).unwrap_err();
            assert!(may_tell(&error), "{error}");
            let mut told = Vec::new();
            drain(ours.as_fd(), |address, port| told.push((address, port)));
            assert_eq!(told, [(loopback, closed.port())]);
            drain(ours.as_fd(), |_, _| panic!("the queue is empty"));
        }
    }
}
