//! Too few descriptors: nobody is lost, and nothing spins. (d02 of the conformance list: Python tries 13,606 times in 50 ms.)

use std::time::Duration;

use crate::harness::{Client, Launch};

const FEW: &str = "ulimit -n 64; exec \"$0\" \"$@\"";

fn toml(protocol: &str, address: &str) -> String {
    format!(
        "[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\nmode = \"threading\"\n"
    )
}

#[test]
fn d02_more_clients_than_descriptors_are_all_served_in_the_end() {
    for (protocol, address) in [("tcp", "127.0.0.1:0"), ("unix", "it.sock")] {
        let mut daemon = Launch::new().config(&toml(protocol, address)).shell(FEW).start();
        let clients = (0..300).map(|_| daemon.client("it")).collect::<Vec<_>>();
        let message = |number: usize| format!("client {number:3}").into_bytes();
        for (number, client) in clients.iter().enumerate() {
            client.send(&message(number));
        }
        // Nobody leaves before the descriptors have run out.
        daemon.wait_state("it", |state| state["exhausted"] > 0);
        for (number, client) in clients.into_iter().enumerate() {
            assert_eq!(client.receive(10), message(number));
        }
        daemon.wait_state("it", |state| {
            state["open"] == 0 && state["served"] == 300 && state["received"] == 3000
        });
        daemon.stop();
    }
}

/// While clients hold all descriptors and others wait, the daemon rests, says so seldom, and recovers by itself.
#[test]
fn d02_a_starved_daemon_does_not_spin() {
    let daemon = Launch::new().config(&toml("tcp", "127.0.0.1:0")).shell(FEW).start();
    let holders = (0..100).map(|_| daemon.client("it")).collect::<Vec<_>>();
    holders[0].echo(b"served");
    let waiting = daemon.client("it");
    waiting.send(b"waiting");
    daemon.wait_state("it", |state| state["exhausted"] > 0);
    let before = daemon.cpu_ticks();
    assert!(waiting.hears_nothing_for(Duration::from_secs(2)));
    let used = daemon.cpu_ticks().saturating_sub(before);
    assert!(used < 20, "{used} of 200 ticks were burnt while starved\n{}", daemon.log());
    let lines = daemon.log().lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).count();
    assert!((1..=10).contains(&lines), "{lines} lines of complaint\n{}", daemon.log());
    drop(holders);
    assert_eq!(waiting.receive(7), b"waiting");
    daemon.client("it").echo(b"recovered");
}

/// A limit of the listener below that of the process is never felt as a lack.
#[test]
fn a_full_listener_does_not_spin() {
    for (mode, limit) in
        [("iterative", ""), ("threading", "max-connections = 2"), ("forking", "max-connections = 2")]
    {
        let daemon = crate::harness::Echod::start(&format!(
            "[[listener]]\nname = \"it\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\nmode = \"{mode}\"\n{limit}\n"
        ));
        let clients = (0..5).map(|_| daemon.client("it")).collect::<Vec<Client>>();
        clients[0].echo(b"x");
        clients[4].send(b"y");
        let before = daemon.cpu_ticks();
        assert!(clients[4].hears_nothing_for(Duration::from_secs(1)));
        assert!(daemon.cpu_ticks() < before + 10, "{mode}");
    }
}

/// The tables of sources and peers are longer than that. They are behind the counters only so that the supervisor can look at them.
#[test]
fn a_limit_of_the_length_of_files_keeps_nobody_from_serving() {
    const SHORT: &str = "ulimit -f 1024; exec \"$0\" \"$@\"";
    for mode in ["threading", "forking"] {
        let listener = |name: &str, protocol: &str, address: &str, key: &str| {
            format!(
                "[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\nmode = \"{mode}\"\n{key}\n"
            )
        };
        let toml = listener("it", "tcp", "127.0.0.1:0", "max-connections-per-source = 1")
            + &listener("udp", "udp", "0.0.0.0:0", "");
        let daemon = Launch::new().config(&toml).shell(SHORT).start();
        let client = daemon.client("it");
        client.echo(b"within the limit");
        assert!(daemon.client("it").is_ended(), "{mode}");
        daemon.client("udp").echo(b"guarded");
    }
}
