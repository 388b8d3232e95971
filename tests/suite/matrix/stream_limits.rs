//! How long a connection may be idle or live, and how much it may send. Nothing here asserts that something is quick:
//! only that it happens, and not too early.

use std::time::{Duration, Instant};

use echod::report::close_reason::CloseKind;

use super::Combination;
use crate::harness::{Echod, LONG, pattern};

const SHORT: Duration = Duration::from_millis(200);

/// A client that is silent is ended politely, whether or not it ever said something.
pub(super) fn idle_timeout(combination: Combination) {
    let daemon = combination.start_with("", "idle-timeout = \"200ms\"\nmax-lifetime = \"1h\"");
    let client = daemon.client("it");
    client.echo(b"something");
    let since = Instant::now();
    client.echo(b"the last");
    assert!(client.rest().is_empty());
    assert!(since.elapsed() >= SHORT);
    drop(client);
    assert!(daemon.client("it").rest().is_empty());
    expect_ended(&daemon, "idle-timeout", 2);
}

/// A client that does not read is idle too, once nothing moves any more, though it has sent more than it was answered.
pub(super) fn idle_timeout_of_a_client_that_does_not_read(combination: Combination) {
    let daemon = combination.start_with("", "idle-timeout = \"200ms\"");
    // Made before the client connects: on a busy machine that alone may take longer than the time-out.
    let text = pattern(LONG);
    let client = daemon.client("it");
    client.flood(text);
    expect_ended(&daemon, "idle-timeout", 1);
}

/// Whoever is active stays, however long.
pub(super) fn idle_timeout_spares_the_active(combination: Combination) {
    const IDLE: Duration = Duration::from_millis(500);
    let daemon = combination.start_with("", "idle-timeout = \"500ms\"\nmax-lifetime = \"1h\"");
    // On a busy machine this client itself may be held up for so long: then it has another try.
    let is_spared = (0..20).any(|_| {
        let (client, since) = (daemon.client("it"), Instant::now());
        let (mut last, mut longest) = (since, Duration::ZERO);
        while since.elapsed() < 2 * IDLE {
            let before = Instant::now();
            let sent = client.try_send(b"here");
            longest = longest.max(last.elapsed());
            last = before;
            if sent.is_err() || !client.read(&mut [0; 4]).is_ok_and(|n| n > 0) {
                assert!(
                    longest >= IDLE,
                    "ended after {:?}, without a pause over {longest:?}",
                    since.elapsed()
                );
                return false;
            }
            client.hears_nothing_for(Duration::from_millis(20));
        }
        true
    });
    assert!(is_spared, "never spared\n{}", daemon.log());
}

/// A client that never pauses is ended all the same.
pub(super) fn max_lifetime(combination: Combination) {
    let daemon = combination.start_with("", "max-lifetime = \"200ms\"");
    let since = Instant::now();
    let client = daemon.client("it");
    while client.try_send(b"busy").is_ok() && client.read(&mut [0; 16]).is_ok_and(|n| n > 0) {}
    assert!(since.elapsed() >= SHORT);
    // Otherwise the daemon waits for it to close.
    drop(client);
    expect_ended(&daemon, "max-lifetime", 1);
}

/// What ends is what is due first.
pub(super) fn max_lifetime_of_a_silent_client(combination: Combination) {
    let daemon = combination.start_with("", "idle-timeout = \"10m\"\nmax-lifetime = \"200ms\"");
    let since = Instant::now();
    let client = daemon.client("it");
    client.echo(b"hello");
    assert!(client.rest().is_empty());
    assert!(since.elapsed() >= SHORT);
    drop(client);
    expect_ended(&daemon, "max-lifetime", 1);
}

/// A service that speaks without an end, to one who reads it all and to one who reads nothing.
pub(super) fn max_lifetime_of_a_talk(combination: Combination) {
    let daemon = combination.start_with("", "service = \"chargen\"\nmax-lifetime = \"200ms\"");
    let reads = daemon.client("it");
    assert!(reads.rest().len() > 1000);
    drop(reads);
    expect_ended(&daemon, "max-lifetime", 1);
    let _reads_nothing = daemon.client("it");
    expect_ended(&daemon, "max-lifetime", 2);
}

/// So many bytes are answered, and not one more.
pub(super) fn max_bytes(combination: Combination) {
    let daemon = combination.start_with("", "max-bytes = 100007");
    let client = daemon.client("it");
    client.echo(b"seven b");
    let more = pattern(200_000);
    let answer = std::thread::scope(|scope| {
        // It may be told the end before it has sent all.
        scope.spawn(|| client.send_to_the_end(more));
        client.rest()
    });
    assert!(answer == more[..100_000], "{} bytes came back", answer.len());
    drop(client);
    expect_ended(&daemon, "max-bytes", 1);
    daemon.wait_state("it", |state| state["received"] == 100_007 && state["sent"] == 100_007);
}

/// Limits that are far away change nothing about how a listener stops.
pub(super) fn a_limited_client_is_told_the_end(combination: Combination) {
    let limits = "idle-timeout = \"1h\"\nmax-lifetime = \"2h\"\nmax-bytes = \"1GB\"";
    let mut daemon = combination.start_with("drain-timeout = \"60s\"", limits);
    let client = daemon.client("it");
    client.echo(b"served");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(client.rest().is_empty());
    drop(client);
    daemon.wait_log(|line| line.contains("closed after") && line.contains("daemon stops"));
    daemon.expect_success();
}

/// Waits until so many connections were ended by `limit`, which the log says of each, and none is open.
#[track_caller]
fn expect_ended(daemon: &Echod, limit: &str, count: usize) {
    daemon.wait_state("it", |state| state[limit] == count as u64 && state["open"] == 0);
    daemon.wait_lines(count, |line| line.contains("closed after") && line.ends_with(limit));
    let kind = CloseKind::ALL.into_iter().find(|kind| kind.word() == limit).unwrap();
    assert_eq!(daemon.ended_by(kind), count as u64);
}
