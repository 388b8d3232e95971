//! Differential tests against another parser, with valid, mutated and truncated headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ppp::{HeaderResult, PartialResult};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// What the other parser makes of the same bytes.
fn other(bytes: &[u8]) -> Reading {
    let whole = |length, source| Reading::Whole { length, source };
    // The other parser interprets the part of a LOCAL header that is to be ignored.
    if let Some(&[0x20, _, high, low]) = bytes.get(12..16).filter(|_| bytes.starts_with(v2::SIGNATURE)) {
        let length = 16 + usize::from(u16::from_be_bytes([high, low]));
        return if bytes.len() < length { Reading::Part } else { whole(length, None) };
    }
    let header = HeaderResult::parse(bytes);
    if header.is_incomplete() {
        return Reading::Part;
    }
    match header {
        HeaderResult::V1(Ok(header)) => {
            let source = match header.addresses {
                ppp::v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
                ppp::v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
                ppp::v1::Addresses::Unknown => None,
            };
            whole(header.header.len(), source)
        }
        HeaderResult::V2(Ok(header)) => {
            use ppp::v2::{Addresses, Command, Protocol};
            let source = match (header.command, header.protocol, header.addresses) {
                (Command::Proxy, Protocol::Stream, Addresses::IPv4(ip)) => {
                    Some((ip.source_address, ip.source_port).into())
                }
                (Command::Proxy, Protocol::Stream, Addresses::IPv6(ip)) => {
                    Some((ip.source_address, ip.source_port).into())
                }
                _ => None,
            };
            // The other parser reads optional fields only on request, verifies no checksum, and has no limit but that
            // of the length field.
            let fields = header.tlv_bytes().len();
            let too_many = header.addresses != Addresses::Unspecified && fields > 4096
                || header.addresses == Addresses::Unspecified && header.length() > 4096;
            let unspecified = header.addresses == Addresses::Unspecified;
            let tlvs = match unspecified {
                true => ppp::v2::TypeLengthValues::from(&header.as_bytes()[16..]).collect::<Vec<_>>(),
                false => header.tlvs().collect::<Vec<_>>(),
            };
            match too_many || tlvs.iter().any(Result::is_err) {
                true => Reading::Broken,
                false => whole(header.len(), source),
            }
        }
        _ => Reading::Broken,
    }
}

/// A line of version 1, valid or nearly so.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let v4 =
        any::<(u32, u32)>().prop_map(|(a, b)| ("TCP4", Ipv4Addr::from(a).into(), Ipv4Addr::from(b).into()));
    let v6 =
        any::<(u128, u128)>().prop_map(|(a, b)| ("TCP6", Ipv6Addr::from(a).into(), Ipv6Addr::from(b).into()));
    let addresses = prop_oneof![v4, v6];
    let right = (addresses, any::<(u16, u16)>()).prop_map(|(addresses, (from, to))| {
        let (group, source, destination): (&str, IpAddr, IpAddr) = addresses;
        format!("PROXY {group} {source} {destination} {from} {to}\r\n")
    });
    let unknown = "PROXY UNKNOWN( [a-f0-9:]{0,30}){0,4}\r\n";
    let nearly =
        "PROXY (TCP4|TCP6|UNKNOWN|UDP4|) ?[0-9.:]{0,20} ?[0-9.:]{0,20} ?[0-9]{0,6} ?[0-9]{0,6} ?\r?\n?";
    prop_oneof![
        right.prop_map(String::into_bytes),
        unknown.prop_map(String::into_bytes),
        nearly.prop_map(String::into_bytes)
    ]
}

/// A header of version 2, valid or nearly so.
fn binary() -> impl Strategy<Value = Vec<u8>> {
    let command = prop_oneof![9 => Just(0x21_u8), 3 => Just(0x20), 1 => any::<u8>()];
    let group = prop_oneof![9 => select(&[0x11_u8, 0x21, 0x31, 0x00, 0x12][..]), 1 => any::<u8>()];
    let field = (prop_oneof![4 => 4..=255_u8, 1 => Just(1)], vec(any::<u8>(), 0..60));
    let fields = vec(field, 0..5);
    let slip = prop_oneof![9 => Just(0_i32), 1 => -20..20_i32, 1 => Just(5000)];
    (command, group, vec(any::<u8>(), 216), fields, slip).prop_map(
        |(command, group, addresses, fields, slip)| {
            let length = match group >> 4 {
                1 => 12,
                2 => 36,
                3 => 216,
                _ => 0,
            };
            let mut body = addresses[..length].to_vec();
            for (kind, value) in fields {
                body.push(kind);
                body.extend((value.len() as u16).to_be_bytes());
                body.extend(value);
            }
            let declared = (body.len() as i32 + slip).clamp(0, 65_535) as u16;
            [v2::SIGNATURE, &[command, group], &declared.to_be_bytes(), &body].concat()
        },
    )
}

/// Changes a byte of some headers, and appends payload.
fn mutated(header: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = prop_oneof![3 => Just(None), 1 => any::<(prop::sample::Index, u8)>().prop_map(Some)];
    (header, change, vec(any::<u8>(), 0..6000)).prop_map(|(mut header, change, payload)| {
        if let Some((at, byte)) = change {
            let at = at.index(header.len());
            header[at] = byte;
        }
        header.extend(payload);
        header
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn another_reader_reads_the_same_lines(bytes in mutated(line())) {
        let (ours, other) = (read(&bytes), other(&bytes));
        match (ours, other) {
            // The other parser accepts a sign in front of a port, is lenient about the end of an `UNKNOWN` line, and
            // calls some broken lines incomplete.
            (Reading::Broken | Reading::Absent, Reading::Whole { length, .. }) => {
                let lenient = bytes[..length].contains(&b'+') || bytes.starts_with(b"PROXY UNKNOWN");
                prop_assert!(lenient, "{:?}", ours);
            }
            (Reading::Broken | Reading::Absent, Reading::Part) => {}
            (Reading::Absent, Reading::Broken) => {}
            // The other parser refuses some partial lines early, and validates what follows `UNKNOWN`, which is to be
            // ignored.
            (Reading::Part, Reading::Broken) => {}
            (Reading::Whole { source: None, .. }, Reading::Broken | Reading::Part) => {
                prop_assert!(bytes.starts_with(b"PROXY UNKNOWN"));
            }
            (ours, other) => prop_assert_eq!(ours, other),
        }
    }

    #[test]
    fn another_reader_reads_the_same_binary_headers(bytes in mutated(binary())) {
        // Without the signature it is not this version.
        prop_assume!(bytes.starts_with(v2::SIGNATURE));
        match (read(&bytes), other(&bytes)) {
            // Our parser does not wait for the rest of a header that is too long.
            (Reading::Broken, Reading::Part) => prop_assert!(u16::from_be_bytes([bytes[14], bytes[15]]) > 4096),
            // A changed byte may have turned a field into a checksum.
            (Reading::Broken, Reading::Whole { length, .. }) => prop_assert!(bytes[16..length].contains(&3)),
            (ours, other) => prop_assert_eq!(ours, other),
        }
    }

    /// Every prefix of a header is a part of one; with its last byte it is complete.
    #[test]
    fn a_header_may_come_in_pieces(header in prop_oneof![line(), binary()]) {
        let whole = read(&header);
        prop_assume!(whole == Reading::Whole { length: header.len(), source: source(whole) });
        for cut in 0..header.len() {
            prop_assert_eq!(read(&header[..cut]), Reading::Part, "after {} bytes", cut);
        }
    }

    /// More bytes never change a decision.
    #[test]
    fn a_decision_is_final(bytes in prop_oneof![mutated(line()), mutated(binary()), vec(any::<u8>(), 0..200)]) {
        let mut decided = None;
        for cut in 0..=bytes.len().min(LONGEST) {
            let reading = read(&bytes[..cut]);
            match decided {
                None if reading != Reading::Part => decided = Some(reading),
                None => {}
                Some(before) => prop_assert_eq!(reading, before, "after {} bytes", cut),
            }
        }
        prop_assert!(decided.is_some() || bytes.len() < LONGEST);
    }
}

fn source(reading: Reading) -> Option<SocketAddr> {
    match reading {
        Reading::Whole { source, .. } => source,
        _ => None,
    }
}

#[test]
fn lines_are_read() {
    let whole = |length, source: &str| Reading::Whole { length, source: source.parse().ok() };
    for (text, reading) in [
        ("PROXY TCP4 203.0.113.7 192.0.2.1 40000 7\r\nhello", whole(42, "203.0.113.7:40000")),
        ("PROXY TCP6 2001:db8::7 ::1 1 65535\r\n", whole(36, "[2001:db8::7]:1")),
        ("PROXY UNKNOWN\r\n\r\n", whole(15, "")),
        ("PROXY UNKNOWN what ever\r\n", whole(25, "")),
        ("P", Reading::Part),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 40000 7\r", Reading::Part),
        ("", Reading::Part),
        ("PROXY\t", Reading::Absent),
        ("hello", Reading::Absent),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 040000 7\r\n", Reading::Broken),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 +4 7\r\n", Reading::Broken),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 4 70000\r\n", Reading::Broken),
        ("PROXY TCP4 203.0.113.7  192.0.2.1 4 7\r\n", Reading::Broken),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 4 7 \r\n", Reading::Broken),
        ("PROXY TCP4 ::1 ::1 4 7\r\n", Reading::Broken),
        ("PROXY TCP5 1.1.1.1 1.1.1.1 4 7\r\n", Reading::Broken),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 4 7\rx", Reading::Broken),
        ("PROXY \r\n", Reading::Broken),
    ] {
        assert_eq!(read(text.as_bytes()), reading, "{text:?}");
    }
}

/// 107 bytes are a valid line and 108 are not, whether or not the end of the line has arrived.
#[test]
fn lines_are_bounded() {
    let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16)).into_bytes();
    assert_eq!(read(&line(107)), Reading::Whole { length: 107, source: None });
    assert_eq!(read(&line(107)[..106]), Reading::Part);
    assert_eq!(read(&line(108)), Reading::Broken);
    assert_eq!(read(&line(200)[..107]), Reading::Broken);
}

/// A header of version 2 with these optional fields.
fn header(group: u8, addresses: &[u8], fields: &[u8]) -> Vec<u8> {
    let length = (addresses.len() + fields.len()) as u16;
    [v2::SIGNATURE, &[0x21, group], &length.to_be_bytes(), addresses, fields].concat()
}

const ADDRESSES: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0x9c, 0x40, 0, 7];

#[test]
fn optional_fields_are_skipped_up_to_a_limit() {
    let fields = |length: usize| [&[0xe0, (length >> 8) as u8, length as u8][..], &vec![7; length]].concat();
    let source = "203.0.113.7:40000".parse().ok();
    let most = header(0x11, &ADDRESSES, &fields(4093));
    assert_eq!(read(&most), Reading::Whole { length: 16 + 12 + 4096, source });
    let more = header(0x11, &ADDRESSES, &fields(4094));
    assert_eq!(read(&more), Reading::Broken);
    assert_eq!(read(&more[..16]), Reading::Broken, "it is known before they come");
    for broken in [&[1][..], &[1, 0], &[1, 0, 1], &[3, 0, 3, 0, 0, 0]] {
        assert_eq!(read(&header(0x11, &ADDRESSES, broken)), Reading::Broken, "{broken:?}");
    }
    assert_eq!(
        read(&header(0x31, &[0; 216], &fields(4093))),
        Reading::Whole { length: 16 + 216 + 4096, source: None }
    );
}

#[test]
fn a_checksum_is_verified() {
    let fields = [&[0xe0, 0, 2, 1, 2][..], &[3, 0, 4, 0, 0, 0, 0], &[4, 0, 1, 9]].concat();
    let mut sound = header(0x11, &ADDRESSES, &fields);
    let at = 16 + 12 + 5 + 3;
    let sum = crc32c::checksum(&[&sound]).to_be_bytes();
    sound[at..at + 4].copy_from_slice(&sum);
    assert_eq!(
        read(&sound),
        Reading::Whole { length: sound.len(), source: "203.0.113.7:40000".parse().ok() }
    );
    for bit in 16 * 8..sound.len() * 8 {
        let mut damaged = sound.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // A flipped bit in the field's type makes it a field other than a checksum.
        let is_kind = bit / 8 == at - 3;
        assert!(is_kind || !matches!(read(&damaged), Reading::Whole { .. }), "bit {bit}");
    }
}

#[test]
fn a_local_header_names_no_client() {
    // The family is to be ignored, and so is what follows, whatever its length.
    for group in [0x00, 0x11, 0x13, 0x21, 0x31, 0x41, 0xff] {
        for length in [0, 1, 12, 36, 4097, 65_535] {
            let mut local = header(group, &vec![0xee; length], b"");
            local[12] = 0x20;
            assert_eq!(
                read(&local[..16 + length / 2]),
                if length > 0 { Reading::Part } else { read(&local) }
            );
            local.extend(b"hello");
            assert_eq!(read(&local), Reading::Whole { length: 16 + length, source: None });
        }
    }
    for command in [0x11, 0x22, 0x30] {
        let mut broken = header(0x11, &ADDRESSES, b"");
        broken[12] = command;
        assert_eq!(read(&broken), Reading::Broken);
    }
}
