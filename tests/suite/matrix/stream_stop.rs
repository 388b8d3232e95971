//! How a stream listener ends.

use std::io::ErrorKind;

use nix::sys::signal::Signal;

use super::Combination;
use crate::common::{Client, Echod, LONG, MIB, pattern, poll};

const PATIENT: &str = "drain-timeout = \"60s\"";

/// The client has written and has read nothing when the daemon is told to stop: all of its echo still comes.
pub(super) fn drain_with_bytes_in_flight(combination: Combination) {
    let mut daemon = combination.start_with(PATIENT, "");
    let client = daemon.client("it");
    let sent = pattern(MIB);
    let written = client.flood(sent);
    client.wait_arrived();
    daemon.signal(Signal::SIGTERM);
    assert!(client.rest() == sent[..written], "the echo of {written} bytes is not whole");
    drop(client);
    daemon.expect_success();
}

/// The client has connected and written, but perhaps nobody has accepted it yet when the daemon is told to stop.
pub(super) fn drain_serves_who_has_just_come(combination: Combination) {
    for _ in 0..5 {
        let mut daemon = combination.start_with(PATIENT, "");
        let client = daemon.client("it");
        client.send(b"just in time");
        daemon.signal(Signal::SIGTERM);
        assert_eq!(client.rest(), b"just in time");
        drop(client);
        daemon.expect_success();
    }
}

/// A client that never reads holds the drain for as long as it may last; the second signal ends that.
pub(super) fn second_term_cuts(combination: Combination) {
    let mut daemon = combination.start_with(PATIENT, "");
    let client = daemon.client("it");
    client.flood(pattern(LONG));
    daemon.signal(Signal::SIGTERM);
    wait_draining(&daemon);
    assert!(daemon.exited().is_none(), "the drain did not wait for the client\n{}", daemon.log());
    daemon.signal(Signal::SIGTERM);
    daemon.wait_exit();
    drop(client);
}

pub(super) fn term_while_idle(combination: Combination) {
    let mut daemon = combination.start();
    daemon.client("it").echo(b"before");
    daemon.stop();
}

/// Clients that have nothing in flight are told the end at once, also the one that waits in the backlog.
pub(super) fn term_with_idle_clients(combination: Combination) {
    let mut daemon = combination.start_with(PATIENT, "");
    let first = daemon.client("it");
    first.echo(b"served");
    let second = daemon.client("it");
    daemon.signal(Signal::SIGTERM);
    assert!(first.rest().is_empty());
    drop(first);
    assert!(second.is_ended());
    drop(second);
    daemon.expect_success();
}

/// Waits until the first signal has been acted upon: nobody listens any more. That must not have to wait for those who
/// would accept and are busy with the last clients, or new ones would connect to nobody.
fn wait_draining(daemon: &Echod) {
    let endpoint = daemon.endpoint("it");
    // Fewer than fit the backlog, which would make clients wait instead of refusing them.
    let mut attempts = 0..3000;
    let refused = poll(|| match Client::try_connect(&endpoint) {
        Ok(_) => attempts.next().is_none().then_some(false),
        // It had come so far as to be let go with the listener.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        Err(error) => Some(matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound)),
    });
    assert_eq!(refused, Some(true), "clients can still connect, to nobody\n{}", daemon.log());
}
