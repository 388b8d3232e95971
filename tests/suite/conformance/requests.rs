//! What each class does with its requests.

use std::time::Duration;

use super::{TCP, is_datagram, one_daemon_for_all_classes};
use crate::{
    harness::{LONG, Launch, has_mode, pattern},
    matrix::{Combination, classes},
};

#[test]
fn c05_every_class_echoes_three_times() {
    let daemon = one_daemon_for_all_classes("");
    for number in 0..12 {
        let client = daemon.client(&format!("class-{number}"));
        (0..3).for_each(|_| client.echo(b"hello world\n"));
    }
}

#[test]
fn c06_iterative_serves_one_after_the_other() {
    let daemon = Combination { mode: "iterative", ..TCP }.start();
    let first = daemon.client("it");
    first.echo(b"first");
    let second = daemon.client("it");
    second.send(b"second");
    (0..100).for_each(|_| first.echo(b"first"));
    assert!(second.has_nothing());
    drop(first);
    assert_eq!(second.receive(6), b"second");
}

#[test]
fn c08_handle_request_serves_exactly_one() {
    for class in classes() {
        let mut daemon = class.start_with("", "max-requests = 1");
        let client = daemon.client("it");
        client.echo(b"only one");
        if is_datagram(class) {
            daemon.expect_success();
            assert!(client.try_send(b"another").is_err() || class.protocol == "udp");
        } else {
            client.echo(b"as long as it likes");
            drop(client);
            daemon.expect_success();
        }
    }
}

#[test]
fn c12_abstract_names_work_and_nameless_stream_peers_are_served() {
    for protocol in ["unix", "unix-datagram"] {
        let modes = ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"];
        for mode in modes.into_iter().filter(|mode| has_mode(mode)) {
            let name = format!("@echod-suite-{}-{protocol}-{mode}", std::process::id());
            let daemon =
                Launch::new().args(&["--listen", &format!("{protocol}:{name}?name=it&mode={mode}")]).start();
            assert_eq!(daemon.announced[0]["address"], name.as_str());
            daemon.client("it").echo(b"hello world\n");
            if protocol == "unix" {
                daemon.wait_log(|line| line.contains("listener \"it\"") && line.contains("closed after"));
            }
        }
    }
}

/// A handler's `timeout` is `None` by default: a silent client may stay.
#[test]
fn c14_an_idle_client_is_not_thrown_out() {
    let daemon = TCP.start();
    let client = daemon.client("it");
    client.echo(b"x");
    assert!(client.hears_nothing_for(Duration::from_secs(1)));
    client.echo(b"still here");
}

/// `finish` follows `setup` whatever happens between: a failed connection is closed, counted and gone.
#[test]
fn c15_c20_c38_a_failed_connection_is_finished_and_the_next_is_served() {
    for class in classes().into_iter().filter(|class| !is_datagram(*class)) {
        let daemon = class.start();
        for round in 1..=2 {
            let client = daemon.client("it");
            client.flood(pattern(LONG));
            client.reset();
            daemon.client("it").echo(b"next");
            daemon.wait_state("it", |state| {
                state["open"] == 0 && state["resets"] == round && state["served"] == 2 * round
            });
        }
        daemon.wait_lines(4, |line| line.contains("closed after"));
    }
}

#[test]
fn c17_half_close_gets_the_rest_and_then_the_end() {
    for class in classes().into_iter().filter(|class| !is_datagram(*class)) {
        let daemon = class.start();
        let client = daemon.client("it");
        client.send(b"abc");
        client.half_close();
        assert_eq!(client.rest(), b"abc");
    }
}
