//! Ethernet frames as a test makes them, and as it reads them: sent and received at one end of a cable, below every socket.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
        sockopt,
    },
};

/// A datagram in a frame; what is not as usual is said besides.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) to_station: [u8; 6],
    pub(super) from_station: [u8; 6],
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) from_port: u16,
    pub(super) to_port: u16,
    pub(super) payload: Vec<u8>,
    pub(super) odd: Odd,
}

/// What is odd about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    Nothing,
    /// A VLAN tag with this number.
    Vlan(u16),
    /// IPv4 options, or an extension header.
    Options,
    /// A first fragment.
    Fragment,
    /// Not to be fragmented.
    DontFragment,
    Class(u8),
    Hops(u8),
    Protocol(u8),
    /// The length of the IP packet differs by so much.
    Length(i16),
    /// That of the datagram.
    UdpLength(i16),
    HeaderChecksum,
    Checksum,
    NoChecksum,
    /// So many bytes behind the packet.
    Padding(u8),
    /// So many bytes are missing.
    Short(u8),
}

fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for word in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

impl Frame {
    /// The bytes on the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let length = (8 + self.payload.len()) as u16;
        let told = match self.odd {
            Odd::UdpLength(by) => length.wrapping_add_signed(by),
            _ => length,
        };
        let mut udp = [self.from_port, self.to_port, told, 0].map(u16::to_be_bytes).concat();
        udp.extend(&self.payload);
        let ends = [octets(self.from), octets(self.to)].concat();
        // The checksum covers what the header of the datagram says.
        let pseudo = [&ends[..], &[0, 17], &told.to_be_bytes()].concat();
        let checksum = match (self.odd, !sum(&[&pseudo, &udp])) {
            (Odd::NoChecksum, _) => 0,
            (Odd::Checksum, right) => right ^ 0x1234,
            (_, 0) => 0xffff,
            (_, right) => right,
        };
        udp[6..8].copy_from_slice(&checksum.to_be_bytes());
        let packet = match self.from {
            IpAddr::V4(_) => self.ipv4(&ends, &udp),
            IpAddr::V6(_) => self.ipv6(&ends, &udp),
        };
        let mut frame = [self.to_station, self.from_station].concat();
        if let Odd::Vlan(tag) = self.odd {
            frame.extend([0x81, 0].iter().chain(&tag.to_be_bytes()));
        }
        frame.extend(if self.from.is_ipv4() { [8, 0] } else { [0x86, 0xdd] });
        frame.extend(packet);
        match self.odd {
            Odd::Padding(more) => frame.extend(vec![0xaa; more.into()]),
            Odd::Short(less) => frame.truncate(frame.len() - usize::from(less).min(frame.len() - 14)),
            _ => {}
        }
        frame
    }

    fn ipv4(&self, ends: &[u8], udp: &[u8]) -> Vec<u8> {
        let options: &[u8] = if self.odd == Odd::Options { &[1, 1, 1, 0] } else { &[] };
        let mut length = (20 + options.len() + udp.len()) as u16;
        let (mut class, mut hops, mut protocol, mut fragment) = (0, 61, 17, [0, 0]);
        match self.odd {
            Odd::Length(by) => length = length.wrapping_add_signed(by),
            Odd::Class(value) => class = value,
            Odd::Hops(value) => hops = value,
            Odd::Protocol(value) => protocol = value,
            Odd::Fragment => fragment = [0x20, 0],
            Odd::DontFragment => fragment = [0x40, 0],
            _ => {}
        }
        let mut header = vec![0x45 + (options.len() / 4) as u8, class];
        header.extend(length.to_be_bytes());
        header
            .extend([0, 7].iter().chain(&fragment).chain(&[hops, protocol, 0, 0]).chain(ends).chain(options));
        let broken = if self.odd == Odd::HeaderChecksum { 0x0101 } else { 0 };
        let checksum = !sum(&[&header]) ^ broken;
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header.extend(udp);
        header
    }

    fn ipv6(&self, ends: &[u8], udp: &[u8]) -> Vec<u8> {
        // Destination options that say nothing.
        let extension: &[u8] = if self.odd == Odd::Options { &[17, 0, 1, 4, 0, 0, 0, 0] } else { &[] };
        let fragment: &[u8] = if self.odd == Odd::Fragment { &[17, 0, 0, 1, 0, 0, 0, 9] } else { &[] };
        let mut length = (extension.len() + fragment.len() + udp.len()) as u16;
        let (mut class, mut hops, mut next) = (0, 61, 17);
        match self.odd {
            Odd::Length(by) => length = length.wrapping_add_signed(by),
            Odd::Class(value) => class = value,
            Odd::Hops(value) => hops = value,
            Odd::Protocol(value) => next = value,
            Odd::Options => next = 60,
            Odd::Fragment => next = 44,
            _ => {}
        }
        let mut packet = (0x6000_0000_u32 | u32::from(class) << 20).to_be_bytes().to_vec();
        packet.extend(length.to_be_bytes());
        packet.extend([next, hops].iter().chain(ends).chain(extension).chain(fragment).chain(udp));
        packet
    }
}

/// An answer as its receiver gets it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Answer {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) to_port: u16,
    pub(super) hops: u8,
    pub(super) class: u8,
    pub(super) payload: Vec<u8>,
}

/// Reads a frame: the port that it comes from, the answer, and whether its checksum is right. `None` for what is no whole datagram
/// to `station`.
pub(super) fn read(frame: &[u8], station: [u8; 6]) -> Option<(u16, Answer, bool)> {
    if frame.get(..6)? != station {
        return None;
    }
    let packet = frame.get(14..)?;
    let (from, to, hops, class, udp): (IpAddr, IpAddr, u8, u8, &[u8]) = match frame.get(12..14)? {
        [8, 0] if packet.first()? == &0x45 && packet.get(9)? == &17 && packet.get(6)? & 0x3f == 0 => {
            let length = usize::from(u16::from_be_bytes(packet[2..4].try_into().ok()?));
            assert_eq!(sum(&[&packet[..20]]), 0xffff, "a wrong checksum of the header");
            let address =
                |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
            (address(12).into(), address(16).into(), packet[8], packet[1], packet.get(20..length)?)
        }
        [0x86, 0xdd] if packet.get(6)? == &17 => {
            let length = usize::from(u16::from_be_bytes(packet[4..6].try_into().ok()?));
            let address = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).map(IpAddr::from);
            let class = packet[0] << 4 | packet[1] >> 4;
            (address(8).ok()?, address(24).ok()?, packet[7], class, packet.get(40..40 + length)?)
        }
        _ => return None,
    };
    let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    let pseudo = [octets(from), octets(to), vec![0, 17], udp[4..6].to_vec()].concat();
    let right = port(6) != 0 && sum(&[&pseudo, udp]) == 0xffff;
    let answer = Answer { from, to, to_port: port(2), hops, class, payload: udp[8..].to_vec() };
    Some((port(0), answer, right))
}

/// An end of a cable.
pub(super) struct Wire {
    socket: OwnedFd,
    pub(super) station: [u8; 6],
}

impl Wire {
    /// The end of this name in the namespace of this thread.
    pub(super) fn new(name: &str) -> Self {
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
                .unwrap();
        // Also where the limit for everybody is lower.
        setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).unwrap();
        let all = getifaddrs().unwrap().filter(|interface| interface.interface_name == name);
        let address = all.filter_map(|interface| interface.address?.as_link_addr().copied()).next().unwrap();
        // Without a protocol of its own the address keeps that of the socket.
        bind(socket.as_raw_fd(), &address).unwrap();
        let station = address.addr().unwrap_or_default();
        Self { socket, station }
    }

    pub(super) fn send(&self, frame: &[u8]) {
        loop {
            match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(length) => return assert_eq!(length, frame.len()),
                Err(nix::errno::Errno::EINTR | nix::errno::Errno::ENOBUFS) => {}
                Err(error) => panic!("cannot send {} bytes: {error}", frame.len()),
            }
        }
    }

    /// The next frame, if there is one.
    pub(super) fn receive<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        match recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => Some(&buffer[..length]),
            Err(error) if std::io::Error::from(error).kind() == ErrorKind::WouldBlock => None,
            Err(nix::errno::Errno::EINTR) => self.receive(buffer),
            Err(error) => panic!("cannot receive: {error}"),
        }
    }
}

/// All answers that arrive until `is_over` has seen what it waits for, by the port that they come from; and for each port how many
/// had a wrong checksum, which no socket would receive.
pub(super) fn collect(
    wire: &Wire,
    mut is_over: impl FnMut(u16, &Answer) -> bool,
) -> (BTreeMap<u16, Vec<Answer>>, BTreeMap<u16, u64>) {
    let (mut all, mut wrong) = (BTreeMap::<u16, Vec<Answer>>::new(), BTreeMap::new());
    let mut buffer = vec![0; 70_000];
    crate::harness::eventually("the last answer", || {
        while let Some(frame) = wire.receive(&mut buffer) {
            let Some((port, answer, right)) = read(frame, wire.station) else { continue };
            if !right {
                *wrong.entry(port).or_insert(0) += 1;
                continue;
            }
            if is_over(port, &answer) {
                return Some(());
            }
            all.entry(port).or_default().push(answer);
        }
        None
    });
    (all, wrong)
}
