//! The end, and for whom it waits.

use std::process::ExitStatus;

use nix::sys::signal::Signal;

use super::{TCP, is_datagram, one_daemon_for_all_classes};
use crate::{
    harness::{Echod, LONG, eventually, pattern},
    matrix::{Combination, classes},
};

#[test]
fn c33_the_end_waits_for_all_children() {
    let mut daemon = Combination { mode: "forking", ..TCP }.start_with("drain-timeout = \"60s\"", "");
    let sent = pattern(500_000);
    let clients = (0..5).map(|_| daemon.client("it")).collect::<Vec<_>>();
    for client in &clients {
        client.echo(b"forked");
        client.send(sent);
        client.wait_arrived();
    }
    daemon.signal(Signal::SIGTERM);
    for client in clients {
        assert!(daemon.exited().is_none(), "ended before its children\n{}", daemon.log());
        assert!(client.rest() == sent);
    }
    daemon.expect_success();
}

/// Stops a daemon of each class, with this `drain-timeout`, while a client sends and does not read; `check` is shown how it has ended.
fn stop_under_a_flood(drain: &str, check: impl Fn(ExitStatus, &Echod)) {
    for class in classes().into_iter().filter(|class| !is_datagram(*class)) {
        let mut daemon = class.start_with(&format!("drain-timeout = \"{drain}\""), "");
        let client = daemon.client("it");
        client.flood(pattern(LONG));
        daemon.signal(Signal::SIGTERM);
        check(daemon.wait_exit(), &daemon);
        // Killed, not waited for: some of them may be just about to end.
        eventually("the end of the family", || daemon.group().is_empty().then_some(()));
        drop(client);
    }
}

/// `daemon_threads` and `block_on_close` off: the end waits for nobody.
#[test]
fn c36_without_a_drain_nobody_is_waited_for() {
    stop_under_a_flood("0s", |status, daemon| assert_eq!(status.code(), Some(0), "{}", daemon.log()));
}

/// Python's `shutdown` sleeps up to its poll interval and hangs while at `max_children`.
#[test]
fn d04_a_full_listener_can_be_stopped() {
    for class in classes().into_iter().filter(|class| !is_datagram(*class)) {
        let limit = if class.mode == "iterative" { "" } else { "max-connections = 1" };
        let mut daemon = class.start_with("", limit);
        let client = daemon.client("it");
        client.echo(b"in the way");
        let waiting = daemon.client("it");
        daemon.signal(Signal::SIGTERM);
        assert!(client.rest().is_empty());
        drop((client, waiting));
        daemon.expect_success();
    }
    let mut daemon = one_daemon_for_all_classes("");
    daemon.stop();
}

/// Python joins its threads without a deadline: one client that never reads holds it for ever.
#[test]
fn d09_the_drain_has_a_deadline() {
    stop_under_a_flood("300ms", |_, _| ());
}
