//! The counters tell the truth: they grow by exactly what was served, and by nothing else.

use super::Combination;
use crate::harness::{Echod, pattern};

const CLIENTS: u64 = 100;
const ECHOES: u64 = 20;
const LENGTH: u64 = 64;

/// Every other counter stays at 0, and every connection has ended by its reason and with its duration.
pub(super) fn counters_grow_by_exactly_what_was_served(combination: Combination) {
    let daemon = Echod::start(&combination.listener("it"));
    let (counters, message) = (daemon.counters(), pattern(LENGTH as usize));
    let mut expected = counters.totals();
    assert_eq!((expected.served, expected.ended.values().sum()), (0, 0));
    let is_stream = !combination.protocol.contains("udp") && combination.protocol != "unix-datagram";
    for _ in 0..CLIENTS {
        let client = daemon.client("it");
        (0..ECHOES).for_each(|_| client.echo(message));
    }
    let bytes = CLIENTS * ECHOES * LENGTH;
    expected.served = if is_stream { CLIENTS } else { CLIENTS * ECHOES };
    // An answer may be there a moment before it is counted.
    daemon.wait_state("it", |state| {
        ["open", "served", "received", "sent"].map(|key| state[key]) == [0, expected.served, bytes, bytes]
    });
    (expected.received, expected.sent) = (bytes, bytes);
    let totals = counters.totals();
    if is_stream {
        expected.ended.insert("peer-closed".into(), CLIENTS);
        assert_eq!(totals.ended.values().sum::<u64>(), totals.served);
        assert_eq!(totals.durations.iter().sum::<u64>(), CLIENTS);
        assert!(totals.duration_seconds_sum > 0.0, "{totals:?}");
    }
    expected.durations.clone_from(&totals.durations);
    expected.duration_seconds_sum = totals.duration_seconds_sum;
    assert_eq!(totals, expected);
}

const EMPTY: u64 = 1000;

/// A health check comes every few seconds, and a scan of ports all at once. One in ten leaves politely here.
pub(super) fn a_thousand_empty_connections_leave_no_line(combination: Combination) {
    let mut daemon = Echod::start(&combination.listener("it"));
    let counters = daemon.counters();
    for number in 0..EMPTY {
        let client = daemon.client("it");
        if number % 10 > 0 {
            client.reset();
        }
    }
    daemon.wait_state("it", |state| state["open"] == 0 && state["served"] == EMPTY);
    daemon.client("it").echo(b"a client");
    daemon.wait_state("it", |state| state["open"] == 0 && state["served"] == EMPTY + 1);
    assert_eq!(daemon.state("it")["empty"], EMPTY);
    assert_eq!(counters.totals().ended.values().sum::<u64>(), EMPTY + 1);
    // All lines are written then.
    daemon.stop();
    let log = daemon.log();
    let closed: Vec<_> = log.lines().filter(|line| line.contains("closed after")).collect();
    assert!(matches!(closed[..], [line] if line.contains("8 bytes in")), "{closed:#?}");
}

/// Whoever wants them has them; and what the daemon has ended is no visit that the client ended.
pub(super) fn empty_connections_are_logged_on_request(combination: Combination) {
    let listener = combination.listener("it");
    let daemon = Echod::start(&format!("{listener}log-empty-connections = true\n"));
    (0..3).for_each(|_| drop(daemon.client("it")));
    daemon.wait_lines(3, |line| {
        line.contains(" INFO ") && line.contains(" 0 bytes in, 0 bytes out: peer closed")
    });
    let daemon = Echod::start(&format!("{listener}idle-timeout = \"100ms\"\n"));
    assert!(daemon.client("it").rest().is_empty());
    daemon.wait_lines(1, |line| {
        line.contains(" INFO ") && line.contains(" 0 bytes in, 0 bytes out: idle-timeout")
    });
    assert_eq!(daemon.state("it")["empty"], 1);
}
