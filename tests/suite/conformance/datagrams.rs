//! What is peculiar to datagrams.

use super::{UDP, UNIX_DATAGRAM, is_datagram};
use crate::{
    harness::{Client, eventually, pattern},
    matrix::{Combination, classes},
};

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
