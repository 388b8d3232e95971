//! Connections that a process takes along when it dies, or that are cut, are counted as ended like all others.

use std::time::{Duration, Instant};

use echod::report::close_reason::CloseKind;
use nix::sys::signal::Signal;

use super::survival::kill_process;
use crate::harness::{Client, Echod, LONG, eventually, has_mode, listener, pattern};

/// Its parent knows when it was accepted. A child before it that had the same place in the table lasted longer.
#[test]
fn a_connection_of_a_killed_child_has_its_reason_and_its_own_duration() {
    for protocol in ["tcp", "unix"] {
        let daemon = Echod::start(&listener("it", protocol, "mode = \"forking\""));
        let (counters, since) = (daemon.counters(), Instant::now());
        let client = daemon.client("it");
        client.echo(b"hello");
        assert!(client.hears_nothing_for(Duration::from_millis(200)));
        drop(client);
        daemon.wait_state("it", |state| state["open"] == 0 && state["served"] == 1);
        let (first, since) = (since.elapsed(), Instant::now());
        let victim = daemon.client("it");
        victim.echo(b"victim");
        kill_process(daemon.grandchildren()[0], Signal::SIGKILL);
        daemon.wait_state("it", |state| state["open"] == 0 && state["died"] == 1 && state["errors"] == 1);
        let open = first + since.elapsed();
        let totals = counters.totals();
        assert_eq!([totals.ended["peer-closed"], totals.ended["killed"]], [1, 1]);
        assert_eq!((totals.durations.iter().sum::<u64>(), totals.empty), (2, 0));
        assert!(totals.duration_seconds_sum > 0.15, "{totals:?}");
        assert!(totals.duration_seconds_sum < open.as_secs_f64(), "{totals:?} in {open:?}");
    }
}

/// Only the worker that had a client has lost a connection.
#[test]
fn a_connection_of_a_killed_worker_is_counted() {
    for protocol in ["tcp", "unix"] {
        let daemon = Echod::start(&listener("it", protocol, "mode = \"forking\"\nworkers = 2"));
        let counters = daemon.counters();
        let victim = daemon.client("it");
        victim.echo(b"victim");
        assert!(victim.hears_nothing_for(Duration::from_millis(100)));
        let workers = daemon.grandchildren();
        workers.iter().for_each(|worker| kill_process(*worker, Signal::SIGKILL));
        daemon.wait_state("it", |state| state["open"] == 0 && state["died"] == workers.len() as u64);
        daemon.client("it").echo(b"the next");
        daemon.wait_state("it", |state| state["open"] == 0 && state["served"] == 2);
        let totals = counters.totals();
        assert_eq!([totals.ended["peer-closed"], totals.ended["killed"], totals.errors], [1, 1, 0]);
        assert_eq!(totals.durations.iter().sum::<u64>(), 2);
        assert!(totals.duration_seconds_sum > 0.05, "{totals:?}");
    }
}

/// Nobody is left who would know how long they were open.
#[test]
fn connections_of_a_killed_owner_are_counted() {
    for workers in ["", "workers = 4"] {
        let daemon = Echod::start(&listener("it", "tcp", &format!("mode = \"forking\"\n{workers}")));
        let counters = daemon.counters();
        let clients: Vec<Client> = (0..3).map(|_| daemon.client("it")).collect();
        clients.iter().for_each(|client| client.echo(b"hello"));
        let family = daemon.group();
        kill_process(daemon.children()[0], Signal::SIGKILL);
        // Until then one of them could take the next client along.
        eventually("the old family to be gone", || {
            let now = daemon.group();
            family.iter().all(|pid| *pid == daemon.pid() || !now.contains(pid)).then_some(())
        });
        daemon.client("it").echo(b"the next");
        daemon.wait_state("it", |state| state["open"] == 0 && state["served"] == 4);
        let totals = counters.totals();
        assert_eq!([totals.ended["killed"], totals.ended["peer-closed"], totals.died], [3, 1, 1]);
        assert_eq!(totals.durations.iter().sum::<u64>(), 1);
    }
}

/// Its clients do not read, so that each is cut when the time to drain is over.
#[test]
fn connections_that_are_cut_with_their_listener_are_counted() {
    let modes = ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"];
    for mode in modes.into_iter().filter(|mode| has_mode(mode)) {
        for workers in ["", "workers = 2"] {
            if !["threading", "forking"].contains(&mode) && !workers.is_empty() {
                continue;
            }
            // Another kind of socket, which cannot take over that of the first one.
            let [before, after] = ["tcp", "udp"].map(|protocol| {
                let keys = format!("mode = \"{mode}\"\n{workers}");
                format!("[daemon]\ndrain-timeout = \"50ms\"\n{}", listener("it", protocol, &keys))
            });
            let daemon = Echod::start(&before);
            let counters = daemon.counters();
            // A mode that serves one client at a time has one that could be cut.
            let clients: Vec<Client> = (0..if mode == "iterative" { 1 } else { 2 })
                .map(|_| {
                    let client = daemon.client("it");
                    client.flood(pattern(LONG));
                    client
                })
                .collect();
            daemon.reload(&after);
            daemon.wait_log(|line| line.contains("were cut") || line.contains("was cut"));
            let totals = counters.totals();
            let (cut, served) = (counters.ended_by(CloseKind::DrainTimeout), clients.len() as u64);
            assert_eq!((cut, totals.served), (served, served), "{mode} {workers}: {totals:?}");
        }
    }
}
