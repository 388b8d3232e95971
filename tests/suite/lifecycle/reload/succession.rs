//! Many reloads, one after the other.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use echod::report::log_event::LogEvent;
use nix::sys::signal::Signal;

use super::modes;
use crate::{
    harness::{Client, Echod, eventually, fitted, it, listener, pattern, poll, proc},
    robustness::survival::signal_process,
};

/// A hundred reloads through all modes while clients come, go and stay: not a byte is lost, nobody is refused, and in the
/// end nothing is left of the generations in between.
#[test]
fn a_storm_of_reloads_loses_nothing() {
    let toml =
        |(mode, workers): (&str, &str)| it(&format!("mode = \"{mode}\"\n{workers}\nmax-connections = 200"));
    // Iterative serves one client at a time: those who stay would keep the others waiting.
    let modes: Vec<_> = modes().into_iter().filter(|(mode, _)| *mode != "iterative").collect();
    let mut daemon = Echod::start(&toml(modes[0]));
    let endpoint = daemon.endpoint("it");
    daemon.client("it").echo(b"hello");
    daemon.wait_state("it", |state| state["open"] == 0);
    let before = (proc::descriptors(daemon.pid()).len(), proc::threads(daemon.pid()));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    Client::connect(&endpoint).echo(b"come and gone");
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let client = Client::connect(&endpoint);
                while !over.load(Relaxed) {
                    client.echo(pattern(10_000));
                }
            });
        }
        let staying: Vec<_> = (0..20).map(|_| Client::connect(&endpoint)).collect();
        let storm = || {
            for round in 1..=100 {
                daemon.reload(&toml(modes[round % modes.len()]));
                staying[round % staying.len()].echo(b"still here");
            }
        };
        let stormed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(storm));
        over.store(true, Relaxed);
        stormed.unwrap();
        staying.iter().for_each(|client| client.echo(b"until the end"));
    });
    daemon.reload(&toml(modes[0]));
    let after = || (proc::descriptors(daemon.pid()).len(), proc::threads(daemon.pid()));
    let closed = poll(|| (after() == before && daemon.children().is_empty()).then_some(()));
    assert!(closed.is_some(), "{before:?} {:?} {:?}", after(), proc::descriptors(daemon.pid()));
    daemon.stop();
    daemon.expect_no_trouble();
}

/// Signals that come faster than they can be acted on end in the state of the file.
#[test]
fn a_burst_of_signals_ends_in_one_state() {
    let (mut daemon, modes) = (Echod::start(&it("")), modes());
    let old = daemon.client("it");
    old.echo(b"hello");
    for round in 0..1000 {
        if round % 100 == 0 {
            let mode = modes[round / 100 % modes.len()].0;
            let toml = it(&format!("mode = \"{mode}\"\nservice = \"upper\""));
            fs::write(daemon.path("new.toml"), fitted(&toml)).unwrap();
            fs::rename(daemon.path("new.toml"), daemon.path("echod.toml")).unwrap();
        }
        daemon.signal(Signal::SIGHUP);
    }
    daemon.reload(&it("mode = \"threading\"\nservice = \"discard\""));
    // What was told may have been the end of the burst: the last reload is still to come then.
    let silent = eventually("the rules of the last file", || {
        let client = daemon.client("it");
        client.send(b"hello");
        client.half_close();
        client.rest().is_empty().then_some(client)
    });
    old.echo(b"hello");
    drop((old, silent));
    daemon.stop();
    daemon.expect_no_trouble();
}

/// Processes that do not leave the door are waited for together: one after the other they would keep the supervisor from its
/// clients, its signals and its watchdog for longer than anything here may take.
#[test]
fn stuck_processes_cost_a_reload_their_patience_once() {
    let toml = |service: &str| -> String {
        let forking = format!("mode = \"forking\"\nservice = \"{service}\"");
        (0..7).map(|number| listener(&format!("stuck-{number}"), "tcp", &forking)).collect()
    };
    let mut daemon = Echod::start_with_events(&toml("echo"));
    let stuck = daemon.children();
    assert_eq!(stuck.len(), 7);
    stuck.iter().for_each(|process| signal_process(*process, Signal::SIGSTOP));
    daemon.reload(&toml("upper"));
    assert_eq!(daemon.events(LogEvent::ListenerLate).len(), 7, "{}", daemon.log());
    stuck.iter().for_each(|process| signal_process(*process, Signal::SIGCONT));
    daemon.stop();
}
