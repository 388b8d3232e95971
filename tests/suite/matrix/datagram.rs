//! What every datagram listener does for its clients.

use nix::sys::signal::Signal;

use super::Combination;
pub(super) use super::stream::{all_256_values, round_trip};
use crate::harness::{Client, pattern};

/// An empty datagram is a request like any other; it comes first, and does not end anything.
pub(super) fn empty_answers_empty(combination: Combination) {
    let daemon = combination.start();
    let client = daemon.client("it");
    for _ in 0..3 {
        assert_eq!(client.ask(b""), b"");
    }
    client.echo(b"not empty");
    assert!(client.has_nothing(), "an empty datagram was answered twice");
}

pub(super) fn longest_comes_back_whole(combination: Combination) {
    let daemon = combination.start();
    let client = daemon.client("it");
    let longest = if combination.protocol == "udp" { 65_507 } else { 60_000 };
    for length in [1, 1472, 8192, 8193, 9000, longest - 1, longest] {
        client.echo(pattern(length));
    }
}

/// 200 datagrams of many sizes, eight at a time: each comes back as it was, whatever the order among the eight.
pub(super) fn boundaries_are_kept(combination: Combination) {
    let daemon = combination.start();
    let client = daemon.client("it");
    let mut seed = 42_u32;
    for burst in 0..25 {
        let mut sent = (0..8).map(|_| pattern(next(&mut seed) % 2000)).collect::<Vec<_>>();
        sent.iter().for_each(|datagram| client.send(datagram));
        let mut received = (0..8).map(|_| client.receive(0)).collect::<Vec<_>>();
        sent.sort();
        received.sort();
        assert!(received == sent, "burst {burst} came back with other boundaries");
    }
}

pub(super) fn fifty_clients(combination: Combination) {
    let daemon = combination.start();
    let clients = (0..50).map(|_| daemon.client("it")).collect::<Vec<_>>();
    let message = |number: usize| format!("client {number}").into_bytes();
    for (number, client) in clients.iter().enumerate() {
        client.send(&message(number));
    }
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(client.receive(0), message(number));
    }
    for client in &clients {
        assert!(client.has_nothing());
    }
}

/// Fifty answers do not fit a unix client that never reads; what does not fit is dropped, and nobody waits.
pub(super) fn silent_reader_does_not_stop_others(combination: Combination) {
    let daemon = combination.start();
    let silent = Client::unconnected(&daemon.endpoint("it"));
    for _ in 0..50 {
        silent.send(b"never read");
    }
    daemon.client("it").echo(b"hello world\n");
}

pub(super) fn drain_answers_what_has_arrived(combination: Combination) {
    let mut daemon = combination.start();
    let client = daemon.client("it");
    for number in 0..5 {
        client.send(format!("message {number}").as_bytes());
    }
    daemon.signal(Signal::SIGTERM);
    let mut answers = (0..5).map(|_| String::from_utf8(client.receive(0)).unwrap()).collect::<Vec<_>>();
    answers.sort();
    assert_eq!(answers, ["message 0", "message 1", "message 2", "message 3", "message 4"]);
    daemon.expect_success();
}

/// A small generator of numbers, the same in every run.
fn next(seed: &mut u32) -> usize {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    (*seed >> 8) as usize
}
