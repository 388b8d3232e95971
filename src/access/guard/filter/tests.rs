//! The program, run by an interpreter on random packets, against the guard.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::{
    access::guard::source::{Class, PlainAddress},
    config::{PortChoice, SourcePorts, embedded::plain},
};

/// A packet as the kernel has it: the IP header, and the UDP header where the program begins.
struct Packet {
    ip: Vec<u8>,
    udp: Vec<u8>,
}

impl Packet {
    fn new(source: IpAddr, port: u16) -> Packet {
        let mut ip = match source {
            IpAddr::V4(_) => vec![0x45; 20],
            IpAddr::V6(_) => vec![0x60; 40],
        };
        match source {
            IpAddr::V4(v4) => ip[12..16].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => ip[8..24].copy_from_slice(&v6.octets()),
        }
        Packet { ip, udp: [&port.to_be_bytes()[..], &[0x1e, 0x61, 0, 8, 0, 0]].concat() }
    }

    /// `None` where the kernel would end the program and drop the packet.
    fn load(&self, k: u32, length: usize) -> Option<u32> {
        let (bytes, at) = if k >= IP { (&self.ip, k - IP) } else { (&self.udp, k) };
        let part = bytes.get(at as usize..at as usize + length)?;
        Some(part.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }
}

/// Whether the program passes the packet. It must end, and may only jump forward, within itself.
fn passes(program: &[Instruction], packet: &Packet) -> bool {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let Instruction { code, yes, no, k } = program[at];
        at += 1;
        let mut decide = |holds: bool| at += usize::from(if holds { yes } else { no });
        let loaded = match code {
            LOAD_WORD => packet.load(k, 4),
            LOAD_HALF => packet.load(k, 2),
            LOAD_BYTE => packet.load(k, 1),
            AND => Some(accumulator & k),
            _ => Some(accumulator),
        };
        let Some(loaded) = loaded else { return false };
        accumulator = loaded;
        match code {
            IF_EQUAL => decide(accumulator == k),
            IF_GREATER => decide(accumulator > k),
            IF_NOT_LESS => decide(accumulator >= k),
            JUMP => at += k as usize,
            RETURN => return k != 0,
            _ => {}
        }
    }
}

fn four() -> impl Strategy<Value = Ipv4Addr> {
    let edges = [
        0,
        0x00ff_ffff,
        0x0100_0000,
        0x7f00_0001,
        0xdfff_ffff,
        0xe000_0000,
        0xefff_ffff,
        0xf000_0000,
        u32::MAX - 1,
        u32::MAX,
    ];
    let edge = prop::sample::select(edges.to_vec());
    prop_oneof![any::<u32>(), edge, 0..3_u32].prop_map(Ipv4Addr::from_bits)
}

fn address() -> impl Strategy<Value = IpAddr> {
    let low = |high: u128| move |v4: Ipv4Addr| Ipv6Addr::from_bits(high << 32 | u128::from(v4.to_bits()));
    let six = prop_oneof![
        any::<u128>().prop_map(Ipv6Addr::from_bits),
        four().prop_map(low(0)),
        four().prop_map(low(0xffff)),
        (any::<u32>(), four()).prop_map(move |(high, v4)| low(u128::from(high))(v4)),
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits | 0xff << 120)),
        any::<u64>().prop_map(|bits| Ipv6Addr::from_bits(u128::from(bits) << 64)),
    ];
    prop_oneof![four().prop_map(IpAddr::V4), six.prop_map(IpAddr::V6)]
}

fn choices() -> impl Strategy<Value = Vec<PortChoice>> {
    let range = |(a, b): (u16, u16)| PortChoice::Ports(a.min(b)..=a.max(b));
    let choice = prop_oneof![
        Just(PortChoice::Reflectors),
        Just(PortChoice::Privileged),
        any::<(u16, u16)>().prop_map(range),
        any::<u16>().prop_map(|port| PortChoice::Ports(port..=port)),
    ];
    prop::collection::vec(choice, 0..4)
}

proptest! {
    /// An IPv4-mapped address is what an IPv6 socket shows of an IPv4 packet, which the program sees as IPv4.
    #[test]
    fn the_filter_drops_what_the_guard_refuses(
        choices in choices(),
        packets in prop::collection::vec((address(), prop_oneof![any::<u16>(), 0..1100_u16]), 1..200),
    ) {
        let ports = PortSet::new(&SourcePorts(choices));
        let programs = [false, true].map(|ipv6| compile(&ports, ipv6).unwrap());
        for (source, port) in packets {
            let ours = !ports.contains(port) && plain(source).class() != Class::Martian;
            // No IPv6 packet reaches an IPv4 socket.
            for program in &programs[usize::from(source.is_ipv6())..] {
                prop_assert_eq!(passes(program, &Packet::new(source, port)), ours, "{} {}", source, port);
            }
        }
    }
}

#[test]
fn the_longest_program_fits_and_a_longer_one_is_not_made() {
    let every_other =
        |count: u16| SourcePorts((1..=count).map(|n| PortChoice::Ports(2 * n..=2 * n)).collect());
    let program = compile(&PortSet::new(&every_other(2000)), true).unwrap();
    assert!(!passes(&program, &Packet::new([192, 0, 2, 1].into(), 4000)));
    assert!(passes(&program, &Packet::new([192, 0, 2, 1].into(), 3999)));
    assert!(compile(&PortSet::new(&every_other(2100)), false).is_none());
}

#[test]
fn the_kernel_takes_the_program() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for ipv6 in [false, true] {
        let program = compile(&PortSet::new(&SourcePorts::default()), ipv6).unwrap();
        crate::sys::socket_filter::attach(&socket, &program).unwrap();
    }
}
