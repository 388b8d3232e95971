//! Connections that come through a proxy, which says in front of them whom it speaks for (PROXY protocol).

use std::time::{Duration, Instant};

use echod::report::close_reason::CloseKind;
use nix::sys::signal::Signal;

use super::Combination;
use crate::harness::{Client, Echod, MIB, pattern};

const LINE: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 7\r\n";
const CARRIED: &str = "tcp://203.0.113.7:40000 through ";

/// Version 2: for a client at [2001:db8::7]:40000, with a field that is to be skipped.
fn binary() -> Vec<u8> {
    let (source, destination) = ([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], [0; 16]);
    let fields = [4, 0, 3, b'a', b'b', b'c'];
    let length = [0, 16 + 16 + 4 + 6];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x21"[..], &length, &source, &destination, &[0x9c, 0x40, 0, 7], &fields]
        .concat()
}

/// With time for clients that a busy machine holds up.
const REQUIRED: &str = "proxy-protocol = \"required\"\nproxy-header-timeout = \"1m\"";
const OPTIONAL: &str = "proxy-protocol = \"optional\"\nproxy-header-timeout = \"1m\"";

fn start(combination: Combination, keys: &str) -> Echod {
    combination.start_with("", &format!("payload = \"text\"\n{keys}"))
}

/// The header is not echoed, what comes with it is, and the log tells of both addresses.
pub(super) fn required(combination: Combination) {
    let daemon = start(combination, REQUIRED);
    let client = daemon.client("it");
    client.send(&[LINE, b"with it"].concat());
    assert_eq!(client.receive(7), b"with it");
    client.echo(b"afterwards");
    let client = finished(client);
    daemon.wait_log(|line| line.contains(CARRIED) && line.contains("wrote 7 bytes"));
    daemon.wait_log(|line| line.contains(CARRIED) && line.contains("17 bytes in, 17 bytes out: peer closed"));
    drop(client);
    let client = daemon.client("it");
    client.send(&binary());
    client.echo(b"later");
    finished(client);
    daemon.wait_log(|line| {
        line.contains("tcp://[2001:db8::7]:40000 through ") && line.contains("closed after")
    });
    daemon.wait_state("it", |state| state["received"] == 22 && state["sent"] == 22 && state["refused"] == 0);
}

/// Nothing is lost or doubled, however the header is cut, and whatever is behind it.
pub(super) fn in_pieces(combination: Combination) {
    let daemon = combination.start_with("", REQUIRED);
    for header in [LINE, &binary()] {
        let client = daemon.client("it");
        for byte in [header, b"echo"].concat() {
            client.send(&[byte]);
        }
        assert_eq!(client.receive(4), b"echo");
        drop(client);
        let client = daemon.client("it");
        let payload = pattern(MIB);
        let echo = std::thread::scope(|scope| {
            scope.spawn(|| {
                client.send(&[header, payload].concat());
                client.half_close();
            });
            client.rest()
        });
        assert!(echo == payload, "{} bytes came back", echo.len());
    }
}

/// Whoever sends something else is closed without an answer, and counted. Everybody else is served.
pub(super) fn broken(combination: Combination) {
    let daemon = combination.start_with("", REQUIRED);
    let too_long = [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat();
    let mut too_many = binary();
    too_many[14] = 0x20;
    let broken = [b"GET / HTTP/1.1\r\n\r\n", &b"PROXY TCP4 1.2.3.4\r\n"[..], &too_long, &too_many];
    for bytes in broken {
        let client = daemon.client("it");
        client.send(bytes);
        assert!(client.is_ended(), "{bytes:?}");
    }
    // Half of one, or nothing.
    for bytes in [&LINE[..20], b""] {
        let client = daemon.client("it");
        client.send(bytes);
        client.half_close();
        assert!(client.is_ended());
    }
    daemon.wait_state("it", |state| state["proxy-header"] == 6 && state["open"] == 0);
    assert_eq!((daemon.ended_by(CloseKind::Refused), daemon.state("it")["empty"]), (6, 0));
    daemon.wait_log(|line| line.contains("refused (proxy-header) after"));
    let client = daemon.client("it");
    client.send(LINE);
    client.echo(b"served");
}

/// Whoever takes too long is closed, however busy it is.
pub(super) fn slow(combination: Combination) {
    let daemon =
        combination.start_with("", "proxy-protocol = \"required\"\nproxy-header-timeout = \"300ms\"");
    let since = Instant::now();
    let client = daemon.client("it");
    let mut bytes = [b"PROXY UNKNOWN ", &[b'x'; 90][..]].concat().into_iter();
    while bytes.next().is_some_and(|byte| client.try_send(&[byte]).is_ok())
        && client.hears_nothing_for(Duration::from_millis(10))
    {}
    assert!(client.is_ended());
    assert!(since.elapsed() >= Duration::from_millis(300));
    daemon.wait_state("it", |state| state["proxy-timeout"] == 1 && state["open"] == 0);
}

/// Whoever sends no header is served too, also if it begins like one.
pub(super) fn optional(combination: Combination) {
    let daemon = combination.start_with("", OPTIONAL);
    for first in [&b"hello"[..], b"PROXX", b"\r\n\r\n\0\r\nQUIT!", b"PROXY\n"] {
        let client = daemon.client("it");
        let (one, two) = first.split_at(4);
        client.send(one);
        client.send(two);
        assert_eq!(client.receive(first.len()), first);
        client.echo(b"more");
    }
    // It could have become one.
    let client = daemon.client("it");
    client.send(b"PROX");
    client.half_close();
    assert_eq!(client.rest(), b"PROX");
    let client = daemon.client("it");
    client.send(&[LINE, b"payload"].concat());
    assert_eq!(client.receive(7), b"payload");
    finished(client);
    daemon.wait_log(|line| line.contains(CARRIED));
    daemon.wait_state("it", |state| state["refused"] == 0 && state["open"] == 0);
}

/// A client that waits for the service to speak sends no header; one that has begun with it must not stop.
pub(super) fn optional_and_silent(combination: Combination) {
    let keys = "service = \"daytime\"\nproxy-protocol = \"optional\"\nproxy-header-timeout = \"200ms\"";
    let daemon = combination.start_with("", keys);
    assert!(String::from_utf8(daemon.client("it").rest()).unwrap().ends_with("\r\n"));
    let client = daemon.client("it");
    client.send(b"PROXY TCP4 ");
    assert!(client.is_ended());
    daemon.wait_state("it", |state| state["proxy-timeout"] == 1 && state["open"] == 0);
}

/// A limit that is longer than the time for the header still counts afterwards, and one that is shorter counts before.
pub(super) fn with_limits(combination: Combination) {
    let keys = "proxy-protocol = \"required\"\nproxy-header-timeout = \"250ms\"\nidle-timeout = \"700ms\"";
    let daemon = combination.start_with("", keys);
    // On a busy machine this client itself may be held up for longer than the header may take: then it has another try.
    let is_served = |client: &Client| {
        let sent = client.try_send(&[LINE, b"x"].concat());
        sent.is_ok() && client.read(&mut [0]).is_ok_and(|length| length == 1)
    };
    let in_time = (0..20).map(|_| daemon.client("it")).find(is_served);
    let (client, since) = (in_time.expect("a client that is served"), Instant::now());
    assert!(client.rest().is_empty());
    // It began before the echo was here.
    assert!(since.elapsed() >= Duration::from_millis(400));
    drop(client);
    daemon.wait_state("it", |state| {
        state["idle-timeout"] == 1 && state["open"] == 0 && state["refused"] == state["proxy-timeout"]
    });
    let daemon = combination.start_with("", &format!("{REQUIRED}\nidle-timeout = \"200ms\""));
    let client = daemon.client("it");
    assert!(client.rest().is_empty());
    drop(client);
    daemon.wait_state("it", |state| state["idle-timeout"] == 1 && state["open"] == 0);
    // The header is none of the bytes that are counted.
    let daemon = combination.start_with("", &format!("{REQUIRED}\nmax-bytes = 4"));
    let client = daemon.client("it");
    client.send(&[LINE, b"12345"].concat());
    assert_eq!(client.rest(), b"1234");
}

/// Whoever has not told yet whom it speaks for when the daemon stops is let go as politely as everybody.
pub(super) fn stopped(combination: Combination) {
    let mut daemon = combination.start_with("drain-timeout = \"60s\"", REQUIRED);
    let first = daemon.client("it");
    first.send(&LINE[..10]);
    first.wait_arrived();
    daemon.wait_state("it", |state| state["open"] == 1);
    daemon.signal(Signal::SIGTERM);
    assert!(first.rest().is_empty());
    drop(first);
    daemon.expect_success();
}

/// Ends a connection, and waits for its end at the other side.
fn finished(client: Client) -> Client {
    client.half_close();
    assert!(client.rest().is_empty());
    client
}
