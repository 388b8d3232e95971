//! Datagrams with what the kernel notes about them: when they arrived (`SO_TIMESTAMPNS`, socket(7)), over how many hops
//! (`IP_RECVTTL`, ip(7); `IPV6_RECVHOPLIMIT`, ipv6(7)), and how many were dropped before (`SO_RXQ_OVFL`).
//!
//! The kernel stamps by `CLOCK_REALTIME`, which may be set at any moment. Whoever measures by `CLOCK_MONOTONIC` has to know how far
//! the two clocks are apart ([`clock_offset`]).

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            ControlMessageOwned, MsgFlags, recvmsg, setsockopt,
            sockopt::{Ipv4RecvTtl, Ipv6RecvHopLimit, ReceiveTimestampns, RxqOvfl},
        },
        time::TimeSpec,
    },
    time::{ClockId, clock_gettime},
};

use super::clock;

/// Room for control data: more than the four messages that are asked for.
const CONTROL: usize = 256;

/// A datagram that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its bytes in the buffer.
    pub length: usize,
    /// Whether it was longer than the buffer.
    pub is_cut: bool,
    /// When it arrived, in nanoseconds of `CLOCK_REALTIME`, if the kernel stamped it.
    pub stamp: Option<u64>,
    /// The TTL or hop limit it arrived with.
    pub ttl: Option<u8>,
    /// Datagrams that the socket has dropped for want of room, if there were any.
    pub dropped: Option<u32>,
}

/// Asks the kernel to stamp what arrives at this socket. Returns whether it will.
pub fn enable(socket: &impl AsFd) -> bool {
    setsockopt(socket, ReceiveTimestampns, &true).is_ok()
}

/// Asks the kernel to tell hops and drops. A socket without them receives as well.
pub fn enable_notes(socket: &impl AsFd, ipv6: bool) {
    let _ = match ipv6 {
        true => setsockopt(socket, Ipv6RecvHopLimit, &true),
        false => setsockopt(socket, Ipv4RecvTtl, &true),
    };
    let _ = setsockopt(socket, RxqOvfl, &1);
}

/// Receives one datagram without blocking.
///
/// # Errors
/// As recvmsg(2); `WouldBlock` if there is none.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = [0; CONTROL];
    let mut pieces = [IoSliceMut::new(buffer)];
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut pieces, Some(&mut control), MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EINTR) => {}
            result => break result?,
        }
    };
    let mut received = Received {
        length: message.bytes,
        is_cut: message.flags.contains(MsgFlags::MSG_TRUNC),
        stamp: None,
        ttl: None,
        dropped: None,
    };
    for note in message.cmsgs().into_iter().flatten() {
        match note {
            ControlMessageOwned::ScmTimestampns(time) => received.stamp = Some(nanoseconds(time)),
            ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
                received.ttl = u8::try_from(ttl).ok();
            }
            ControlMessageOwned::RxqOvfl(count) => received.dropped = Some(count),
            _ => {}
        }
    }
    Ok(received)
}

/// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`, in nanoseconds. It changes by leaps when the time of day is set, and slowly never.
pub fn clock_offset() -> i64 {
    // Between two readings of the one clock the other is read in the middle; of several tries the quickest is the most exact.
    let tries = (0..3).map(|_| {
        let before = clock::now();
        let real = clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, nanoseconds);
        let after = clock::now();
        (after - before, real as i64 - before.midpoint(after) as i64)
    });
    tries.min().map_or(0, |(_, offset)| offset)
}

fn nanoseconds(time: TimeSpec) -> u64 {
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_datagram_comes_with_its_notes() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(address) else {
                eprintln!("SKIPPED: nothing can be bound to {address}");
                continue;
            };
            let to = socket.local_addr().unwrap();
            assert!(enable(&socket));
            enable_notes(&socket, to.is_ipv6());
            let (before, offset) = (clock::now(), clock_offset());
            socket.send_to(b"long", to).unwrap();
            let mut buffer = [0; 3];
            let received = receive(socket.as_fd(), &mut buffer).unwrap();
            assert_eq!((received.length, received.is_cut, &buffer), (3, true, b"lon"));
            assert!(received.ttl.is_some_and(|ttl| ttl > 0), "{received:?}");
            let arrived = received.stamp.unwrap() as i64 - offset;
            // The two clocks are read one after the other, and the stamp is of a third moment.
            assert!(arrived >= before as i64 - 1_000_000 && arrived <= clock::now() as i64 + 1_000_000);
            let nothing = receive(socket.as_fd(), &mut buffer).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
