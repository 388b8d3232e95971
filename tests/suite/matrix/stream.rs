//! What every stream listener does for its clients.

use std::thread;

use echod::report::close_reason::CloseKind;
use nix::errno::Errno;

use super::Combination;
use crate::harness::{Client, LONG, MIB, pattern, skipped, uninterrupted};

/// A datagram listener does this and the next, too.
pub(super) fn round_trip(combination: Combination) {
    let daemon = combination.start();
    let client = daemon.client("it");
    for _ in 0..3 {
        client.echo(b"hello world\n");
    }
}

pub(super) fn all_256_values(combination: Combination) {
    let daemon = combination.start();
    let values = (0..=255).collect::<Vec<u8>>();
    daemon.client("it").echo(&values);
    daemon.client("it").echo(&values.repeat(20));
}

/// As a telnet client interrupts: urgent bytes have their place among the others (RFC 6093).
pub(super) fn urgent_bytes_stay_in_their_place(combination: Combination) {
    let daemon = combination.start();
    // Those that are answered before the next is sent, and many that come at once.
    for pause in [true, false] {
        let client = daemon.client("it");
        let mut sent: Vec<u8> = Vec::new();
        for part in [&b"ab"[..], b"\xff\xf2", b"cd", b"\xf2", b"\xf2", b"ef"] {
            let is_urgent = part.contains(&0xf2);
            let send =
                || if is_urgent { client.socket.send_out_of_band(part) } else { client.socket.send(part) };
            match uninterrupted(send) {
                Ok(length) => assert_eq!(length, part.len()),
                Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => {
                    skipped("unix sockets of this kernel have no urgent data");
                    return;
                }
                Err(error) => panic!("{error}"),
            }
            sent.extend(part);
            if pause {
                assert_eq!(client.receive(part.len()), part, "after {sent:x?}");
            }
        }
        client.half_close();
        let expected = if pause { &[][..] } else { &sent };
        assert_eq!(client.rest(), *expected);
    }
}

/// A unix socket holds only some hundreds of such messages, so they are read meanwhile.
pub(super) fn one_byte_writes(combination: Combination) {
    let daemon = combination.start();
    let client = daemon.client("it");
    let sent = pattern(1000);
    let received = thread::scope(|scope| {
        scope.spawn(|| sent.iter().for_each(|byte| client.send(&[*byte])));
        client.receive(sent.len())
    });
    assert!(received == sent);
}

pub(super) fn both_directions_at_once(combination: Combination) {
    let daemon = combination.start();
    let client = daemon.client("it");
    let sent = pattern(8 * MIB);
    let received = write_and_read(&client, sent);
    assert!(received == sent, "{} of {} bytes came back", received.len(), sent.len());
}

/// The client closes its sending side while most of the echo is still on its way.
pub(super) fn half_close(combination: Combination) {
    let daemon = combination.start();
    let client = daemon.client("it");
    let sent = pattern(3 * MIB);
    let written = client.flood(sent);
    client.half_close();
    assert!(client.rest() == sent[..written], "the echo of {written} bytes is not whole");

    let client = daemon.client("it");
    client.send(b"abc");
    client.half_close();
    assert_eq!(client.rest(), b"abc");
}

/// The client writes as much as anybody takes, then reads in small pieces.
pub(super) fn slow_reader(combination: Combination) {
    let daemon = combination.start();
    let client = daemon.client("it");
    let sent = pattern(LONG);
    let written = client.flood(sent);
    assert!(written > 100_000 && written < sent.len(), "{written} bytes fitted: no back-pressure");
    for piece in sent[..written].chunks(1000) {
        assert!(client.receive(piece.len()) == piece);
    }
    client.echo(b"still there");
}

/// All connect, then all write, then each reads and leaves in turn: also where one waits for the other.
pub(super) fn hundred_clients(combination: Combination) {
    let daemon = combination.start();
    let clients = (0..100).map(|_| daemon.client("it")).collect::<Vec<_>>();
    let message = |number: usize| format!("client {number}\n").into_bytes();
    for (number, client) in clients.iter().enumerate() {
        client.send(&message(number));
    }
    for (number, client) in clients.into_iter().enumerate() {
        assert_eq!(client.receive(message(number).len()), message(number));
    }
    daemon.wait_state("it", |state| state["open"] == 0 && state["served"] == 100);
}

/// The client vanishes while the daemon is writing to it: one connection is lost, counted and logged.
pub(super) fn reset_in_mid_write(combination: Combination) {
    let daemon = combination.start();
    let client = daemon.client("it");
    client.flood(pattern(LONG));
    client.reset();
    daemon.client("it").echo(b"next, please");
    daemon.wait_log(|line| line.contains("closed after") && line.contains("reset"));
    daemon.wait_state("it", |state| state["open"] == 0 && state["served"] == 2 && state["resets"] == 1);
    assert_eq!(daemon.ended_by(CloseKind::PeerReset), 1);
}

/// At the limit the next client waits in the backlog, and is served when another leaves.
pub(super) fn max_connections(combination: Combination) {
    // There the limit is the number of workers.
    let pool = matches!(combination.mode, "threading" | "forking") && !combination.workers.is_empty();
    let limited = !pool && combination.mode != "iterative";
    let daemon = combination.start_with("", if limited { "max-connections = 2" } else { "" });
    let mut served = Vec::new();
    for _ in 0..combination.capacity(2) {
        let client = daemon.client("it");
        client.echo(b"served");
        served.push(client);
    }
    let waiting = daemon.client("it");
    waiting.send(b"waiting");
    for client in served.iter().cycle().take(100) {
        client.echo(b"still served");
    }
    assert!(waiting.has_nothing(), "one client more than the limit was served");
    served.pop();
    assert_eq!(waiting.receive(7), b"waiting");
    for client in &served {
        client.echo(b"untouched");
    }
}

/// Writes everything, half-closes, and reads to the end at the same time.
fn write_and_read(client: &Client, sent: &[u8]) -> Vec<u8> {
    thread::scope(|scope| {
        scope.spawn(|| {
            client.send(sent);
            client.half_close();
        });
        client.rest()
    })
}
