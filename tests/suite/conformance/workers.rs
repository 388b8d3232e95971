//! The processes and threads that serve: how many there are, what they hold, and that they go.

use nix::sys::signal::Signal;

use super::{TCP, UDP};
use crate::{
    harness::{Client, Echod, poll, proc},
    matrix::Combination,
};

#[test]
fn c29_forking_defaults_to_forty_children() {
    let daemon = Combination { mode: "forking", ..TCP }.start();
    let mut clients = (0..40).map(|_| daemon.client("it")).collect::<Vec<_>>();
    clients.iter().for_each(|client| client.echo(b"one of forty"));
    let last = daemon.client("it");
    last.send(b"the 41st");
    clients.iter().for_each(|client| client.echo(b"one of forty"));
    assert!(last.has_nothing());
    clients.pop();
    assert_eq!(last.receive(8), b"the 41st");
}

/// The process that accepts keeps no copy of the connection: when the child is gone, so is the connection.
#[test]
fn c30_only_the_child_holds_the_connection() {
    let daemon = Combination { mode: "forking", ..TCP }.start();
    let client = daemon.client("it");
    client.echo(b"forked");
    crate::robustness::survival::kill_process(only_grandchild(&daemon), Signal::SIGKILL);
    assert!(client.is_ended());
}

#[test]
fn c31_at_max_children_the_next_client_waits() {
    for protocol in [TCP, Combination { protocol: "unix", address: "it.sock", ..TCP }] {
        let daemon = Combination { mode: "forking", ..protocol }.start_with("", "max-connections = 2");
        let (first, second) = (daemon.client("it"), daemon.client("it"));
        first.echo(b"first");
        second.echo(b"second");
        let third = daemon.client("it");
        third.send(b"third");
        (0..50).for_each(|_| first.echo(b"first"));
        assert!(third.has_nothing());
        assert_eq!(daemon.grandchildren().len(), 2);
        drop(second);
        assert_eq!(third.receive(5), b"third");
    }
}

#[test]
fn c32_children_are_reaped() {
    let daemon = Combination { mode: "forking", ..TCP }.start();
    let processes = daemon.group().len();
    let clients = (0..30).map(|_| daemon.client("it")).collect::<Vec<_>>();
    clients.iter().for_each(|client| client.echo(b"x"));
    assert_eq!(daemon.grandchildren().len(), 30);
    drop(clients);
    let all_reaped = poll(|| daemon.grandchildren().is_empty().then_some(()));
    daemon.or_log(all_reaped, "the children to be reaped, without another connection");
    assert_eq!(daemon.group().len(), processes);
}

/// Some may wait for another request, but their number does not grow with what was served.
#[test]
fn c37_finished_threads_are_dropped() {
    let daemon = TCP.start();
    let clients = (0..200).map(|_| daemon.client("it")).collect::<Vec<_>>();
    clients.iter().for_each(|client| client.echo(b"x"));
    assert!(proc::threads(daemon.pid()) > 200);
    drop(clients);
    let few = poll(|| (proc::threads(daemon.pid()) < 50).then_some(()));
    daemon.or_log(few, "finished threads to be gone");

    let daemon = Combination { workers: "\"per-request\"", ..UDP }.start();
    let client = daemon.client("it");
    (0..1000).for_each(|_| client.echo(b"x"));
    assert!(proc::threads(daemon.pid()) < 50);
}

/// A child that keeps the listening socket keeps the port busy, and clients connect to nobody.
#[test]
fn d06_no_child_keeps_the_listening_socket() {
    for workers in ["", "2"] {
        let daemon = Combination { mode: "forking", workers, ..TCP }.start();
        let port = daemon.port("it");
        let client = daemon.client("it");
        client.echo(b"forked");
        if workers.is_empty() {
            let listening = format!("socket:[{}]", proc::tcp_socket(port, "0A").unwrap()[9]);
            let child = only_grandchild(&daemon);
            assert!(!proc::descriptors(child).contains(&listening));
            assert!(daemon.group().iter().any(|pid| proc::descriptors(*pid).contains(&listening)));
        }
        daemon.signal(Signal::SIGTERM);
        let refused = poll(|| Client::try_connect(&daemon.endpoint("it")).is_err().then_some(()));
        daemon.or_log(refused, "the port to be closed");
        drop(client);
    }
}

/// Python starts threads without limit.
#[test]
fn d09_threads_are_limited() {
    let daemon = TCP.start_with("", "max-connections = 3");
    let clients = (0..10).map(|_| daemon.client("it")).collect::<Vec<_>>();
    clients.iter().for_each(|client| client.send(b"x"));
    clients[..3].iter().for_each(|client| assert_eq!(client.receive(1), b"x"));
    assert_eq!(daemon.state("it")["open"], 3);
    assert!(clients[3..].iter().all(Client::has_nothing));
}

#[track_caller]
fn only_grandchild(daemon: &Echod) -> i32 {
    let grandchildren = daemon.grandchildren();
    assert_eq!(grandchildren.len(), 1, "{grandchildren:?}");
    grandchildren[0]
}
