//! What a stream listener does that serves more than one client at once.

use super::Combination;
use crate::harness::{LONG, pattern};

pub(super) fn idle_client_does_not_block_others(combination: Combination) {
    let daemon = combination.start();
    let idle = daemon.client("it");
    idle.echo(b"here");
    let busy = daemon.client("it");
    for _ in 0..100 {
        busy.echo(b"hello world\n");
    }
    drop(busy);
    daemon.client("it").echo(b"and the next");
    idle.echo(b"still here");
}

/// The daemon cannot write to a client that does not read; that must not keep it from the others.
pub(super) fn silent_flood_does_not_block_others(combination: Combination) {
    let daemon = combination.start();
    let flood = daemon.client("it");
    let sent = pattern(LONG);
    let written = flood.flood(sent);
    for _ in 0..3 {
        daemon.client("it").echo(b"hello world\n");
    }
    flood.half_close();
    assert!(flood.rest() == sent[..written]);
}
