//! From the first request to the last: limits on how long the daemon lives, and how it is told to end.

use std::{
    io::{ErrorKind, Write},
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    harness::{Client, Echod, pattern},
    matrix::{Combination, classes},
};

#[test]
fn max_requests_counts_connections_exactly() {
    for class in classes().into_iter().filter(|class| matches!(class.protocol, "tcp" | "unix")) {
        for workers in ["", "1", "2"] {
            if class.mode == "iterative" && !workers.is_empty() {
                continue;
            }
            let class = Combination { workers, ..class };
            let mut daemon = class.start_with("", "max-requests = 5");
            // They may be refused from the sixth on, at any moment.
            let clients =
                (0..10).filter_map(|_| Client::try_connect(&daemon.endpoint("it")).ok()).collect::<Vec<_>>();
            let served = clients.into_iter().filter(asks_in_vain_or_is_served).count();
            assert_eq!(served, 5, "{} {} {workers}\n{}", class.protocol, class.mode, daemon.log());
            daemon.expect_success();
        }
    }
}

#[test]
fn max_requests_counts_datagrams_exactly() {
    for class in classes().into_iter().filter(|class| matches!(class.protocol, "udp" | "unix-datagram")) {
        for workers in ["", "1", "2", "\"per-request\""] {
            if class.mode == "iterative" && !workers.is_empty() {
                continue;
            }
            let class = Combination { workers, ..class };
            let mut daemon = class.start_with("", "max-requests = 5");
            // Connected, a unix client would lose what it has not read when it sends to nobody.
            let client = Client::unconnected(&daemon.endpoint("it"));
            // After the fifth the socket may be gone.
            (0..10).for_each(|_| drop(client.try_send(b"request")));
            daemon.expect_success();
            let context = format!("{} {} {workers}\n{}", class.protocol, class.mode, daemon.log());
            assert_eq!(client.arrived(), [7; 5], "{context}");
        }
    }
}

/// The daemon goes on as long as one listener does.
#[test]
fn the_last_listener_ends_the_daemon() {
    let mut daemon = Echod::start(
        "[defaults]\nprotocol = \"tcp\"\n[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\nmax-requests = 1\n\
         [[listener]]\nname = \"b\"\nprotocol = \"udp\"\naddress = \"127.0.0.1:0\"\nmax-requests = 2\n",
    );
    daemon.client("a").echo(b"first and last");
    daemon.client("b").echo(b"one");
    assert!(daemon.exited().is_none());
    daemon.client("b").echo(b"two");
    daemon.expect_success();
}

/// `handle_timeout`: nothing was served and nothing is open for so long.
#[test]
fn the_daemon_ends_when_it_is_idle() {
    let start = |class: Combination| class.start_with("exit-idle-time = \"1s\"", "");
    let mut daemons = classes().into_iter().map(start).collect::<Vec<_>>();
    daemons.iter_mut().for_each(Echod::expect_success);
}

#[test]
fn a_daemon_with_a_client_is_not_idle() {
    let streams = classes().into_iter().filter(|class| matches!(class.protocol, "tcp" | "unix"));
    let started = streams.map(|class| {
        let daemon = class.start_with("exit-idle-time = \"1s\"", "");
        let client = daemon.client("it");
        client.echo(b"x");
        (daemon, client)
    });
    let started = started.collect::<Vec<_>>();
    assert!(started[0].1.hears_nothing_for(Duration::from_millis(2500)));
    let alive = started.into_iter().map(|(mut daemon, client)| {
        assert!(daemon.exited().is_none(), "ended with a client\n{}", daemon.log());
        client.echo(b"still here");
        daemon
    });
    // The clients are gone now, all of them.
    alive.collect::<Vec<_>>().iter_mut().for_each(Echod::expect_success);
}

#[test]
fn interrupt_drains_like_term() {
    for class in classes() {
        let mut daemon = class.start();
        let client = daemon.client("it");
        client.echo(b"x");
        daemon.signal(Signal::SIGINT);
        if matches!(class.protocol, "tcp" | "unix") {
            assert!(client.rest().is_empty());
        }
        drop(client);
        daemon.expect_success();
    }
}

/// What a service manager does that signals the whole control group, or a shell that signals a whole job: the forked
/// family is told, too. Nobody's echo is lost.
#[test]
fn a_signal_to_the_whole_family_drains_too() {
    for class in classes().into_iter().filter(|class| matches!(class.protocol, "tcp" | "unix")) {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let mut daemon = class.start_with("drain-timeout = \"60s\"", "");
            let client = daemon.client("it");
            let sent = pattern(100_000);
            client.echo(b"accepted");
            client.send(sent);
            client.wait_arrived();
            for pid in daemon.group() {
                crate::robustness::survival::signal_process(pid, signal);
            }
            assert!(client.rest() == sent, "{signal} {} {}\n{}", class.protocol, class.mode, daemon.log());
            drop(client);
            daemon.expect_success();
        }
    }
}

#[test]
fn a_broken_pipe_ends_nothing() {
    for class in classes() {
        let daemon = class.start();
        for pid in daemon.group() {
            crate::robustness::survival::signal_process(pid, Signal::SIGPIPE);
        }
        daemon.client("it").echo(b"hello world\n");
    }
}

/// Whether a request is answered; whoever is not must be told so by the end of the connection.
fn asks_in_vain_or_is_served(client: &Client) -> bool {
    // The end may have come already: then writing fails, and so does reading.
    let _ = (&client.socket).write_all(b"request");
    let mut answer = Vec::new();
    let mut buffer = [0; 7];
    while answer.len() < 7 {
        match client.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("neither served nor ended"),
            Err(_) => return false,
        }
    }
    answer == b"request"
}
