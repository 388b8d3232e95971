//! Socket addresses as recvmmsg(2) writes them, and the destination of a datagram as its control data reports it. Both are read
//! in place, without a copy. The layouts are those of ip(7), ipv6(7) and cmsg(3).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

/// The size of the largest socket address.
pub const NAME: usize = size_of::<libc::sockaddr_storage>();

/// Room for any socket address, with its alignment.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct RawSockAddr(pub [u8; NAME]);

impl RawSockAddr {
    /// The first eight bytes as one number: family, port, and the address if it is IPv4.
    pub fn start(&self) -> u64 {
        u64::from_ne_bytes(part(&self.0, 0))
    }
}

/// The source of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceAddr {
    /// An IPv4 address and a port. The families are separate variants: converting to and from a common address type for each
    /// datagram takes longer than the access checks themselves.
    V4(Ipv4Addr, u16),
    /// An IPv6 address and a port.
    V6(Ipv6Addr, u16),
    /// A unix socket with a name.
    Unix,
    /// A unix socket without a name, which cannot be answered.
    Nameless,
}

/// The destination of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The destination address in its header.
    pub address: IpAddr,
    /// The local address that an answer would leave from. It differs from `address` for a broadcast or multicast datagram. IPv4
    /// only.
    pub local: Option<Ipv4Addr>,
}

/// The source address in the first `length` bytes of `name`.
pub fn origin(name: &RawSockAddr, length: usize) -> SourceAddr {
    let bytes = &name.0;
    match i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) {
        libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
            SourceAddr::V4(four(bytes, 4), u16::from_be_bytes([bytes[2], bytes[3]]))
        }
        libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
            SourceAddr::V6(sixteen(bytes, 8), u16::from_be_bytes([bytes[2], bytes[3]]))
        }
        _ if length > size_of::<libc::sa_family_t>() => SourceAddr::Unix,
        _ => SourceAddr::Nameless,
    }
}

/// The destination in the `IP_PKTINFO` or `IPV6_PKTINFO` message of control data.
pub fn destination(control: &[u8]) -> Option<Destination> {
    // The packet information is mostly the first and only message.
    destination_at_start(control).or_else(|| destination_at_start(control.get(packet_info(control)?)?))
}

fn destination_at_start(control: &[u8]) -> Option<Destination> {
    let data = control.get(HEADER..)?;
    match kind(control) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) if data.len() >= size_of::<libc::in_pktinfo>() => {
            // `in_pktinfo`: interface index, local address, address in the header. The local address is missing from datagrams
            // that arrived before the option was set.
            let local = Some(four(data, 4)).filter(|local| !local.is_unspecified());
            Some(Destination { address: four(data, 8).into(), local })
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if data.len() >= size_of::<libc::in6_pktinfo>() => {
            Some(Destination { address: sixteen(data, 0).into(), local: None })
        }
        _ => None,
    }
}

/// The messages of control data: level and type, and the bytes.
pub fn messages(control: &[u8]) -> impl Iterator<Item = ((i32, i32), &[u8])> {
    ranges(control).map(|range| {
        let message = &control[range];
        (kind(message), &message[HEADER..])
    })
}

/// The ranges of the messages in control data. A message that says it is longer than its control data ends there.
fn ranges(control: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let message = control.get(at..).filter(|message| message.len() >= HEADER)?;
        let range = at..at + length(message).clamp(HEADER, message.len());
        at += range.len().next_multiple_of(ALIGNMENT);
        Some(range)
    })
}

/// The range of the packet information in control data with several messages.
#[cold]
fn packet_info(control: &[u8]) -> Option<Range<usize>> {
    ranges(control).find(|range| destination_at_start(&control[range.clone()]).is_some())
}

/// Makes the control data of a request that of its answer, and returns the new length. The answer keeps the type of service if
/// it `reflects_tos`.
#[inline(always)]
pub fn turn_around(control: &mut [u8], reflects_tos: bool) -> usize {
    let kept = match reflects_tos {
        true => keep_packet_info_and_tos(control),
        false => keep_packet_info(control),
    };
    forget_interface(&mut control[..kept]);
    kept
}

/// Removes everything but the packet information from control data, and returns the new length. Other messages, which the creator
/// of an inherited socket enabled, cannot be sent.
fn keep_packet_info(control: &mut [u8]) -> usize {
    if destination_at_start(control).is_some() && length(control).next_multiple_of(ALIGNMENT) >= control.len()
    {
        return control.len();
    }
    let Some(found) = packet_info(control) else { return 0 };
    let length = found.len().next_multiple_of(ALIGNMENT).min(control.len());
    control.copy_within(found, 0);
    length
}

/// As [`keep_packet_info`], and keeps the type of service (`IP_TOS`) or the traffic class (`IPV6_TCLASS`) behind it, as the kernel
/// orders them.
#[inline(never)]
fn keep_packet_info_and_tos(control: &mut [u8]) -> usize {
    let (mut at, mut kept) = (0, 0);
    while control.len() - at >= HEADER {
        let rest = control.len() - at;
        let length = length(&control[at..]).clamp(HEADER, rest);
        let next = at + length.next_multiple_of(ALIGNMENT).min(rest);
        let message = &control[at..at + length];
        if is_tos(message) || destination_at_start(message).is_some() {
            control.copy_within(at..at + length, kept);
            // Control data of one content is equal, whatever was in the padding.
            control[kept + length..kept + next - at].fill(0);
            kept += next - at;
        }
        at = next;
    }
    kept
}

fn is_tos(message: &[u8]) -> bool {
    matches!(kind(message), (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS))
}

/// Clears the interface index, so that the answer is routed as usual. With an index, the kernel takes every source without a
/// route for a neighbour on that link, and holds the datagram in the send buffer while it resolves the address. A few forged
/// sources would then block the answers to all other clients. Only a link-local address needs its interface.
///
/// An IPv4 answer leaves from the destination of the request if the kernel reported no local address.
fn forget_interface(control: &mut [u8]) {
    let at = match destination_at_start(control) {
        Some(Destination { local: Some(local), .. }) if !local.is_link_local() => HEADER,
        Some(Destination { address: IpAddr::V4(address), local: None }) => {
            control[HEADER + 4..HEADER + 8].copy_from_slice(&address.octets());
            HEADER
        }
        Some(Destination { address: IpAddr::V6(address), .. }) if !address.is_unicast_link_local() => {
            HEADER + 16
        }
        _ => return,
    };
    control[at..at + 4].fill(0);
}

/// Clears the source address: the answer leaves by the same interface, from an address that the kernel chooses. In an
/// `IP_PKTINFO` the kernel has mostly put a usable local address already.
pub fn forget_destination(control: &mut [u8]) {
    let Some(at) = packet_info(control).map(|found| found.start + HEADER) else { return };
    match destination(control) {
        Some(Destination { address: IpAddr::V6(address), .. }) => {
            // An IPv4-mapped address keeps its prefix `::ffff:`.
            let from = if address.to_ipv4_mapped().is_some() { at + 12 } else { at };
            control[from..at + 16].fill(0);
        }
        Some(Destination { address: IpAddr::V4(_), local: None }) => control[at + 8..at + 12].fill(0),
        _ => {}
    }
}

/// The size of a `cmsghdr`: length, level, type.
const HEADER: usize = size_of::<libc::cmsghdr>();
/// The alignment of messages.
const ALIGNMENT: usize = size_of::<usize>();

/// The length of the first message, including its header.
fn length(control: &[u8]) -> usize {
    usize::from_ne_bytes(part(control, 0))
}

fn kind(control: &[u8]) -> (i32, i32) {
    (number(control, HEADER - 8).cast_signed(), number(control, HEADER - 4).cast_signed())
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(part(bytes, at))
}

fn four(bytes: &[u8], at: usize) -> Ipv4Addr {
    part::<4>(bytes, at).into()
}

fn sixteen(bytes: &[u8], at: usize) -> Ipv6Addr {
    part::<16>(bytes, at).into()
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(start: &[u8]) -> RawSockAddr {
        let mut name = RawSockAddr([0; NAME]);
        name.0[..start.len()].copy_from_slice(start);
        name
    }

    #[test]
    fn sources_are_read_by_family() {
        let v4 = name(&[2, 0, 0x1e, 0x61, 192, 0, 2, 7]);
        assert_eq!(origin(&v4, 16), SourceAddr::V4([192, 0, 2, 7].into(), 7777));
        assert_eq!(origin(&name(&[1, 0, b'/', b'x', 0]), 5), SourceAddr::Unix);
        assert_eq!(origin(&name(&[1, 0, 0, b'x']), 4), SourceAddr::Unix);
        assert_eq!(origin(&name(&[1, 0]), 2), SourceAddr::Nameless);
        assert_eq!(origin(&name(&[]), 0), SourceAddr::Nameless);
        let mut v6 = name(&[10, 0, 0, 7]);
        v6.0[8..24].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        assert_eq!(origin(&v6, 28), SourceAddr::V6(Ipv6Addr::LOCALHOST, 7));
    }

    #[test]
    fn only_link_local_addresses_keep_their_interface() {
        for (local, left) in [([192, 0, 2, 1], 0), ([169, 254, 0, 1], 2)] {
            let mut v4 = control(
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
                &[&2_u32.to_ne_bytes()[..], &local, &local].concat(),
            );
            forget_interface(&mut v4);
            assert_eq!((number(&v4, HEADER), destination(&v4).unwrap().local), (left, Some(local.into())));
        }
        for (local, left) in [("2001:db8::1", 0), ("::ffff:192.0.2.1", 0), ("fe80::1", 3)] {
            let local: Ipv6Addr = local.parse().unwrap();
            let data = [&local.octets()[..], &3_u32.to_ne_bytes()].concat();
            let mut v6 = control(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data);
            forget_interface(&mut v6);
            assert_eq!((number(&v6, HEADER + 16), destination(&v6).unwrap().address), (left, local.into()));
        }
        forget_interface(&mut []);
    }

    fn control(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let length = HEADER + data.len();
        [&length.to_ne_bytes()[..], &level.to_ne_bytes(), &kind.to_ne_bytes(), data].concat()
    }

    #[test]
    fn of_several_messages_those_are_kept_that_an_answer_has() {
        let padded = |mut message: Vec<u8>, padding: u8| {
            message.resize(message.len().next_multiple_of(ALIGNMENT), padding);
            message
        };
        let info = |padding| {
            let data = [&0_u32.to_ne_bytes()[..], &[192, 0, 2, 1], &[192, 0, 2, 1]].concat();
            padded(control(libc::IPPROTO_IP, libc::IP_PKTINFO, &data), padding)
        };
        let tos = |padding| padded(control(libc::IPPROTO_IP, libc::IP_TOS, &[0xb8]), padding);
        let class = padded(control(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &0xb9_i32.to_ne_bytes()), 0);
        let other = padded(control(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &[1; 4]), 1);
        for (received, kept) in [
            (vec![], vec![]),
            (vec![other.clone()], vec![]),
            (vec![info(7), tos(9)], vec![info(0), tos(0)]),
            (vec![other.clone(), info(0), other.clone(), tos(1)], vec![info(0), tos(0)]),
            (vec![tos(1), other.clone()], vec![tos(0)]),
            (vec![info(0), class.clone()], vec![info(0), class]),
        ] {
            let mut control = received.concat();
            let length = keep_packet_info_and_tos(&mut control);
            assert_eq!(control[..length], kept.concat(), "{received:?}");
        }
    }

    #[test]
    fn destinations_are_read_and_cleared() {
        let data = [&2_u32.to_ne_bytes()[..], &[192, 0, 2, 1], &[192, 0, 2, 255]].concat();
        let mut v4 = control(libc::IPPROTO_IP, libc::IP_PKTINFO, &data);
        let local = Some(Ipv4Addr::new(192, 0, 2, 1));
        let expected = Destination { address: [192, 0, 2, 255].into(), local };
        assert_eq!(destination(&v4), Some(expected));
        forget_destination(&mut v4);
        assert_eq!(destination(&v4), Some(expected));

        let v6 = |address: Ipv6Addr| {
            let data = [&address.octets()[..], &3_u32.to_ne_bytes()].concat();
            control(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data)
        };
        for (address, left) in [("ff02::1", "::"), ("::ffff:192.0.2.255", "::ffff:0.0.0.0")] {
            let mut control = v6(address.parse().unwrap());
            let Some(Destination { address: read, local: None }) = destination(&control) else {
                panic!("{address} was not read")
            };
            assert_eq!(read.to_string(), address);
            forget_destination(&mut control);
            assert_eq!(destination(&control).unwrap().address, left.parse::<IpAddr>().unwrap());
        }
        assert_eq!(destination(&[]), None);
        assert_eq!(destination(&control(libc::IPPROTO_IP, libc::IP_TTL, &[64, 0, 0, 0])), None);
    }
}
