//! The checks that need nothing but the datagram itself, as a socket filter in classic BPF (see "Linux Socket
//! Filtering" in the kernel's documentation). A datagram that it drops wakes no worker.
//!
//! At a UDP socket a program sees the datagram from its UDP header on; it reaches the IP header before it by offsets
//! from `SKF_NET_OFF`, which is slower. An IPv6 socket may receive IPv4 packets, so its program tests the version.

use super::ports::PortSet;
use crate::sys::socket_filter::{Instruction, LONGEST};

/// Load 4, 2 or 1 bytes, in network byte order.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_NOT_LESS: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Offset of the IP header: `SKF_NET_OFF`.
const IP: u32 = 0xfff0_0000;

/// A program returns how many bytes of the datagram may pass.
const PASS: Instruction = Instruction { code: RETURN, yes: 0, no: 0, k: u32::MAX };
const DROP: Instruction = Instruction { code: RETURN, yes: 0, no: 0, k: 0 };

/// The program for an IPv4 or `ipv6` socket that drops datagrams from `ports` and from martian addresses. `None` if it
/// would be too long.
pub(super) fn compile(ports: &PortSet, ipv6: bool) -> Option<Vec<Instruction>> {
    let mut program = vec![load(LOAD_HALF, 0)];
    // Most clients have a port above the highest of these: one comparison for them.
    let mut list = Vec::new();
    for &(first, last) in ports.ranges() {
        if first == last {
            list.push(jump(IF_EQUAL, u32::from(first), 0, 1));
        } else {
            list.push(jump(IF_NOT_LESS, u32::from(first), 0, 2));
            list.push(jump(IF_GREATER, u32::from(last), 1, 0));
        }
        list.push(DROP);
    }
    program.push(jump(IF_GREATER, u32::from(ports.highest()), 0, 1));
    program.push(Instruction { code: JUMP, yes: 0, no: 0, k: list.len() as u32 });
    program.append(&mut list);

    let mut v4 = source_v4();
    if ipv6 {
        program.extend([load(LOAD_BYTE, IP), Instruction { code: AND, yes: 0, no: 0, k: 0xf0 }]);
        program.push(jump(IF_EQUAL, 0x40, 0, v4.len() as u8));
    }
    program.append(&mut v4);
    if ipv6 {
        program.push(jump(IF_EQUAL, 0x60, 1, 0));
        program.push(PASS);
        program.append(&mut source_v6());
    }
    (program.len() <= LONGEST).then_some(program)
}

/// Drops `0.0.0.0/8`, multicast and the broadcast address.
fn source_v4() -> Vec<Instruction> {
    let mut program = vec![load(LOAD_WORD, IP + 12)];
    program.extend(unless_martian());
    program
}

/// Drops the loaded IPv4 address if it is a martian, and passes any other.
fn unless_martian() -> [Instruction; 6] {
    [
        jump(IF_NOT_LESS, 0xf000_0000, 2, 0),
        jump(IF_NOT_LESS, 0xe000_0000, 3, 0),
        jump(IF_NOT_LESS, 0x0100_0000, 1, 2),
        jump(IF_EQUAL, u32::MAX, 1, 0),
        PASS,
        DROP,
    ]
}

/// Drops multicast and the unspecified address; treats an embedded IPv4 address as IPv4.
fn source_v6() -> Vec<Instruction> {
    let word = |number: u32| load(LOAD_WORD, IP + 8 + 4 * number);
    let mut program = vec![
        word(0),
        jump(IF_NOT_LESS, 0xff00_0000, 0, 1),
        DROP,
        jump(IF_EQUAL, 0, 1, 0),
        PASS,
        word(1),
        jump(IF_EQUAL, 0, 1, 0),
        PASS,
        word(2),
        jump(IF_EQUAL, 0x0000_ffff, 5, 0),
        jump(IF_EQUAL, 0, 1, 0),
        PASS,
        // `::1` is this machine: the guard decides whether it may send here.
        word(3),
        jump(IF_EQUAL, 1, 0, 1),
        PASS,
        word(3),
    ];
    program.extend(unless_martian());
    program
}

fn load(code: u16, k: u32) -> Instruction {
    Instruction { code, yes: 0, no: 0, k }
}

fn jump(code: u16, k: u32, yes: u8, no: u8) -> Instruction {
    Instruction { code, yes, no, k }
}

#[cfg(test)]
mod tests;
