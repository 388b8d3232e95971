//! Many datagrams at once: an event loop goes on without asking its poller, and epoll does not even watch the socket
//! meanwhile.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use nix::sys::signal::Signal;

use crate::{
    harness::{Client, Echod, Over, can_be_had, pattern},
    stream::strace::Strace,
};

/// Each behaviour for each mode: a failure reads `bursts::who_was_left_alone_is_heard_again::edge`.
macro_rules! in_every_mode {
    ($($name:ident)*) => {$(
        mod $name {
            #[test] fn select() { super::$name("\"select\"") }
            #[test] fn poll() { super::$name("\"poll\"") }
            #[test] fn epoll() { super::$name("\"epoll\"") }
            #[test] fn edge() { super::$name("\"epoll\"\ntrigger = \"edge\"") }
            #[test] fn io_uring() { super::$name("\"io-uring\"") }
        }
    )*};
}

in_every_mode! {
    who_was_left_alone_is_heard_again a_rest_is_one_for_all_sockets a_stop_ends_a_burst requests_are_counted
    every_datagram_is_answered_alone
}

/// As many as a batch has room for, and then as many again: so the socket counts as busy.
const CLIENTS: usize = 32;
const EACH: usize = 8;

fn start(mode: &str, keys: &str) -> Echod {
    Echod::start(&format!(
        "[[listener]]\nname = \"it\"\nprotocol = \"udp\"\naddress = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\nmode = {mode}\n{keys}\n"
    ))
}

fn clients(daemon: &Echod) -> Vec<Client> {
    let sockets = daemon.endpoints("it");
    (0..CLIENTS).map(|i| Client::connect(&sockets[i % sockets.len()])).collect()
}

fn text(number: usize) -> Vec<u8> {
    format!("datagram {number}").into_bytes()
}

/// Lets the daemon find datagrams of all clients at once.
fn burst(daemon: &Echod, clients: &[Client]) {
    daemon.signal(Signal::SIGSTOP);
    for number in 0..EACH {
        clients.iter().for_each(|client| client.send(&text(number)));
    }
    daemon.signal(Signal::SIGCONT);
}

fn who_was_left_alone_is_heard_again(mode: &str) {
    let daemon = start(mode, "");
    let clients = clients(&daemon);
    for _ in 0..3 {
        burst(&daemon, &clients);
        for client in &clients {
            (0..EACH).for_each(|number| assert_eq!(client.receive(100), text(number)));
        }
        clients.iter().for_each(|client| client.echo(b"one by one"));
    }
}

/// A socket that was told of together with the one where memory was short is left alone until the rest is over, and watched as
/// ever then.
fn a_rest_is_one_for_all_sockets(mode: &str) {
    const WAITS: [&str; 4] = ["select", "poll(", "wait(", "io_uring_enter("];
    let daemon = start(mode, "workers = 1");
    let clients = clients(&daemon);
    let Some(strace) = Strace::failing(&daemon, "recvmmsg", "ENOMEM") else { return };
    for _ in 0..2 {
        burst(&daemon, &clients);
        for client in &clients {
            (0..EACH).for_each(|number| assert_eq!(client.receive(100), text(number)));
        }
        clients.iter().for_each(|client| client.echo(b"one by one"));
    }
    daemon.wait_log(|line| line.contains("cannot receive at") && line.contains("memory"));
    let text = strace.text();
    let mut after = text.lines().skip_while(|line| !line.contains("(INJECTED)")).skip(1);
    let next = after.find(|line| line.contains("recvmmsg(") || WAITS.iter().any(|wait| line.contains(wait)));
    assert!(next.is_some_and(|line| !line.contains("recvmmsg(")), "{mode}: {text}");
    // Epoll's list was changed only where there was something to change.
    assert!(!text.lines().any(|line| line.contains("epoll_ctl(") && line.contains("ENOENT")), "{text}");
}

/// There is always more to receive, and the loop looks up all the same.
fn a_stop_ends_a_burst(mode: &str) {
    let mut daemon = start(mode, "");
    let clients = clients(&daemon);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for clients in clients.chunks(CLIENTS / 2) {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Relaxed) {
                    // Refused once the daemon has gone.
                    clients.iter().for_each(|client| _ = client.try_send(b"again and again"));
                }
            });
        }
        // Also if one of these fails.
        let _over = Over(&over);
        daemon.wait_state("it", |state| state["served"] > 20_000);
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.wait_exit().code(), Some(0), "{}", daemon.log());
    });
}

/// Answers that follow each other to one peer may be sent together; what arrives is one for each request.
fn every_datagram_is_answered_alone(mode: &str) {
    // In order: longer and shorter than the one before, empty, and around what is sent together at most.
    const LENGTHS: [usize; 20] =
        [7, 7, 7, 3, 7, 0, 0, 9, 9, 1, 1232, 1232, 1232, 40, 1233, 1233, 8000, 8000, 5, 5];
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"].into_iter().filter(|address| can_be_had(address)) {
        for gso in [true, false] {
            let daemon = Echod::start(&format!(
                "[[listener]]\nname = \"it\"\nprotocol = \"udp\"\naddress = \"{address}\"\ngso = {gso}\nmode = {mode}\n"
            ));
            let (client, other) = (daemon.client("it"), daemon.client("it"));
            daemon.signal(Signal::SIGSTOP);
            for length in LENGTHS {
                client.send(&pattern(LENGTHS.len() + length)[..length]);
            }
            other.send(b"somebody else");
            client.send(b"the last");
            daemon.signal(Signal::SIGCONT);
            for length in LENGTHS {
                assert_eq!(client.receive(length), pattern(LENGTHS.len() + length)[..length], "{address}");
            }
            assert_eq!(client.receive(100), b"the last");
            assert_eq!(other.receive(100), b"somebody else");
            daemon.wait_state("it", |state| state["served"] == LENGTHS.len() as u64 + 2);
        }
    }
}

fn requests_are_counted(mode: &str) {
    let mut daemon = start(mode, "max-requests = 100");
    let clients = clients(&daemon);
    burst(&daemon, &clients);
    daemon.expect_success();
    let answered = clients.iter().map(|client| client.arrived().len()).sum::<usize>();
    assert_eq!(answered, 100, "{}", daemon.log());
}
