//! Two servers that answer each other, begun by a forged datagram. Each loop must end.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::harness::{
    Echod, Patient, eventually,
    netns::{Forger, in_namespace},
    plain::{ANSWERS, Plain},
    skipped,
};

const TWO: &str = "ip address add 192.0.2.1/32 dev lo && ip address add 192.0.2.2/32 dev lo";

fn listener(name: &str, address: &str, keys: &str) -> String {
    format!("[[listener]]\nname = \"{name}\"\nprotocol = \"udp\"\naddress = \"{address}\"\n{keys}\n")
}

/// Waits until the loop breaker has taken so many datagrams out of the loops of these daemons, which is to be their end; says
/// how many they have answered.
pub(crate) fn until_ended(daemons: &[&Echod], circulating: u64) -> u64 {
    let sum = |key: &str| daemons.iter().map(|daemon| daemon.state("it")[key]).sum::<u64>();
    // As long as they go round, however slowly.
    let mut sent = 0;
    let is_over = || (sum("loop-breaker") >= circulating).then_some(true);
    while !eventually("the end of all loops", || is_over().or((sum("sent") > sent).then_some(false))) {
        sent = sum("sent");
    }
    let sent = sum("sent");
    let quiet = Patient::udp("127.0.0.1:0").within(Duration::from_millis(100));
    assert!(quiet.recv(&mut [0]).is_err());
    assert_eq!((sum("loop-breaker"), sum("sent")), (circulating, sent), "some go on");
    sum("served")
}

#[test]
fn d10_two_listeners_of_one_daemon_never_begin() {
    in_namespace(TWO, || {
        let daemon =
            Echod::start(&(listener("it", "192.0.2.1:4001", "") + &listener("other", "192.0.2.2:4002", "")));
        let forger = Forger::new();
        for _ in 0..100 {
            forger.send("192.0.2.2:4002", "192.0.2.1:4001".parse().unwrap(), b"x");
        }
        daemon.wait_state("it", |state| ["own-listener", "sent"].map(|key| state[key]) == [100, 0]);
    });
}

#[test]
fn two_daemons_with_the_same_port_never_begin() {
    in_namespace(TWO, || {
        let daemon = Echod::start(&listener("it", "192.0.2.1:4001", ""));
        let _other = Echod::start(&listener("it", "192.0.2.2:4001", ""));
        let forger = Forger::new();
        // It is an address of ours, so it might be our own listener.
        forger.send("192.0.2.2:4001", "192.0.2.1:4001".parse().unwrap(), b"x");
        // It is none; but on another machine the same port has the same daemon, perhaps.
        forger.send("198.51.100.7:4001", "192.0.2.1:4001".parse().unwrap(), b"x");
        daemon.wait_state("it", |state| {
            ["own-listener", "source-port", "sent"].map(|key| state[key]) == [1, 1, 0]
        });
    });
}

/// Neither knows the other: only the loop breaker is left.
#[test]
fn d10_two_daemons_end_within_a_run_for_each_datagram() {
    in_namespace(TWO, || {
        for (mode, breaker, circulating) in
            [("epoll", 65_536, 1), ("epoll", 1000, 5), ("threading", 1000, 20), ("forking", 1000, 20)]
        {
            let keys = format!("mode = \"{mode}\"\nloop-breaker = {breaker}");
            let daemon = Echod::start(&listener("it", "192.0.2.1:4001", &keys));
            let other = Echod::start(&listener("it", "192.0.2.2:4002", &keys));
            let forger = Forger::new();
            for _ in 0..circulating {
                forger.send("192.0.2.2:4002", "192.0.2.1:4001".parse().unwrap(), b"x");
            }
            let answers = until_ended(&[&daemon, &other], circulating);
            // Twice a run for each; a machine that stands still for a second begins a run anew.
            assert!(answers <= 4 * breaker * circulating, "{mode}: {answers} answers");
        }
    });
}

/// Where the machine stands still for a second, a run begins anew.
fn about(answers: u64) -> std::ops::RangeInclusive<u64> {
    answers..=2 * answers
}

#[test]
fn a_loop_with_a_server_without_a_guard_ends() {
    in_namespace(TWO, || {
        for (name, answer) in ANSWERS {
            let daemon = Echod::start(&listener("it", "192.0.2.1:4001", "loop-breaker = 5000"));
            let plain = Plain::start("192.0.2.2:4002", answer);
            let forger = Forger::new();
            for _ in 0..3 {
                forger.send("192.0.2.2:4002", "192.0.2.1:4001".parse().unwrap(), b"x");
            }
            until_ended(&[&daemon], 3);
            let state = daemon.state("it");
            assert_eq!(plain.answered(), state["served"], "{name}");
            assert!(about(3 * 4999).contains(&state["served"]), "{name}: {state:?}");
        }
    });
}

const PYTHON: &str = "
import socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        data, socket = self.request
        socket.sendto(data, self.client_address)
socketserver.UDPServer(('192.0.2.2', 4002), Echo).serve_forever()
";

struct Python(Child);

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_loop_with_python_ends() {
    in_namespace(TWO, || {
        let daemon = Echod::start(&listener("it", "192.0.2.1:4001", "loop-breaker = 1000"));
        let started = Command::new("python3").args(["-c", PYTHON]).stderr(Stdio::null()).spawn();
        let Ok(_python) = started.map(Python) else {
            skipped("python3 is not installed");
            return;
        };
        let to: SocketAddr = "192.0.2.2:4002".parse().unwrap();
        // It serves once it answers an ordinary client.
        let client = Patient::udp("192.0.2.1:0").within(Duration::from_millis(20));
        eventually("the Python server", || {
            client.send_to(b"ready?", to).ok().and_then(|_| client.recv(&mut [0; 8]).ok())
        });
        let forger = Forger::new();
        for _ in 0..5 {
            forger.send("192.0.2.2:4002", "192.0.2.1:4001".parse().unwrap(), b"x");
        }
        until_ended(&[&daemon], 5);
        let state = daemon.state("it");
        assert!(about(5 * 999).contains(&state["served"]), "{state:?}");
    });
}
