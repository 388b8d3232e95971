//! What the kernel cannot do for the moment is tried again: nobody is lost for it.

use std::io;

use super::lost::{LOOPS, loops};
use crate::{
    harness::{Echod, eventually, it, listener, poll},
    stream::strace::Strace,
};

/// A wait that fails for want of memory is no end, neither of a connection nor of the loop.
#[test]
fn a_wait_that_fails_for_a_moment_is_tried_again() {
    for protocol in ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"] {
        for (keys, call) in loops(2) {
            for error in ["ENOMEM", "EAGAIN"] {
                let mut daemon = Echod::start(&listener("it", protocol, &keys));
                let before = daemon.client("it");
                before.echo(b"before");
                let Some(strace) = Strace::failing(&daemon, call, error) else { return };
                for _ in 0..10 {
                    daemon.client("it").echo(b"meanwhile");
                    before.echo(b"meanwhile");
                }
                drop(strace);
                before.echo(b"after");
                daemon.wait_log(|line| line.contains("cannot wait for clients: "));
                assert!(!daemon.log().contains("a worker was lost"), "{}", daemon.log());
                drop(before);
                daemon.stop();
            }
        }
    }
}

/// A client that cannot be watched is closed and counted, and those after it are served.
#[test]
fn a_connection_that_cannot_be_watched_is_closed() {
    for (_, more, _) in LOOPS.into_iter().filter(|(mode, ..)| *mode == "epoll") {
        let mut daemon = Echod::start(&it(&format!("mode = \"epoll\"\n{more}")));
        let before = daemon.client("it");
        before.echo(b"before");
        let Some(strace) = Strace::failing(&daemon, "epoll_ctl", "ENOMEM") else { return };
        let lost = daemon.client("it");
        assert!(lost.is_ended());
        daemon.client("it").echo(b"and the next");
        drop(strace);
        before.echo(b"after");
        daemon.wait_state("it", |state| state["unwatchable"] == 1 && state["open"] == 1);
        drop(before);
        daemon.stop();
    }
}

/// A listening socket that cannot be watched again once there is a place is not forgotten.
#[test]
fn a_listener_that_cannot_be_watched_is_tried_again() {
    for (_, more, _) in LOOPS.into_iter().filter(|(mode, ..)| *mode == "epoll") {
        let mut daemon = Echod::start(&it(&format!("mode = \"epoll\"\n{more}\nmax-connections = 1")));
        let first = daemon.client("it");
        first.echo(b"first");
        // To watch for a place, to end watching the listener, and to watch it again, twice.
        let Some(strace) = Strace::failing_times(&daemon, "epoll_ctl", "ENOMEM", 6) else { return };
        let second = daemon.client("it");
        second.send(b"second");
        drop(first);
        assert_eq!(second.receive(6), b"second");
        drop(strace);
        drop(second);
        daemon.client("it").echo(b"third");
        assert!(!daemon.log().contains("a worker was lost"), "{}", daemon.log());
        daemon.stop();
    }
}

/// While no wait succeeds nobody is served, and then everybody is.
#[test]
fn a_long_shortage_delays_and_loses_nobody() {
    for (keys, call) in loops(1) {
        let mut daemon = Echod::start(&it(&keys));
        let before = daemon.client("it");
        before.echo(b"before");
        let Some(strace) = Strace::failing_times(&daemon, call, "ENOMEM", 3) else { return };
        // The loop may have been waiting when that began.
        let told = poll(|| {
            let _ = before.try_send(b".");
            daemon.log().contains("cannot wait for clients: ").then_some(())
        });
        daemon.or_log(told, "a word of the shortage");
        daemon.client("it").echo(b"meanwhile");
        before.send(b"!");
        eventually("the answers", || {
            let mut answer = [0; 64];
            let length = before.read(&mut answer).unwrap_or_else(|error: io::Error| panic!("{error}"));
            answer[..length].ends_with(b"!").then_some(())
        });
        assert!(daemon.state("it")["exhausted"] > 1, "{}", daemon.log());
        drop((before, strace));
        daemon.stop();
    }
}
