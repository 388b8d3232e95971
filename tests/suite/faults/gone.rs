//! Clients that are gone: a plan keeps their connections no longer than it says.

use super::{
    start,
    streams::{for_each_stream, in_each_mode, modes},
};
use crate::harness::{Client, Echod, pattern};

for_each_stream! {
    a_stall_for_ever_ends_with_its_client an_ignored_end_is_followed_by_a_real_one
    what_was_sent_before_an_end_is_still_read
}

/// The client has room for a part of the answer only, and takes no more before it resets the connection.
#[test]
fn a_reset_that_waits_for_its_client_ends_with_it() {
    in_each_mode("tcp", "reset-after = \"64KiB\"", |daemon, mode| {
        let narrow = |socket: &socket2::Socket| socket.set_recv_buffer_size(4096).unwrap();
        let client = Client::prepared(&daemon.endpoint("it"), narrow).unwrap();
        client.send(pattern(64 << 10));
        daemon.wait_state("it", |state| state["sent"] == 64 << 10);
        let state = daemon.state("it");
        assert_eq!((state["open"], state["fault-reset-after"]), (1, 0), "{mode}: counted when it is done");
        client.reset();
        daemon.wait_state("it", |state| state["open"] == 0 && state["resets"] == 1);
        assert_eq!(daemon.state("it")["fault-reset-after"], 0, "{mode}: the client came first");
        daemon.client("it").echo(b"the next one");
    });
}

/// A reset, or the close of a unix socket. The end of the client's side alone is none: it may still read.
fn a_stall_for_ever_ends_with_its_client(protocol: &str) {
    let stalled = |daemon: &Echod, length: usize, number: u64| {
        let client = daemon.client("it");
        client.send(pattern(length));
        assert_eq!(client.receive(1024), pattern(1024));
        daemon.wait_state("it", |state| state["fault-stall-after"] == number);
        client
    };
    in_each_mode(protocol, "stall-after = \"1KiB for ever\"", |daemon, mode| {
        stalled(daemon, 4096, 1).reset();
        daemon.wait_state("it", |state| state["open"] == 0 && state["resets"] == 1);
        let half_closed = stalled(daemon, 4096, 2);
        half_closed.half_close();
        assert!(half_closed.hears_nothing_for(std::time::Duration::from_millis(50)), "{mode}");
        assert_eq!(daemon.state("it")["open"], 1, "{mode}");
        half_closed.reset();
        daemon.wait_state("it", |state| state["open"] == 0 && state["resets"] == 2);
        // Nothing is left to send.
        stalled(daemon, 1024, 3).reset();
        let resets = if protocol == "tcp" { 3 } else { 2 };
        daemon.wait_state("it", |state| state["open"] == 0 && state["resets"] == resets);
    });
}

fn an_ignored_end_is_followed_by_a_real_one(protocol: &str) {
    in_each_mode(protocol, "ignore-half-close = true", |daemon, _| {
        let client = daemon.client("it");
        client.send(b"all of it");
        client.half_close();
        assert_eq!(client.receive(9), b"all of it");
        daemon.wait_state("it", |state| state["fault-ignore-half-close"] == 1);
        client.reset();
        daemon.wait_state("it", |state| state["open"] == 0 && state["errors"] == 0);
    });
}

/// A connection that is held for a time goes on then, also where the kernel says at once that its client has closed it.
fn what_was_sent_before_an_end_is_still_read(protocol: &str) {
    for mode in modes(protocol) {
        let mut daemon =
            start(protocol, "accept-delay = \"50ms\"", &format!("{mode}service = \"discard\"\n"));
        let client = daemon.client("it");
        client.send(b"to be read");
        drop(client);
        daemon.wait_state("it", |state| state["open"] == 0 && state["received"] == 10);
        daemon.stop();
    }
}
