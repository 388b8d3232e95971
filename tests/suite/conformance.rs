//! What echod keeps of CPython 3.11's `socketserver` (`cNN`), and where it deliberately differs (`dNN`).
//!
//! The twelve classes are the four protocols in the three modes; `timeout`, `handle_request` and the like have the names
//! that ARCHITECTURE.md gives. What concerns killed processes is in [`crate::survival`], socket files in
//! [`crate::unix_files`], a lack of descriptors in [`crate::limits`].

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::{
    common::{Client, Echod, LONG, Launch, eventually, pattern, poll, proc},
    matrix::{Combination, classes},
};

const TCP: Combination =
    Combination { protocol: "tcp", address: "127.0.0.1:0", mode: "threading", workers: "" };
const UDP: Combination = Combination { protocol: "udp", ..TCP };
const UNIX_DATAGRAM: Combination = Combination { protocol: "unix-datagram", address: "it.sock", ..TCP };

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

/// Python cuts a datagram at 8192 bytes and echoes the rest of it short.
#[test]
fn c07_d03_no_datagram_is_ever_echoed_short() {
    for class in classes().into_iter().filter(|class| is_datagram(*class)) {
        let daemon = class.start();
        let client = daemon.client("it");
        client.echo(pattern(9000));
        if class.protocol == "unix-datagram" {
            // UDP has no longer ones. What does not fit the buffer is noticed, dropped and counted.
            client.echo(pattern(65_535));
            client.send(pattern(65_537));
            client.send(pattern(100_000));
            client.echo(b"the next one");
            daemon.wait_state("it", |state| state["truncated"] == 2);
            assert!(client.has_nothing());
        }
    }
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
fn c09_an_empty_datagram_is_answered_by_an_empty_one() {
    for class in classes().into_iter().filter(|class| is_datagram(*class)) {
        let client_of = class.start();
        let client = client_of.client("it");
        assert_eq!(client.ask(b""), b"", "{} {}", class.protocol, class.mode);
        client.echo(b"x");
        assert!(client.has_nothing());
    }
}

/// Python's datagram handler that writes nothing still answers with an empty datagram; discard must not.
#[test]
fn c10_silence_is_not_an_empty_datagram() {
    for class in classes().into_iter().filter(|class| is_datagram(*class)) {
        let daemon = class.start_with("", "service = \"discard\"");
        let client = daemon.client("it");
        client.send(b"");
        client.send(b"hello");
        daemon.wait_state("it", |state| state["received"] == 5);
        assert!(client.has_nothing());
    }
}

#[test]
fn c11_a_sender_without_a_name_is_counted_and_harms_nobody() {
    for mode in ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"] {
        let daemon = Combination { mode, ..UNIX_DATAGRAM }.start();
        let endpoint = daemon.endpoint("it");
        let nameless = Client::nameless(&endpoint);
        nameless.send(b"who am I?");
        daemon.client("it").echo(b"hello world\n");
        daemon.wait_state("it", |state| state["refused"] == 1 && state["unanswerable"] == 1);
    }
}

#[test]
fn c12_abstract_names_work_and_nameless_stream_peers_are_served() {
    for protocol in ["unix", "unix-datagram"] {
        for mode in ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"] {
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
        let ends = daemon.log().lines().filter(|line| line.contains("closed after")).count();
        assert_eq!(ends, 4, "{}", daemon.log());
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
    crate::survival::kill_process(only_grandchild(&daemon), Signal::SIGKILL);
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
    let processes = daemon.family().len();
    let clients = (0..30).map(|_| daemon.client("it")).collect::<Vec<_>>();
    clients.iter().for_each(|client| client.echo(b"x"));
    assert_eq!(daemon.grandchildren().len(), 30);
    drop(clients);
    let all_reaped = poll(|| daemon.grandchildren().is_empty().then_some(()));
    daemon.or_log(all_reaped, "the children to be reaped, without another connection");
    assert_eq!(daemon.family().len(), processes);
}

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

/// `daemon_threads` and `block_on_close` off: the end waits for nobody.
#[test]
fn c36_without_a_drain_nobody_is_waited_for() {
    for class in classes().into_iter().filter(|class| !is_datagram(*class)) {
        let mut daemon = class.start_with("drain-timeout = \"0s\"", "");
        let client = daemon.client("it");
        client.flood(pattern(LONG));
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.wait_exit().code(), Some(0), "{}", daemon.log());
        // Killed, not waited for: some of them may be just about to end.
        eventually("the end of the family", || daemon.family().is_empty().then_some(()));
        drop(client);
    }
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
            assert!(daemon.family().iter().any(|pid| proc::descriptors(*pid).contains(&listening)));
        }
        daemon.signal(Signal::SIGTERM);
        let refused = poll(|| Client::try_connect(&daemon.endpoint("it")).is_err().then_some(()));
        daemon.or_log(refused, "the port to be closed");
        drop(client);
    }
}

/// Python blocks in `sendto` when one client does not read, and everyone waits.
#[test]
fn d08_an_answer_that_nobody_takes_is_dropped_and_counted() {
    for mode in ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"] {
        let daemon = Combination { mode, ..UNIX_DATAGRAM }.start();
        let silent = Client::unconnected(&daemon.endpoint("it"));
        (0..50).for_each(|_| silent.send(b"never read"));
        daemon.client("it").echo(b"not blocked");
        daemon.wait_state("it", |state| {
            state["received"] == 511 && state["dropped"] > 0 && state["sent"] + 10 * state["dropped"] == 511
        });
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

/// The parent reads, the child only answers: two children can never wait for one datagram.
#[test]
fn d11_a_process_per_datagram_never_reads_the_shared_socket() {
    for protocol in [UDP, UNIX_DATAGRAM] {
        let daemon = Combination { mode: "forking", workers: "\"per-request\"", ..protocol }.start();
        let client = daemon.client("it");
        assert_eq!(client.ask(b""), b"");
        for number in 0..100 {
            client.echo(format!("datagram {number}").as_bytes());
        }
        assert!(client.has_nothing());
        // No child is left that could be waiting.
        eventually("the last child to end", || daemon.grandchildren().is_empty().then_some(()));
        daemon.wait_state("it", |state| state["served"] == 101 && state["open"] == 0);
    }
}

/// Python joins its threads without a deadline: one client that never reads holds it for ever.
#[test]
fn d09_the_drain_has_a_deadline() {
    for class in classes().into_iter().filter(|class| !is_datagram(*class)) {
        let mut daemon = class.start_with("drain-timeout = \"300ms\"", "");
        let client = daemon.client("it");
        client.flood(pattern(LONG));
        daemon.signal(Signal::SIGTERM);
        daemon.wait_exit();
        eventually("the end of the family", || daemon.family().is_empty().then_some(()));
        drop(client);
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

fn is_datagram(class: Combination) -> bool {
    matches!(class.protocol, "udp" | "unix-datagram")
}

fn one_daemon_for_all_classes(daemon: &str) -> Echod {
    let listeners =
        classes().into_iter().enumerate().map(|(number, class)| class.listener(&format!("class-{number}")));
    Echod::start(&format!("[daemon]\n{daemon}\n{}", listeners.collect::<String>()))
}

#[track_caller]
fn only_grandchild(daemon: &Echod) -> i32 {
    let grandchildren = daemon.grandchildren();
    assert_eq!(grandchildren.len(), 1, "{grandchildren:?}");
    grandchildren[0]
}
