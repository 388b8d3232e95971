//! How a stream listener ends.

use std::{io::ErrorKind, thread};

use nix::sys::signal::Signal;

use super::Combination;
use crate::harness::{Client, Echod, LONG, MIB, pattern, poll, port_of_nobody};

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
    // Nobody else is to be found at the port that is given up.
    let address = combination.address.replace(":0", &format!(":{}", port_of_nobody("tcp")));
    let listener = combination.listener("it").replace(combination.address, &address);
    let mut daemon = Echod::start(&format!("[daemon]\n{PATIENT}\n{listener}"));
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

/// All places are taken by clients that do not read when the daemon is told to stop, and so is the first that waits: whoever waits
/// behind them is served all the same, and at once.
pub(super) fn drain_serves_who_waits_side_by_side(combination: Combination) {
    let pool = matches!(combination.mode, "threading" | "forking") && !combination.workers.is_empty();
    let limited = !pool && combination.mode != "iterative";
    let mut daemon = combination.start_with(PATIENT, if limited { "max-connections = 2" } else { "" });
    let busy = (0..combination.capacity(2)).map(|_| daemon.client("it")).collect::<Vec<_>>();
    for client in &busy {
        client.echo(b"served");
        client.flood(pattern(LONG));
    }
    let (holder, waiting) = (daemon.client("it"), (0..5).map(|_| daemon.client("it")).collect::<Vec<_>>());
    waiting.iter().for_each(|client| client.send(b"waiting"));
    thread::scope(|scope| {
        // It ends with the connection.
        scope.spawn(|| holder.send_to_the_end(pattern(LONG)));
        daemon.signal(Signal::SIGTERM);
        let answers = waiting.iter().map(Client::rest).collect::<Vec<_>>();
        assert!(answers.iter().all(|answer| answer == b"waiting"), "{answers:?}");
        daemon.signal(Signal::SIGTERM);
        daemon.wait_exit();
    });
}

/// Who comes behind the last of `max-requests` is refused at once, at every socket, also while that one is still served.
pub(super) fn max_requests(combination: Combination) {
    let addresses = match combination.protocol {
        // One that is given up must not become that of another test.
        "tcp" => [(); 2].map(|()| format!("127.0.0.1:{}", port_of_nobody("tcp"))),
        _ => ["it.sock", "other.sock"].map(str::to_owned),
    };
    let address = format!("address = \"{}\"", combination.address);
    let addresses = format!("address = {addresses:?}\nmax-requests = 3");
    let listener = combination.listener("it").replace(&address, &addresses);
    let mut daemon = Echod::start(&format!("[daemon]\n{PATIENT}\n{listener}"));
    let endpoints = daemon.endpoints("it");
    assert_eq!(endpoints.len(), 2);
    for endpoint in &endpoints {
        Client::connect(endpoint).echo(b"one of three");
    }
    let last = daemon.client("it");
    last.echo(b"the last");
    for endpoint in &endpoints {
        let refused = poll(|| match Client::try_connect(endpoint) {
            // It is let go with the socket.
            Ok(late) => (!late.is_ended()).then_some(false),
            Err(error) => match error.kind() {
                ErrorKind::ConnectionRefused => Some(true),
                ErrorKind::ConnectionReset => None,
                _ => panic!("{error}"),
            },
        });
        assert_eq!(refused, Some(true), "{endpoint:?}: {}", daemon.log());
    }
    last.echo(b"still served");
    drop(last);
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
