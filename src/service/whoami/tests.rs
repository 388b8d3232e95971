//! The line: what is in it, and that nothing that a peer or a proxy chose can break it.

use std::time::Duration;

use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

use super::*;
use crate::{
    service::request::{FieldBytes, ProxyCommand, ProxyFields, ProxyTls},
    sys::request_notes::RequestNotes,
};

fn whoami() -> Whoami {
    let place = Place { hostname: "reflector".into(), node: None, pod: Some("echod-7".into()) };
    let now = || SystemTime::UNIX_EPOCH + Duration::new(1_795_414_518, 7);
    Whoami(Arc::new(Server { listener: "it".into(), protocol: Protocol::Tcp, place, now }))
}

/// The line over a connection whose transport has a buffer of `room` bytes.
fn told(info: &RequestInfo<'_>, room: usize) -> Vec<u8> {
    let mut session = whoami().connect();
    session.introduce(info);
    let (mut buffer, mut line, mut event) = (vec![0; room], Vec::new(), SessionEvent::Opened);
    loop {
        let (n, is_last) = match session.respond(event, &mut buffer) {
            Next::Send(n) => (n, false),
            Next::SendThenClose(n) => (n, true),
            Next::Listen => panic!("it waits for nothing"),
        };
        line.extend_from_slice(&buffer[..n]);
        if is_last {
            return line;
        }
        event = SessionEvent::Drained;
    }
}

fn read(line: &[u8]) -> Value {
    assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1), "one line");
    serde_json::from_slice(line).unwrap()
}

#[test]
fn everything_that_is_known_is_told() {
    let info = RequestInfo {
        peer: RequestAddress::Inet("192.0.2.1:40000".parse().unwrap()),
        local: RequestAddress::Inet("[::ffff:192.0.2.2]:7".parse().unwrap()),
        proxy: Some(ProxyInfo {
            version: 2,
            command: ProxyCommand::Proxy,
            source: RequestAddress::Inet("[2001:db8::7]:5".parse().unwrap()),
            destination: RequestAddress::Path(b"/run/x"),
            fields: ProxyFields {
                alpn: Some(FieldBytes(b"h2")),
                unique_id: Some(FieldBytes(b"\xff")),
                azure_link_id: Some(0x0102_0304),
                ssl: Some(ProxyTls { tls: true, cn: Some(FieldBytes(b"client")), ..ProxyTls::default() }),
                ..ProxyFields::default()
            },
        }),
        process: Some(Credentials { pid: 0, uid: 1000, gid: 100 }),
        notes: RequestNotes { hops: Some(63), traffic_class: Some(0xb9), stamp: None, sender: None },
    };
    let expected = json!({
        "service": "whoami", "listener": "it", "protocol": "tcp",
        "peer": {"address": "192.0.2.1", "port": 40000},
        "local": {"address": "192.0.2.2", "port": 7},
        "proxy": {
            "version": 2, "command": "proxy",
            "source": {"address": "2001:db8::7", "port": 5}, "destination": {"address": "/run/x"},
            "alpn": "h2", "unique_id": {"hex": "ff"}, "azure_link_id": 16_909_060,
            "ssl": {"tls": true, "certificate": false, "verified": false, "cn": "client"},
        },
        "process": {"uid": 1000, "gid": 100},
        "ttl": 63, "dscp": 46, "ecn": 1,
        "received": "2026-11-23T06:15:18.000000007Z", "received_by": "server",
        "server": {"hostname": "reflector", "pod": "echod-7"},
    });
    assert_eq!(read(&told(&info, 4096)), expected);
    assert_eq!(read(&told(&info, 1)), expected, "in pieces");
    assert!(told(&info, 4096).starts_with(b"{\"service\":\"whoami\",\"listener\":"));
}

#[test]
fn the_stamp_of_the_kernel_counts() {
    let stamp = Some(1_795_414_518_123_456_789);
    let info =
        RequestInfo { notes: RequestNotes { stamp, ..RequestNotes::default() }, ..RequestInfo::default() };
    let line = read(&told(&info, 4096));
    assert_eq!(
        (&line["received"], &line["received_by"]),
        (&json!("2026-11-23T06:15:18.123456789Z"), &json!("kernel"))
    );
    assert_eq!((line.get("peer"), line.get("proxy"), line.get("ttl")), (None, None, None));
}

#[test]
fn a_name_has_a_limit_as_it_is_written() {
    let cut = |name: &str| short(name.to_owned(), 253);
    assert_eq!(cut(""), "");
    assert_eq!(cut("worker-7"), "worker-7");
    assert_eq!(cut(&"x".repeat(300)), "x".repeat(253));
    // A character of two bytes does not fit by halves, and one that is escaped not by parts.
    assert_eq!(cut(&"\u{e4}".repeat(200)), "\u{e4}".repeat(126));
    assert_eq!(cut(&"\u{1}".repeat(300)), "\u{1}".repeat(42));
    assert_eq!(cut(&("\"".repeat(126) + "\"x")), "\"".repeat(126));
}

/// The bytes that the documents say are long enough.
const PADDED: usize = 1200;

/// The longest of everything at once: what is documented as long enough for every answer is.
#[test]
fn the_longest_line_fits_the_padding() {
    let inet = RequestAddress::Inet(std::net::SocketAddr::V6(std::net::SocketAddrV6::new(
        "febf:1234:1234:1234:1234:1234:1234:1234".parse().unwrap(),
        u16::MAX,
        0,
        u32::MAX,
    )));
    for filler in ["\u{1}", "\"", "\u{e4}", "x", "\n", "\u{fffd}", "\u{10ffff}"] {
        let name = filler.repeat(1000);
        let socket: Vec<u8> = filler.bytes().cycle().take(107).collect();
        let unix = RequestAddress::Abstract(&socket);
        for (protocol, address) in [(Protocol::Udp, inet), (Protocol::UnixDatagram, unix)] {
            let longest = Longest::of(protocol);
            let of_place = || Some(short(name.clone(), longest.place));
            let hostname = short(name.clone(), LONGEST_HOSTNAME);
            let place = Place { hostname, node: of_place(), pod: of_place() };
            let listener = short(name.clone(), longest.listener);
            let whoami =
                Whoami(Arc::new(Server { listener, protocol, place, now: || SystemTime::UNIX_EPOCH }));
            let sender =
                protocol.is_unix().then_some(Credentials { pid: u32::MAX, uid: u32::MAX, gid: u32::MAX });
            let notes =
                RequestNotes { hops: Some(255), traffic_class: Some(255), stamp: Some(u64::MAX), sender };
            let info = RequestInfo { peer: address, local: address, notes, ..RequestInfo::default() };
            let mut buffer = vec![0; 65_536];
            let length = whoami.described_datagram(&mut buffer, 0, &info).unwrap();
            assert!(length <= PADDED, "{protocol} {filler:?}: {length} bytes");
            assert!(length > 900, "{protocol} {filler:?}: only {length} bytes");
            read(&buffer[..length]);
        }
    }
}

#[test]
fn a_datagram_is_answered_with_the_same_line() {
    let mut buffer = vec![0; 65_536];
    let n = whoami().datagram(&mut buffer, 0).unwrap();
    assert_eq!(buffer[..n], told(&RequestInfo::default(), 4096));
    assert_eq!(whoami().datagram(&mut buffer[..n - 1], 0), None);
    assert_eq!(whoami().datagram(&mut [], 0), None);
}

proptest! {
    #[test]
    fn no_bytes_break_the_line(
        texts in vec(option::of(vec(any::<u8>(), 0..600)), 8),
        path in vec(any::<u8>(), 0..108),
        room in 1..5000_usize,
    ) {
        let field = |at: usize| texts[at].as_deref().map(FieldBytes);
        let ssl = ProxyTls { version: field(0), cn: field(1), cipher: field(2), ..ProxyTls::default() };
        let fields = ProxyFields {
            alpn: field(3),
            authority: field(4),
            unique_id: field(5),
            netns: field(6),
            aws_vpce_id: field(7),
            azure_link_id: None,
            ssl: Some(ssl),
        };
        let proxy = ProxyInfo { source: RequestAddress::of_sun_path(&path), fields, ..ProxyInfo::default() };
        let info = RequestInfo { peer: RequestAddress::of_sun_path(&path), proxy: Some(proxy), ..RequestInfo::default() };
        let line = read(&told(&info, room));
        let is_as_sent = |told: &Value, at: usize| match texts[at].as_deref().map(std::str::from_utf8) {
            None => told.is_null(),
            Some(Ok(text)) => told == text,
            Some(Err(_)) => told["hex"].as_str().is_some_and(|hex| hex.len() == 2 * texts[at].as_ref().map_or(0, Vec::len)),
        };
        prop_assert!(is_as_sent(&line["proxy"]["ssl"]["cn"], 1));
        prop_assert!(is_as_sent(&line["proxy"]["authority"], 4));
        prop_assert!(is_as_sent(&line["proxy"]["aws_vpce_id"], 7));
    }
}
