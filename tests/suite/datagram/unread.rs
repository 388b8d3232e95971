//! Unix datagram clients that do not read: their answers fill the send buffer of the listener, which belongs to all clients.

use crate::{
    harness::{Client, Echod, eventually, has_mode, pattern},
    matrix::Combination,
};

/// Does what is asked of one that has read nothing so far: `count` datagrams of `length` bytes.
fn flood(client: &Client, count: usize, length: usize) {
    (0..count).for_each(|_| client.send(pattern(length)));
}

fn silent(daemon: &Echod, connected: bool) -> Client {
    let endpoint = daemon.endpoint("it");
    if connected { Client::connect(&endpoint) } else { Client::unconnected(&endpoint) }
}

fn start(mode: &'static str, workers: &'static str) -> Option<Echod> {
    let combination = Combination { protocol: "unix-datagram", address: "it.sock", mode, workers };
    has_mode(mode).then(|| combination.start())
}

/// The kernel bounds the queue of a client only if it is not connected to the listener, and then by a count.
fn others_are_answered(mode: &'static str, workers: &'static str, connected: bool) {
    let Some(daemon) = start(mode, workers) else { return };
    let silent: Vec<_> = (0..3).map(|_| silent(&daemon, connected)).collect();
    silent.iter().for_each(|client| flood(client, 40, 60_000));
    let reader = daemon.client("it");
    for length in [5, 0, 2000, 20_000, 5] {
        reader.echo(pattern(length));
        silent.iter().for_each(|client| flood(client, 2, 60_000));
    }
    let named = daemon.wait_lines(1, |line| line.contains("refused (unread)"));
    assert!(named[0].contains("from unix-datagram:@"), "{named:?}");
    // What was sent is there, and as soon as it is read all is as before.
    assert!(!silent[0].arrived().is_empty());
    silent.iter().for_each(|client| _ = client.arrived());
    reader.echo(b"room again");
    for client in &silent {
        eventually("an answer for all", || {
            // Its own queue may be full for a moment.
            let _ = client.try_send(b"for all");
            client.arrived().contains(&7).then_some(())
        });
    }
}

/// An empty datagram that is first in a queue is not told from an empty queue.
fn small_answers_count_as_well(mode: &'static str, workers: &'static str) {
    let Some(daemon) = start(mode, workers) else { return };
    for length in [0, 1] {
        let silent = silent(&daemon, true);
        flood(&silent, 700, length);
        flood(&silent, 20, 60_000);
        let reader = daemon.client("it");
        for _ in 0..5 {
            reader.echo(b"hello");
            flood(&silent, 20, length);
        }
    }
}

macro_rules! modes {
    ($($name:ident $mode:literal $workers:literal;)*) => {$(
        mod $name {
            #[test]
            fn of_connected_clients() {
                super::others_are_answered($mode, $workers, true);
            }
            #[test]
            fn of_unconnected_clients() {
                super::others_are_answered($mode, $workers, false);
            }
            #[test]
            fn small_ones() {
                super::small_answers_count_as_well($mode, $workers);
            }
        }
    )*};
}

modes! {
    iterative "iterative" "";
    threading "threading" "";
    threading_pool "threading" "2";
    threading_per_request "threading" "\"per-request\"";
    forking "forking" "";
    forking_pool "forking" "2";
    forking_per_request "forking" "\"per-request\"";
    select "select" "";
    poll "poll" "";
    epoll "epoll" "";
    epoll_pool "epoll" "2";
    edge "edge" "";
    io_uring "io-uring" "";
}
