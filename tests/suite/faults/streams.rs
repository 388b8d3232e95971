//! What happens to connections. Every behaviour is tried in all modes, on tcp and unix.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{MODES, start};
use crate::harness::{Client, Echod, pattern};

/// How a connection ended for its client.
#[derive(Debug, PartialEq)]
enum End {
    Closed,
    Reset,
}

/// Everything that arrives, and how it ends.
fn everything(client: &Client) -> (Vec<u8>, End) {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 65_536]);
    loop {
        match client.read(&mut buffer) {
            Ok(0) => return (all, End::Closed),
            Ok(length) => all.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return (all, End::Reset),
            Err(error) => panic!("after {} bytes: {error}", all.len()),
        }
    }
}

/// Sends what may be cut off; whether the client was told of a reset meanwhile, of which it is told once.
fn send_some(client: &Client, length: usize) -> bool {
    let mut sent = 0;
    while sent < length {
        match client.try_send(&pattern(length)[sent..]) {
            Ok(n) => sent += n,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                return true;
            }
            Err(error) => panic!("after {sent} bytes: {error}"),
        }
    }
    false
}

/// All modes on tcp; on unix, whose sockets differ in nothing that a mode knows of, one of each kind.
pub(super) fn modes(protocol: &str) -> impl Iterator<Item = &'static str> {
    let is_tcp = protocol == "tcp";
    let kinds = ["iterative", "forking", "poll", "io-uring"];
    MODES.into_iter().filter(move |mode| is_tcp || kinds.iter().any(|kind| mode.contains(kind)))
}

pub(super) fn in_each_mode(protocol: &str, keys: &str, test: impl Fn(&Echod, &str)) {
    for mode in modes(protocol) {
        let mut daemon = start(protocol, keys, mode);
        test(&daemon, mode);
        daemon.stop();
    }
}

macro_rules! for_each_stream {
    ($($name:ident)*) => {$(
        mod $name {
            #[test] fn tcp() { super::$name("tcp") }
            #[test] fn unix() { super::$name("unix") }
        }
    )*};
}
pub(super) use for_each_stream;

for_each_stream! {
    a_reset_comes_after_exactly_so_many_bytes an_end_comes_after_exactly_so_many_bytes a_connection_ends_after_a_time
    a_stalled_connection_holds_up_nobody_else pieces_are_no_longer_than_said a_rate_is_kept one_byte_is_spoilt
    answers_are_late_by_the_delay unasked_answers_are_late_by_the_delay answers_behind_a_header_are_late_by_the_delay
    an_end_is_ignored a_stop_does_not_wait_for_a_stall streaming_services_are_hit_too
    limits_end_a_connection_that_stalls_for_ever a_proxied_client_is_reset_after_exactly_so_many_bytes
}

/// Exactly 4,096 bytes, then ECONNRESET, whether the client has sent just as many, more, or far more than buffers hold.
fn a_reset_comes_after_exactly_so_many_bytes(protocol: &str) {
    in_each_mode(protocol, "reset-after = \"4KiB\"", |daemon, mode| {
        for length in [4096, 4097, 20_000, 300_000] {
            let client = daemon.client("it");
            let is_told = send_some(&client, length);
            let (all, end) = everything(&client);
            let end = if is_told { End::Reset } else { end };
            assert_eq!((all.len(), &end), (4096, &End::Reset), "{mode} after {length}");
            assert_eq!(all, pattern(length)[..4096], "{mode}");
        }
        daemon.wait_state("it", |state| state["fault-reset-after"] == 4 && state["open"] == 0);
        // Byte by byte, so that the last read has only one.
        let client = daemon.client("it");
        for byte in pattern(4095) {
            client.echo(&[*byte]);
        }
        client.send(b"z");
        assert_eq!(everything(&client), (b"z".to_vec(), End::Reset), "{mode}");
    });
}

fn an_end_comes_after_exactly_so_many_bytes(protocol: &str) {
    in_each_mode(protocol, "close-after = \"4KiB\"", |daemon, mode| {
        for length in [4096, 5000, 20_000] {
            let client = daemon.client("it");
            assert!(!send_some(&client, length), "{mode}");
            let (all, end) = everything(&client);
            assert_eq!((all.len(), end), (4096, End::Closed), "{mode} after {length}");
        }
        let short = daemon.client("it");
        short.echo(b"short");
        short.half_close();
        assert_eq!(everything(&short), (Vec::new(), End::Closed));
        daemon.wait_state("it", |state| state["fault-close-after"] == 3 && state["open"] == 0);
    });
}

/// Also while bytes keep moving, and while nothing does.
fn a_connection_ends_after_a_time(protocol: &str) {
    in_each_mode(protocol, "close-after = \"80ms\"", |daemon, mode| {
        let began = Instant::now();
        let silent = daemon.client("it");
        assert_eq!(everything(&silent), (Vec::new(), End::Closed), "{mode}");
        assert!(began.elapsed() >= Duration::from_millis(80), "{mode}");
        let busy = daemon.client("it");
        let mut echoes = 0;
        let mut byte = [0];
        while busy.try_send(b"x").is_ok() && matches!(busy.read(&mut byte), Ok(1)) {
            echoes += 1;
        }
        assert!(echoes > 0, "{mode}");
    });
}

/// Nothing is read while a connection stands still, so its client cannot send much; others are served meanwhile.
fn a_stalled_connection_holds_up_nobody_else(protocol: &str) {
    in_each_mode(protocol, "stall-after = \"64KiB for 400ms\"", |daemon, mode| {
        let began = Instant::now();
        let stalled = daemon.client("it");
        stalled.send(pattern(64 << 10));
        assert_eq!(stalled.receive(64 << 10), pattern(64 << 10));
        daemon.wait_state("it", |state| state["fault-stall-after"] == 1);
        stalled.send(b"later");
        // In mode iterative one client is served after the other, so the second waits in the backlog.
        if !mode.contains("iterative") {
            daemon.client("it").echo(b"hello");
        }
        assert_eq!(stalled.receive(5), b"later");
        assert!(began.elapsed() >= Duration::from_millis(400), "{mode}");
        stalled.echo(pattern(100_000));
        assert_eq!(daemon.state("it")["fault-stall-after"], 1, "{mode}: once a connection");
    });
}

fn pieces_are_no_longer_than_said(protocol: &str) {
    in_each_mode(protocol, "chunk = \"7B every 1ms\"", |daemon, mode| {
        let client = daemon.client("it");
        let began = Instant::now();
        client.echo(pattern(500));
        // 72 pieces, and a time between each and the next.
        assert!(began.elapsed() >= Duration::from_millis(71), "{mode}");
        assert_eq!(daemon.state("it")["fault-chunk"], 71, "{mode}");
    });
}

fn a_rate_is_kept(protocol: &str) {
    in_each_mode(protocol, "rate = \"200kB/s\"", |daemon, mode| {
        let client = daemon.client("it");
        let began = Instant::now();
        client.echo(pattern(30_000));
        // 150 ms, less what may come at once after a pause: 20 ms.
        assert!(began.elapsed() >= Duration::from_millis(125), "{mode}: {:?}", began.elapsed());
        assert!(daemon.state("it")["fault-rate"] > 5, "{mode}");
    });
}

fn one_byte_is_spoilt(protocol: &str) {
    in_each_mode(protocol, "corrupt-at = \"5B\"", |daemon, mode| {
        for _ in 0..2 {
            let client = daemon.client("it");
            assert_eq!(client.ask(b"abcdefgh"), b"abcddfgh", "{mode}");
            client.echo(b"abcdefgh");
        }
        let byte_by_byte = daemon.client("it");
        let answers: Vec<u8> = (b'a'..=b'h').map(|byte| byte_by_byte.ask(&[byte])[0]).collect();
        assert_eq!(answers, b"abcddfgh", "{mode}");
        assert_eq!(daemon.state("it")["fault-corrupt-at"], 3);
    });
}

fn answers_are_late_by_the_delay(protocol: &str) {
    in_each_mode(protocol, "accept-delay = \"50ms\"\ndelay = \"20ms\"", |daemon, mode| {
        let began = Instant::now();
        let client = daemon.client("it");
        client.echo(b"first");
        assert!(began.elapsed() >= Duration::from_millis(70), "{mode}");
        for _ in 0..3 {
            let asked = Instant::now();
            client.echo(b"again");
            assert!(asked.elapsed() >= Duration::from_millis(20), "{mode}");
        }
        let state = daemon.state("it");
        assert_eq!((state["fault-accept-delay"], state["fault-delay"]), (1, 4), "{mode}");
    });
}

/// What a service says without being asked is a reply, too.
fn unasked_answers_are_late_by_the_delay(protocol: &str) {
    for mode in modes(protocol) {
        for service in ["qotd", "daytime", "time", "whoami", "chargen"] {
            let listener = format!("{mode}service = \"{service}\"\n");
            let mut daemon = start(protocol, "accept-delay = \"20ms\"\ndelay = \"30ms\"", &listener);
            let began = Instant::now();
            let client = daemon.client("it");
            assert!(client.read(&mut [0; 100]).unwrap() > 0, "{service} {mode}");
            assert!(began.elapsed() >= Duration::from_millis(50), "{service} {mode}");
            let state = daemon.state("it");
            assert_eq!((state["fault-accept-delay"], state["fault-delay"]), (1, 1), "{service} {mode}");
            drop(client);
            daemon.stop();
        }
    }
}

/// The header of a proxy is no request: what comes with it is, and what a service says behind it is a reply.
fn answers_behind_a_header_are_late_by_the_delay(protocol: &str) {
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 7\r\n";
    for mode in modes(protocol) {
        for (service, request) in [("qotd", &b""[..]), ("echo", b"hello")] {
            let listener = format!("{mode}proxy-protocol = \"required\"\nservice = \"{service}\"\n");
            let mut daemon = start(protocol, "delay = \"50ms\"", &listener);
            let client = daemon.client("it");
            let began = Instant::now();
            client.send(&[header, request].concat());
            assert!(client.read(&mut [0; 100]).unwrap() > 0, "{service} {mode}");
            assert!(began.elapsed() >= Duration::from_millis(50), "{service} {mode}");
            assert_eq!(daemon.state("it")["fault-delay"], 1, "{service} {mode}");
            drop(client);
            daemon.stop();
        }
    }
}

/// The client's end is not answered by one, and it costs the daemon nothing to keep the connection.
fn an_end_is_ignored(protocol: &str) {
    in_each_mode(protocol, "ignore-half-close = true", |daemon, mode| {
        let client = daemon.client("it");
        client.send(b"all of it");
        client.half_close();
        assert_eq!(client.receive(9), b"all of it");
        daemon.wait_state("it", |state| state["fault-ignore-half-close"] == 1);
        assert!(client.hears_nothing_for(Duration::from_millis(50)), "{mode}");
        assert_eq!(daemon.state("it")["open"], 1, "{mode}");
    });
}

/// SIGTERM ends connections in order; one that stands still for an hour is cut at `drain-timeout`, as any that does not end.
fn a_stop_does_not_wait_for_a_stall(protocol: &str) {
    for mode in modes(protocol) {
        let listener = crate::harness::listener("it", protocol, &format!("{mode}faults = \"plan\""));
        let toml = super::plan("stall-after = \"4B for 1h\"");
        let mut daemon =
            Echod::start(&(toml.replace("[daemon]\n", "[daemon]\ndrain-timeout = \"100ms\"\n") + &listener));
        let client = daemon.client("it");
        client.send(b"abcdefgh");
        assert_eq!(client.receive(4), b"abcd", "{mode}");
        daemon.signal(Signal::SIGTERM);
        daemon.wait_exit();
        assert!(client.is_ended(), "{mode}");
    }
}

/// A service that never stops sending (chargen) is held as well.
fn streaming_services_are_hit_too(protocol: &str) {
    for mode in modes(protocol) {
        let listener = format!("{mode}service = \"chargen\"\n");
        let mut daemon = start(protocol, "reset-after = \"100kB\"\nchunk = \"5000B\"", &listener);
        let client = daemon.client("it");
        if protocol == "unix" {
            // Only with unread input can a unix socket be reset.
            let _ = client.try_send(b"unread");
        }
        let (all, end) = everything(&client);
        assert_eq!(all.len(), 100_000, "{mode}");
        assert!(end == End::Reset || protocol == "unix", "{mode}: {end:?}");
        daemon.stop();
    }
}

fn limits_end_a_connection_that_stalls_for_ever(protocol: &str) {
    for mode in modes(protocol) {
        let listener = format!("{mode}idle-timeout = \"80ms\"\n");
        let mut daemon = start(protocol, "stall-after = \"4B for ever\"", &listener);
        let client = daemon.client("it");
        client.send(b"abcdefgh");
        assert_eq!(client.receive(4), b"abcd", "{mode}");
        assert!(client.is_ended(), "{mode}");
        daemon.wait_state("it", |state| state["idle-timeout"] == 1 && state["open"] == 0);
        daemon.stop();
    }
}

/// Every connection from a source has a number, and the plan decides by it: the same ones are reset in every mode.
#[test]
fn the_same_connections_are_reset_in_every_mode() {
    let ends_in = |mode: &str| {
        let mut daemon = start("tcp", "reset-now = \"40%\"", mode);
        let ends: String = (0..40)
            .map(|_| {
                let client = daemon.client("it");
                let _ = client.try_send(b"x");
                match client.read(&mut [0]) {
                    Ok(1) => '-',
                    _ => 'R',
                }
            })
            .collect();
        daemon.wait_state("it", |state| {
            state["fault-reset-now"] == ends.matches('R').count() as u64 && state["served"] == 40
        });
        daemon.stop();
        ends
    };
    let first = ends_in(MODES[0]);
    assert!((5..35).contains(&first.matches('R').count()), "{first}");
    for mode in &MODES[1..] {
        assert_eq!(ends_in(mode), first, "{mode}");
    }
}

/// The plan goes by the client that a PROXY header names, not by the proxy.
#[test]
fn a_proxied_client_is_hit_by_its_own_address() {
    for mode in MODES {
        let keys = "from = \"192.0.2.0/24\"\nclose-after = \"3B\"";
        let listener = format!("{mode}proxy-protocol = \"required\"\n");
        let mut daemon = start("tcp", keys, &listener);
        let hit = daemon.client("it");
        hit.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 7\r\nabcdef");
        assert_eq!(everything(&hit), (b"abc".to_vec(), End::Closed), "{mode}");
        // The daemon waits for it, or else for two seconds.
        drop(hit);
        let other = daemon.client("it");
        other.send(b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 7\r\nabcdef");
        assert_eq!(other.receive(6), b"abcdef", "{mode}");
        other.echo(pattern(10_000));
        drop(other);
        daemon.stop();
    }
}

/// Also if what is answered arrives together with the header, or with a part of it.
fn a_proxied_client_is_reset_after_exactly_so_many_bytes(protocol: &str) {
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 7\r\n";
    for mode in modes(protocol) {
        let keys = "from = \"192.0.2.0/24\"\nreset-after = \"4KiB\"";
        let listener = format!("{mode}proxy-protocol = \"required\"\ndeny = \"192.0.2.99\"\n");
        let mut daemon = start(protocol, keys, &listener);
        for (length, first) in [(4096, 0), (5000, 0), (20_000, 0), (5000, 10)] {
            let client = daemon.client("it");
            client.send(&header[..first]);
            client.send(&[&header[first..], pattern(length)].concat());
            let (all, end) = everything(&client);
            assert_eq!((all.len(), end), (4096, End::Reset), "{mode} after {length} and {first}");
            assert_eq!(all, pattern(length)[..4096], "{mode}");
        }
        // In between nothing is answered twice.
        let client = daemon.client("it");
        client.send(&[header, pattern(100)].concat());
        assert_eq!(client.receive(100), pattern(100), "{mode}");
        client.echo(pattern(3000));
        client.send(pattern(2000));
        assert_eq!(everything(&client), (pattern(996).to_vec(), End::Reset), "{mode}");
        daemon.wait_state("it", |state| state["fault-reset-after"] == 5 && state["open"] == 0);
        let other = daemon.client("it");
        other.send(&[&b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 7\r\n"[..], pattern(5000)].concat());
        assert_eq!(other.receive(5000), pattern(5000), "{mode}");
        other.echo(pattern(10_000));
        other.half_close();
        assert_eq!(everything(&other), (Vec::new(), End::Closed), "{mode}");
        let refused = daemon.client("it");
        refused.send(b"PROXY TCP4 192.0.2.99 192.0.2.1 4000 7\r\n");
        assert_eq!(everything(&refused), (Vec::new(), End::Closed), "{mode}: refused, and not by the plan");
        daemon.stop();
    }
}
