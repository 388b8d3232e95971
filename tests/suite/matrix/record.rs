//! What a listener does that keeps records apart (SOCK_SEQPACKET): one record comes back for each, as it was, in order.

use std::{
    thread,
    time::{Duration, Instant},
};

use echod::report::close_reason::CloseKind;
use nix::sys::signal::Signal;

use super::Combination;
use crate::harness::{LONG, LONGEST_RECORD, pattern};

/// Bursts of records of any size, the next after the answers to the last.
pub(super) fn boundaries_are_kept(combination: Combination) {
    let daemon = combination.start();
    let client = daemon.client("it");
    let mut lengths = Lengths(42);
    for burst in 0..40 {
        let sent: Vec<_> = lengths.by_ref().take(4).map(pattern).collect();
        thread::scope(|scope| {
            scope.spawn(|| sent.iter().for_each(|record| client.send_record(record)));
            for (number, record) in sent.iter().enumerate() {
                assert!(client.next_record().as_deref() == Some(*record), "record {number} of burst {burst}");
            }
        });
    }
}

/// Each byte is a record of its own, and none is joined with the next.
pub(super) fn one_byte_storm(combination: Combination) {
    let daemon = combination.start();
    let client = daemon.client("it");
    let sent = pattern(2000);
    thread::scope(|scope| {
        scope.spawn(|| sent.iter().for_each(|byte| client.send_record(&[*byte])));
        for byte in sent {
            assert_eq!(client.next_record().as_deref(), Some(&[*byte][..]));
        }
    });
}

pub(super) fn longest_comes_back_whole(combination: Combination) {
    let daemon = combination.start();
    let client = daemon.client("it");
    for length in [1, 32_767, 32_768, 32_769, LONGEST_RECORD - 1, LONGEST_RECORD] {
        client.send_record(pattern(length));
        assert!(client.next_record().as_deref() == Some(pattern(length)), "{length} bytes");
    }
}

/// An empty record is a record, and not the end: alone, in a row, and as the last before the end.
pub(super) fn empty_records(combination: Combination) {
    let daemon = combination.start();
    let client = daemon.client("it");
    for _ in 0..3 {
        client.send_record(b"");
        assert_eq!(client.next_record().as_deref(), Some(&b""[..]));
    }
    let sent = [&b""[..], b"", b"not empty", b"", b""];
    sent.iter().for_each(|record| client.send_record(record));
    client.half_close();
    for record in sent {
        assert_eq!(client.next_record().as_deref(), Some(record));
    }
    assert_eq!(client.next_record(), None);
    daemon.wait_state("it", |state| state["received"] == 9 && state["sent"] == 9 && state["open"] == 0);
}

/// All that was sent before the client closed its sending side is answered, then the connection ends.
pub(super) fn half_close(combination: Combination) {
    let daemon = combination.start();
    let mut lengths = Lengths(7);
    for round in 0..10 {
        let client = daemon.client("it");
        let sent = client.flood_records(lengths.by_ref().take(1 + round * 3));
        client.half_close();
        for (number, length) in sent.iter().enumerate() {
            assert!(client.next_record().as_deref() == Some(pattern(*length)), "record {number} of {sent:?}");
        }
        assert_eq!(client.next_record(), None);
    }
}

/// A client that does not read is not read any more, and finds all records apart later.
pub(super) fn slow_reader(combination: Combination) {
    let daemon = combination.start();
    let client = daemon.client("it");
    let sent = client.flood_records(Lengths(3));
    assert!(sent.iter().sum::<usize>() < LONG / 4, "no back-pressure: {} records", sent.len());
    for (number, length) in sent.iter().enumerate() {
        assert!(client.next_record().as_deref() == Some(pattern(*length)), "record {number} of {sent:?}");
    }
    client.send_record(b"still there");
    assert_eq!(client.next_record().as_deref(), Some(&b"still there"[..]));
}

/// A record of which a part would be lost is not answered: what came before it is, then the connection ends.
pub(super) fn too_long(combination: Combination) {
    let daemon = combination.start();
    let client = daemon.client("it");
    for record in [b"before", pattern(LONGEST_RECORD + 1), b"behind"] {
        client.send_record(record);
    }
    assert_eq!(client.next_record().as_deref(), Some(&b"before"[..]));
    assert_eq!(client.next_record(), None);
    drop(client);
    daemon.wait_log(|line| {
        line.contains(" closed after ") && line.contains("out: record of more than 65,536 bytes")
    });
    daemon.wait_state("it", |state| state["truncated"] == 1 && state["sent"] == 6 && state["open"] == 0);
    assert_eq!(daemon.ended_by(CloseKind::LongRecord), 1);
    daemon.client("it").echo(b"others do not notice");
}

/// The daemon is told to stop while records are in flight: they are answered, each whole.
pub(super) fn stop_in_mid_stream(combination: Combination) {
    let mut daemon = combination.start_with("drain-timeout = \"60s\"", "");
    let client = daemon.client("it");
    let sent = client.flood_records(Lengths(11));
    daemon.signal(Signal::SIGTERM);
    for (number, length) in sent.iter().enumerate() {
        assert!(client.next_record().as_deref() == Some(pattern(*length)), "record {number} of {sent:?}");
    }
    assert_eq!(client.next_record(), None);
    drop(client);
    daemon.expect_success();
}

/// The record that reaches the limit is the last, and comes back whole.
pub(super) fn max_bytes(combination: Combination) {
    let daemon = combination.start_with("", "max-bytes = 1000");
    let client = daemon.client("it");
    for length in [400, 400, 400, 400] {
        client.send_record(pattern(length));
    }
    for length in [400, 400, 400] {
        assert_eq!(client.next_record().as_deref(), Some(pattern(length)));
    }
    assert_eq!(client.next_record(), None);
    drop(client);
    daemon.wait_state("it", |state| state["received"] == 1200 && state["sent"] == 1200 && state["open"] == 0);
    assert_eq!(daemon.ended_by(CloseKind::MaxBytes), 1);
}

/// Empty records, too, show that a client is active.
pub(super) fn idle_timeout_spares_empty_records(combination: Combination) {
    const IDLE: Duration = Duration::from_millis(500);
    let daemon = combination.start_with("", "idle-timeout = \"500ms\"");
    // On a busy machine this client itself may be held up for so long: then it has another try.
    let is_spared = (0..20).any(|_| {
        let client = daemon.client("it");
        let since = Instant::now();
        let (mut last, mut longest) = (since, Duration::ZERO);
        while since.elapsed() < 2 * IDLE {
            let before = Instant::now();
            let is_served = client.try_send(b"").is_ok() && client.next_record().is_some();
            longest = longest.max(last.elapsed());
            last = before;
            if !is_served {
                assert!(longest >= IDLE, "ended after {:?}, pauses of {longest:?} at most", since.elapsed());
                return false;
            }
            client.hears_nothing_for(Duration::from_millis(20));
        }
        true
    });
    assert!(is_spared, "never spared\n{}", daemon.log());
}

/// A small generator of lengths, the same in every run: many short records, some empty, some long.
struct Lengths(u32);

impl Iterator for Lengths {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let number = (self.0 >> 8) as usize;
        Some(match number % 8 {
            0 => 0,
            1..=4 => number / 8 % 1000,
            _ => number / 8 % (LONGEST_RECORD + 1),
        })
    }
}
