//! A plan comes and goes with a reload.

use super::{MODES, plan};
use crate::harness::{Echod, listener};

/// No connection is lost, and the plan is in force from the next one on.
#[test]
fn a_reload_turns_a_plan_on_and_off_for_new_connections() {
    for mode in MODES {
        let toml = |faults: &str| {
            plan("close-after = \"3B\"") + &listener("it", "tcp", &format!("{mode}faults = \"{faults}\"\n"))
        };
        // Without a limit of one, so that the old connection and the new ones are served at once.
        if mode.contains("iterative") {
            continue;
        }
        let mut daemon = Echod::start(&toml("off"));
        let old = daemon.client("it");
        old.echo(b"before");
        daemon.reload(&toml("plan"));
        let hit = daemon.client("it");
        hit.send(b"abcdef");
        assert_eq!(hit.rest(), b"abc", "{mode}");
        old.echo(b"an old connection keeps what it came with");
        daemon.reload(&toml("off"));
        daemon.client("it").echo(b"as before");
        old.echo(b"still there");
        drop(old);
        daemon.stop();
    }
}

#[test]
fn a_reload_turns_a_plan_on_and_off_for_datagrams() {
    for mode in MODES {
        let toml = |faults: &str| {
            plan("duplicate = \"100%\"") + &listener("it", "udp", &format!("{mode}faults = \"{faults}\"\n"))
        };
        let mut daemon = Echod::start(&toml("off"));
        let client = daemon.client("it");
        (0..20).for_each(|_| client.echo(b"once"));
        daemon.reload(&toml("plan"));
        for _ in 0..20 {
            client.echo(b"twice");
            assert_eq!(client.receive(0), b"twice", "{mode}");
        }
        daemon.reload(&toml("off"));
        (0..20).for_each(|_| client.echo(b"once"));
        assert!(client.has_nothing(), "{mode}");
        daemon.stop();
    }
}

/// A change of the plan counts although the listener is the same.
#[test]
fn another_seed_or_chance_counts_from_the_reload_on() {
    let toml = |keys: &str| plan(keys) + &listener("it", "udp", "faults = \"plan\"");
    let daemon = Echod::start(&toml("drop = \"100%\""));
    let client = daemon.client("it");
    client.send(b"lost");
    daemon.wait_state("it", |state| state["fault-drop"] == 1);
    daemon.reload(&toml("drop = \"0%\""));
    client.echo(b"kept");
}
