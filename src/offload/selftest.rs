//! The self-test: the kernel runs the program with a frame of each kind, and verdict and bytes must be those that are expected. It
//! runs before any interface has the program, and at each reload. A kernel whose program does otherwise is not asked to echo.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use super::maps::{self, LOOPBACK, Maps, NetworkList, SLOTS};
use crate::sys::bpf::Program;

/// The loopback interface, which has this number in every network namespace.
const LO: u32 = 1;
/// The listener of the test.
pub(super) const SLOT: u32 = SLOTS - 1;
/// No socket has port 0, so no real datagram can be answered by mistake.
const PORT: u16 = 0;
const DENIED: u16 = 4000;
const CLIENT: u16 = 40_000;

/// The verdicts: the next program or the stack, and away by the interface.
const PASS: i32 = -1;
const REDIRECT: i32 = 7;

/// Where the headers begin, and the port that a client sent from.
const IP: usize = 14;
const UDP4: usize = IP + 20;
const UDP6: usize = IP + 40;

/// A datagram from port 40000 of 127.0.0.2 in an Ethernet frame, and its answer. The checksum of UDP is not looked at, unless it is 0.
const REQUEST4: [u8; 45] = frame4([[127, 0, 0, 2], [127, 0, 0, 1]], [CLIENT, PORT]);
const ANSWER4: [u8; 45] = frame4([[127, 0, 0, 1], [127, 0, 0, 2]], [PORT, CLIENT]);
/// The same over IPv6, with fewer hops to go.
const REQUEST6: [u8; 65] = frame6(7, [CLIENT, PORT]);
const ANSWER6: [u8; 65] = frame6(64, [PORT, CLIENT]);

/// What is changed in a request: bytes at an offset. An IPv4 header gets its checksum afterwards.
type Change = (usize, &'static [u8]);

/// What is not answered over IPv4, and over IPv6.
const PASSED4: [Change; 10] = [
    // An option, a class, a length, a fragment, another protocol.
    (IP, &[0x46]),
    (IP + 1, &[0x10]),
    (IP + 3, &[0x20]),
    (IP + 6, &[0x20]),
    (IP + 9, &[6]),
    // A foreign source, a broadcast source, another destination.
    (IP + 12, &[192]),
    (IP + 15, &[255]),
    (IP + 19, &[9]),
    // A denied port, no checksum.
    (UDP4, &DENIED.to_be_bytes()),
    (UDP4 + 6, &[0, 0]),
];
const PASSED6: [Change; 8] = [
    // A class, another version, an IPv4 address in IPv6.
    (IP, &[0x61]),
    (IP, &[0x40]),
    (IP + 24, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1]),
    // An extension header, a foreign source.
    (IP + 6, &[0]),
    (IP + 8, &[0x20]),
    // A denied port, another destination port, no checksum.
    (UDP6, &DENIED.to_be_bytes()),
    (UDP6 + 2, &[1]),
    (UDP6 + 6, &[0, 0]),
];

/// Runs the test. It leaves nothing in the maps but what it has counted.
///
/// # Errors
/// Says what the kernel does otherwise.
pub(super) fn run(maps: &Maps, program: &Program) -> Result<(), String> {
    let filled = fill(maps, true).map_err(|error| format!("its maps cannot be filled: {error}"));
    let result = filled.and_then(|()| check(program));
    let cleared = fill(maps, false).map_err(|error| format!("its maps cannot be cleared: {error}"));
    result.and(cleared)
}

/// Fills the maps for the test, or clears them.
fn fill(maps: &Maps, is_asked: bool) -> io::Result<()> {
    maps.set_listener(SLOT, 0, 0)?;
    maps.set_ports(SLOT, u32::from(DENIED / 64), u64::from(is_asked) << (DENIED % 64))?;
    for address in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let place = maps::place(LO, address, PORT);
        let everybody = maps::listed(SLOT, NetworkList::Clients, IpNet::new_assert(address, 0));
        if is_asked {
            maps.networks.update(&everybody, &1_u32.to_ne_bytes())?;
            maps.places.update(&place, &maps::destination(SLOT, LOOPBACK))?;
        } else {
            maps.places.delete(&place)?;
            maps.networks.delete(&everybody)?;
        }
    }
    Ok(())
}

fn check(program: &Program) -> Result<(), String> {
    let families = [(&REQUEST4[..], &ANSWER4[..], &PASSED4[..]), (&REQUEST6[..], &ANSWER6[..], &PASSED6[..])];
    for (request, answer, changes) in families {
        expect(program, request, (REDIRECT, answer))?;
        for (at, bytes) in changes {
            let mut frame = request.to_vec();
            frame[*at..at + bytes.len()].copy_from_slice(bytes);
            if request == REQUEST4 {
                let header = &mut frame[IP..UDP4];
                header[10..12].fill(0);
                let sum = checksum(header);
                header[10..12].copy_from_slice(&sum);
            }
            expect(program, &frame, (PASS, &frame))?;
        }
    }
    let mut broken = REQUEST4;
    broken[IP + 10] ^= 1;
    expect(program, &broken, (PASS, &broken))
}

fn expect(program: &Program, frame: &[u8], expected: (i32, &[u8])) -> Result<(), String> {
    let (verdict, after) =
        program.test_run(frame, LO, 0).map_err(|error| format!("it cannot be tried: {error}"))?;
    if (verdict, after.as_slice()) == expected {
        return Ok(());
    }
    let expected = expected.0;
    Err(format!("verdict {verdict} instead of {expected}, or other bytes, for the frame {frame:02x?}"))
}

const fn frame4(addresses: [[u8; 4]; 2], ports: [u16; 2]) -> [u8; 45] {
    let mut frame = [0; 45];
    put(&mut frame, 12, &[8, 0, 0x45, 0, 0, 31, 0, 7, 0x40, 0, 64, 17]);
    put(&mut frame, IP + 12, addresses.as_flattened());
    let sum = checksum(frame.split_at(IP).1.split_at(20).0);
    put(&mut frame, IP + 10, &sum);
    put(&mut frame, UDP4, &datagram(ports));
    frame
}

const fn frame6(hops: u8, ports: [u16; 2]) -> [u8; 65] {
    let mut frame = [0; 65];
    put(&mut frame, 12, &[0x86, 0xdd, 0x60, 0, 0, 9, 0, 11, 17, hops]);
    put(&mut frame, IP + 8, &Ipv6Addr::LOCALHOST.octets());
    put(&mut frame, IP + 24, &Ipv6Addr::LOCALHOST.octets());
    put(&mut frame, UDP6, &datagram(ports));
    frame
}

const fn datagram([from, to]: [u16; 2]) -> [u8; 11] {
    let ([a, b], [c, d]) = (from.to_be_bytes(), to.to_be_bytes());
    [a, b, c, d, 0, 11, 0x12, 0x34, b'h', b'a', b'!']
}

const fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    frame.split_at_mut(at).1.split_at_mut(bytes.len()).0.copy_from_slice(bytes);
}

/// The checksum of an IPv4 header, in which its place is 0.
const fn checksum(header: &[u8]) -> [u8; 2] {
    let (mut sum, mut at) = (0, 0);
    while at < header.len() {
        sum += u16::from_be_bytes([header[at], header[at + 1]]) as u32;
        at += 2;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::program;

    #[test]
    fn this_kernel_passes() {
        let maps = match Maps::create() {
            Ok(maps) => maps,
            Err(error) => return eprintln!("SKIPPED: bpf(2) cannot be used here ({error})"),
        };
        let program = program::load(&maps).unwrap();
        run(&maps, &program).unwrap();
        let counters = maps.counters(SLOT).unwrap();
        assert_eq!(
            counters,
            [2, 6, 4 + 3, 2 + 1, 2, 0, 0, 0],
            "sent, bytes, odd, source, port, rules, victim, withheld"
        );
        // What is left does not answer.
        assert_eq!(program.test_run(&REQUEST4, LO, 0).unwrap(), (PASS, REQUEST4.to_vec()));
    }
}
