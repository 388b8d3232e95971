//! How many at once and how fast: limits of the listener as a whole, and of each source.

use std::{collections::BTreeMap, time::Duration};

use nix::{sys::signal::Signal, unistd::geteuid};

use crate::{
    access::lists::{datagrams, streams},
    harness::{Client, Echod, Launch, eventually, poll, proc},
    matrix::Combination,
    robustness::survival::signal_process,
};

/// Those that serve several at once, pools with four workers.
fn several(protocol: &'static str, address: &'static str) -> impl Iterator<Item = Combination> {
    let pooled = |way: &Combination| matches!(way.mode, "threading" | "forking") && !way.workers.is_empty();
    streams(protocol, address)
        .filter(|way| way.mode != "iterative")
        .map(move |way| if pooled(&way) { Combination { workers: "4", ..way } } else { way })
}

/// Those that can tell that they are full: in a pool clients wait for a worker.
fn without_pools(protocol: &'static str, address: &'static str) -> impl Iterator<Item = Combination> {
    several(protocol, address).filter(|way| way.workers != "4")
}

/// Whether it is served, and not ended.
fn is_served(client: &Client) -> bool {
    client.try_send(b"x").is_ok() && client.read(&mut [0]).is_ok_and(|length| length == 1)
}

#[test]
fn so_many_of_a_source_and_no_more() {
    for way in several("tcp", "127.0.0.1:0") {
        let daemon = way.start_with("", "max-connections-per-source = 3");
        let endpoint = daemon.endpoint("it");
        let clients = (0..9).map(|_| daemon.client("it")).collect::<Vec<_>>();
        let mut served = clients.into_iter().filter(is_served).collect::<Vec<_>>();
        assert_eq!(served.len(), 3, "{way:?}\n{}", daemon.log());
        daemon.wait_state("it", |state| {
            ["open", "served", "refused", "source-full"].map(|key| state[key]) == [3, 3, 6, 6]
        });
        let other = Client::connect_from(&endpoint, "127.0.0.2");
        assert!(is_served(&other), "{way:?}");
        drop((served.pop(), other));
        // Its place is free again, and there is one only.
        let next = poll(|| Some(daemon.client("it")).filter(is_served));
        served.push(daemon.or_log(next, "the place of one that left"));
        assert!(!is_served(&daemon.client("it")), "{way:?}");
        assert!(served.iter().all(is_served), "{way:?}");
    }
}

#[test]
fn a_user_is_the_source_of_a_unix_connection() {
    for way in several("unix", "it.sock") {
        let daemon = way.start_with("", "max-connections-per-source = 2");
        let served = (0..4).map(|_| daemon.client("it")).filter(is_served).collect::<Vec<_>>();
        assert_eq!(served.len(), 2, "{way:?} as user {}", geteuid());
        daemon.wait_state("it", |state| state["source-full"] == 2);
    }
}

/// Whatever a process had open when it was killed is given back.
#[test]
fn a_killed_process_gives_its_counts_back() {
    for workers in ["", "2"] {
        let (protocol, address, mode) = ("tcp", "127.0.0.1:0", "forking");
        let daemon =
            Combination { protocol, address, mode, workers }.start_with("", "max-connections-per-source = 1");
        for _ in 0..3 {
            let next = poll(|| Some(daemon.client("it")).filter(is_served));
            let client = daemon.or_log(next, "the place of one that was killed");
            assert!(!is_served(&daemon.client("it")));
            for pid in daemon.grandchildren() {
                signal_process(pid, Signal::SIGKILL);
            }
            assert!(!is_served(&client));
        }
    }
}

/// So does the owner of a forking listener: the next one begins with nothing open.
#[test]
fn a_killed_owner_gives_all_counts_back() {
    for workers in ["", "2"] {
        let (protocol, address, mode) = ("tcp", "127.0.0.1:0", "forking");
        let daemon =
            Combination { protocol, address, mode, workers }.start_with("", "max-connections-per-source = 1");
        let client = daemon.client("it");
        assert!(is_served(&client) && !is_served(&daemon.client("it")));
        signal_process(daemon.children()[0], Signal::SIGKILL);
        daemon.or_log(poll(|| (!is_served(&client)).then_some(())), "the end of its children");
        let next = poll(|| Some(daemon.client("it")).filter(is_served));
        let next = daemon.or_log(next, "a place at the next owner");
        assert!(!is_served(&daemon.client("it")) && is_served(&next));
    }
}

#[test]
fn connections_come_in_at_the_rate_of_the_listener() {
    for way in streams("tcp", "127.0.0.1:0") {
        let daemon = way.start_with("", "connection-rate = \"2/h burst 3\"");
        let endpoint = daemon.endpoint("it");
        // Wherever they come from.
        let sources = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].iter().cycle();
        let served = sources.take(9).filter(|ip| is_served(&Client::connect_from(&endpoint, ip))).count();
        assert_eq!(served, 3, "{way:?}");
        daemon.wait_state("it", |state| {
            ["served", "refused", "connection-rate"].map(|key| state[key]) == [3, 6, 6]
        });
    }
}

#[test]
fn a_source_that_connects_too_fast_cools_down() {
    for way in streams("tcp", "127.0.0.1:0") {
        let daemon = way.start_with("", "rate-per-source = \"1/h burst 3\"\ncool-down = \"1h\"");
        let endpoint = daemon.endpoint("it");
        let mut served = BTreeMap::new();
        for ip in ["127.0.0.1", "127.0.0.2"].repeat(7) {
            *served.entry(ip).or_insert(0) += usize::from(is_served(&Client::connect_from(&endpoint, ip)));
        }
        assert_eq!(served.into_values().collect::<Vec<_>>(), [3, 3], "{way:?}");
        daemon.wait_state("it", |state| {
            ["served", "refused", "rate", "cool-down"].map(|key| state[key]) == [6, 8, 2, 6]
        });
    }
}

#[test]
fn a_source_that_sends_too_fast_cools_down() {
    for way in datagrams("127.0.0.1:0") {
        for (rate, size, more) in [("5/h", 10, 20), ("1000/s, 10KB/h burst 65536B", 13_000, 6)] {
            let daemon = way.start_with("", &format!("rate-per-source = \"{rate}\"\ncool-down = \"1h\""));
            let endpoint = daemon.endpoint("it");
            let noisy = Client::connect_from(&endpoint, "127.0.0.2");
            let message = vec![b'x'; size];
            (0..5).for_each(|_| noisy.echo(&message));
            // Of two that come at once, to two workers, both may be the first that is too much.
            for (sent, count) in [(1, 1), (more, more - 1)] {
                (0..count).for_each(|_| noisy.send(&message));
                daemon.wait_state("it", |state| {
                    ["refused", "rate", "cool-down"].map(|key| state[key]) == [sent, 1, sent - 1]
                });
            }
            assert!(noisy.has_nothing(), "{way:?} {rate}");
            Client::connect_from(&endpoint, "127.0.0.3").echo(&message);
        }
    }
}

/// One datagram of many is refused, and after the rest all is as before.
#[test]
fn a_source_that_has_cooled_down_is_served() {
    for way in datagrams("127.0.0.1:0") {
        let daemon = way.start_with("", "rate-per-source = \"1000/s burst 1\"\ncool-down = \"50ms\"");
        let client = daemon.client("it");
        let refused = poll(|| {
            (0..64).for_each(|_| client.send(b"again"));
            (daemon.state("it")["rate"] > 0).then_some(())
        });
        daemon.or_log(refused, "a refusal");
        client.arrived();
        client.socket.set_nonblocking(false).unwrap();
        eventually("an answer", || {
            client.send(b"now?");
            (!client.hears_nothing_for(Duration::from_millis(60))).then_some(())
        });
    }
}

#[test]
fn who_finds_it_full_is_told() {
    for way in without_pools("tcp", "127.0.0.1:0").chain(without_pools("unix", "it.sock")) {
        let keys = "max-connections = 2\nwhen-full = \"message\"\nrefusal = \"come back later\"";
        let daemon = way.start_with("", keys);
        let mut served = [daemon.client("it"), daemon.client("it")];
        assert!(served.iter().all(is_served), "{way:?}");
        for _ in 0..5 {
            // What it has sent is not read by anybody, and yet it can read what it is told.
            let refused = daemon.client("it");
            let _ = refused.try_send(b"let me in");
            assert_eq!(told(&refused), "come back later\n", "{way:?}");
        }
        daemon.wait_state("it", |state| {
            ["open", "served", "refused", "full"].map(|key| state[key]) == [2, 2, 5, 5]
        });
        drop(std::mem::replace(&mut served[0], daemon.client("it")));
        // The replacement may have come too early.
        let next = poll(|| Some(daemon.client("it")).filter(is_served));
        drop(daemon.or_log(next, "the place of one that left"));
        assert!(is_served(&served[1]));
    }
}

/// What it writes before it reads, also when it was refused already, does not take the message away.
#[test]
fn who_finds_it_full_may_write_before_it_reads() {
    for way in without_pools("tcp", "127.0.0.1:0").chain(without_pools("unix", "it.sock")) {
        let keys = "max-connections = 1\nwhen-full = \"message\"\nrefusal = \"come back later\"";
        let daemon = way.start_with("", keys);
        let served = daemon.client("it");
        assert!(is_served(&served));
        let refused: Vec<Client> = (0..10).map(|_| daemon.client("it")).collect();
        refused.iter().for_each(|client| client.send(b"let me in"));
        daemon.wait_state("it", |state| state["full"] == 10);
        refused.iter().for_each(|client| client.send(b"please"));
        for client in &refused {
            assert_eq!(client.rest(), b"come back later\n", "{way:?}");
        }
        assert!(is_served(&served));
    }
}

/// A crowd that is told and does not go takes few descriptors, and holds up nobody.
#[test]
fn few_of_those_who_are_told_are_waited_for() {
    const MOST: usize = 64;
    for way in without_pools("tcp", "127.0.0.1:0") {
        let daemon = way.start_with("", "max-connections = 1\nwhen-full = \"message\"");
        let served = daemon.client("it");
        assert!(is_served(&served));
        let descriptors =
            || daemon.group().into_iter().map(|pid| proc::descriptors(pid).len()).sum::<usize>();
        let before = descriptors();
        let crowd: Vec<Client> = (0..4 * MOST).map(|_| daemon.client("it")).collect();
        daemon.wait_state("it", |state| state["full"] == crowd.len() as u64);
        let now = descriptors();
        assert!(now <= before + MOST, "{way:?}: {before} descriptors have become {now}");
        assert!(crowd.iter().all(|client| told(client).ends_with("try again later\n")), "{way:?}");
        assert!(is_served(&served));
        drop(crowd);
        daemon.or_log(poll(|| (descriptors() <= before).then_some(())), "the end of the crowd");
    }
}

/// A client that has seen its end knows that it has gone, and comes again.
#[test]
fn who_comes_after_a_child_has_ended_is_not_refused() {
    for way in without_pools("tcp", "127.0.0.1:0").chain(without_pools("unix", "it.sock")) {
        if way.mode != "forking" {
            continue;
        }
        let daemon = way.start_with("", "max-connections = 1\nwhen-full = \"refuse\"");
        for _ in 0..100 {
            let client = daemon.client("it");
            client.echo(b"let me in");
            client.half_close();
            assert!(client.rest().is_empty());
        }
        daemon.wait_state("it", |state| state["served"] == 100 && state["full"] == 0);
    }
}

#[test]
fn who_finds_it_full_is_refused() {
    for way in without_pools("tcp", "127.0.0.1:0") {
        let daemon = way.start_with("", "max-connections = 1\nwhen-full = \"refuse\"");
        let served = daemon.client("it");
        assert!(is_served(&served));
        assert!((0..20).all(|_| daemon.client("it").is_ended()), "{way:?}");
        assert!(is_served(&served));
        daemon.wait_state("it", |state| ["open", "served", "full"].map(|key| state[key]) == [1, 1, 20]);
        // One for each, and one that there are any.
        daemon.wait_lines(21, |line| line.contains("refused (full): "));
    }
}

/// Also where clients of others wait.
#[test]
fn who_has_too_many_open_is_told() {
    let keys = "max-connections-per-source = 1\nwhen-full = \"message\"";
    for way in without_pools("tcp", "127.0.0.1:0") {
        let daemon = way.start_with("", keys);
        let served = daemon.client("it");
        assert!(is_served(&served));
        assert_eq!(told(&daemon.client("it")), "too many connections, try again later\n", "{way:?}");
    }
}

fn told(client: &Client) -> String {
    let mut told = Vec::new();
    let mut buffer = [0; 100];
    // A reset behind the words is as good an end.
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        told.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8(told).unwrap()
}

/// A full daemon that refuses still stops at once, and what it serves is answered.
#[test]
fn a_full_daemon_that_refuses_stops() {
    for way in without_pools("tcp", "127.0.0.1:0") {
        let mut daemon: Echod = way.start_with("", "max-connections = 1\nwhen-full = \"refuse\"");
        let served = daemon.client("it");
        assert!(is_served(&served) && !is_served(&daemon.client("it")));
        served.send(b"last words");
        served.wait_arrived();
        daemon.signal(Signal::SIGTERM);
        assert_eq!(served.rest(), b"last words", "{way:?}");
        drop(served);
        daemon.expect_success();
    }
}

#[test]
fn faulty_limits_are_refused() {
    let check = |keys: &str, words: &[&str]| {
        let listener = "[[listener]]\nname = \"it\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n";
        let launch = Launch::new().config(&format!("{listener}{keys}\n")).args(&["--check"]);
        launch.run().expect(78, &[&["echod.toml:5:"], words].concat());
    };
    check("connection-rate = \"50\"", &["`50` is not a rate", "50/s"]);
    check("connection-rate = \"1MB/s\"", &["counts bytes"]);
    check("rate-per-source = \"1MB/s\"", &["bytes of datagrams"]);
    check("max-connections-per-source = -1", &["max-connections-per-source"]);
    check("source-prefix = 129", &["source-prefix"]);
    check("cool-down = \"soon\"", &["duration"]);
    check("when-full = \"wiat\"", &["did you mean `wait`"]);
    check("when-full = \"refuse\"\nmode = \"iterative\"", &["fixed number of workers"]);
    check("when-full = \"refuse\"\nmode = \"forking\"\nworkers = 2", &["fixed number of workers"]);
    check("refusal = \"\"", &["refusal"]);
}
