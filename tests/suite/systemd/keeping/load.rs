//! Restarts while clients keep coming.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;

use super::{FdStore, MODES, assert_quiet};
use crate::harness::{
    Client, Echod, Endpoint, LONG, Over, eventually, for_each_protocol, for_each_stream, pattern, poll,
};

/// One client after the other, until it is over. Who connects is answered, or ended politely by a daemon that stops; a
/// datagram is answered in any case.
fn come_and_go(endpoint: &Endpoint, over: &AtomicBool, served: &AtomicU32) {
    while !over.load(Relaxed) {
        // Panics if it is refused, or if nothing is heard in time.
        let client = Client::connect(endpoint);
        client.send(b"hello");
        let mut answer = [0; 5];
        match client.read(&mut answer) {
            Ok(5) if answer == *b"hello" => _ = served.fetch_add(1, Relaxed),
            // Accepted by a daemon that was told to stop before the request came.
            Ok(0) if !client.is_datagram() => {}
            other => panic!("{other:?} {answer:?}"),
        }
    }
}

/// Waits until this daemon has served some, and the manager has heard it.
#[track_caller]
fn wait_served(daemon: &Echod, store: &mut FdStore, served: &AtomicU32) {
    let before = served.load(Relaxed);
    daemon.or_log(poll(|| (served.load(Relaxed) > before + 20).then_some(())), "clients to be served");
    store.catch_up();
}

for_each_protocol! { not_one_connect_is_refused_and_no_datagram_lost }

fn not_one_connect_is_refused_and_no_datagram_lost(protocol: &str) {
    let Some(mut store) = FdStore::new() else { return };
    let mut daemon = store.start(&store.in_turn(protocol, 0));
    let endpoint = daemon.endpoint("it");
    let (over, served) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let _over = Over(&over);
        for _ in 0..4 {
            scope.spawn(|| come_and_go(&endpoint, &over, &served));
        }
        for turn in 1..=MODES.len() {
            wait_served(&daemon, &mut store, &served);
            daemon.stop();
            assert_quiet(&daemon);
            daemon = store.start(&store.in_turn(protocol, turn));
        }
        wait_served(&daemon, &mut store, &served);
    });
    daemon.stop();
    assert!(served.load(Relaxed) > 200, "only {served:?} were served");
}

for_each_stream! { a_drain_leaves_newcomers_to_the_next_one }

/// From the signal on nobody new is accepted, though the drain goes on: who comes meanwhile is not cut with the old ones.
fn a_drain_leaves_newcomers_to_the_next_one(protocol: &str) {
    for (mode, workers) in MODES {
        let Some(mut store) = FdStore::new() else { return };
        let more = format!("mode = \"{mode}\"\n{workers}");
        let toml = "[daemon]\ndrain-timeout = \"60s\"\n".to_owned() + &store.listener(protocol, &more);
        let mut daemon = store.start(&toml);
        let (endpoint, old) = (daemon.endpoint("it"), daemon.client("it"));
        old.flood(pattern(LONG));
        daemon.signal(Signal::SIGTERM);
        store.until("STOPPING=1");
        let waits = || {
            let new = Client::connect(&endpoint);
            new.send(b"new");
            new.hears_nothing_for(Duration::from_millis(50)).then_some(new)
        };
        // A thread that was just accepting may still have got one, and on a busy machine take long to answer it; nobody gets
        // the next.
        let first = eventually("a client that waits", waits);
        let last = eventually("another client that waits", waits);
        // Told again, it cuts who is still there.
        daemon.signal(Signal::SIGTERM);
        daemon.wait_exit();
        assert!(last.has_nothing(), "{protocol} {mode} {workers}");
        let left = if first.has_nothing() { vec![first, last] } else { vec![last] };
        let mut next = store.start(&toml);
        for new in left {
            assert_eq!(new.receive(3), b"new", "{protocol} {mode} {workers}\n{}", next.log());
        }
        drop(old);
        next.stop();
    }
}
