//! The echo in the kernel (`offload`). It needs root, bpf(2) and a network namespace; without them each test says so and is skipped.

mod differential;
mod frames;
mod guards;
mod life;
mod network;
mod refusals;
mod scope;

use std::{
    net::SocketAddr,
    sync::LazyLock,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    cli::probe::probe,
    harness::{Echod, Launch, Patient, eventually, has_ipv6, proc, skipped},
};
use network::{FAR, HERE, HERE6, in_two_namespaces};

/// A listener for which the kernel must echo.
fn on(address: &str, keys: &str) -> String {
    udp("it", address, &format!("offload = \"on\"\n{keys}"))
}

/// A listener for which the kernel echoes if it can.
fn auto(address: &str) -> String {
    udp("it", address, "offload = \"auto\"")
}

fn udp(name: &str, address: &str, keys: &str) -> String {
    format!("[[listener]]\nname = \"{name}\"\nprotocol = \"udp\"\naddress = \"{address}\"\n{keys}\n")
}

/// Whether the kernel can echo for us at all.
fn can_offload() -> bool {
    static CAN: LazyLock<Option<String>> = LazyLock::new(|| {
        match Launch::new().config(&udp("it", "127.0.0.1:0", "offload = \"on\"")).try_start() {
            Ok(_) => None,
            Err(failed) => Some(failed.stderr),
        }
    });
    CAN.as_ref().inspect(|why| skipped(format_args!("the kernel cannot echo here: {why}"))).is_none()
}

/// Sends, and expects the same back from there.
#[track_caller]
fn echo(client: &Patient<std::net::UdpSocket>, to: SocketAddr, bytes: &[u8]) {
    let mut buffer = vec![0; bytes.len() + 1];
    client.send_to(bytes, to).unwrap();
    let (length, from) = client.recv_from(&mut buffer).unwrap();
    assert!(
        buffer[..length] == *bytes && from == to,
        "{length} bytes from {from} for {} to {to}",
        bytes.len()
    );
}

#[test]
fn the_kernel_answers_on_every_interface_that_it_serves() {
    in_two_namespaces(|far| {
        let daemon = Echod::start(&on("[::]:7007", ""));
        let line = daemon.wait_log(|line| line.contains("the kernel echoes for it on lo, va"));
        assert!(line.contains("listener \"it\""), "{line}");
        for local in ["127.0.0.1", "[::1]"] {
            echo(&Patient::udp(format!("{local}:0")), format!("{local}:7007").parse().unwrap(), b"near");
        }
        far.run(|| {
            echo(&Patient::udp((FAR, 0)), format!("{HERE}:7007").parse().unwrap(), b"far");
            echo(&Patient::udp("[::]:0"), format!("[{HERE6}]:7007").parse().unwrap(), b"far away");
        });
        daemon.wait_state("it", |state| {
            ["offloaded", "served", "received", "sent"].map(|key| state[key]) == [4, 4, 19, 19]
        });
    });
}

/// What the program does not answer, the socket does: another address of this machine by the loopback interface, a class, a fragment.
#[test]
fn everything_else_reaches_the_socket() {
    in_two_namespaces(|far| {
        let daemon = Echod::start(&on("0.0.0.0:7007", ""));
        let to: SocketAddr = format!("{HERE}:7007").parse().unwrap();
        echo(&Patient::udp("0.0.0.0:0"), to, b"from here");
        far.run(move || {
            let client = Patient::udp((FAR, 0));
            socket2::SockRef::from(&*client).set_tos_v4(0x10).unwrap();
            echo(&client, to, b"with a class");
            echo(&Patient::udp((FAR, 0)), to, &[7; 20_000]);
        });
        daemon.wait_state("it", |state| {
            ["offloaded", "served", "received"].map(|key| state[key]) == [0, 3, 9 + 12 + 20_000]
        });
    });
}

#[test]
fn datagrams_of_every_length_come_back_whole() {
    in_two_namespaces(|far| {
        let daemon = Echod::start(&on("[::]:7007", ""));
        for local in ["127.0.0.1", "[::1]"] {
            let client = Patient::udp(format!("{local}:0"));
            for length in [0, 1, 2, 17, 63, 64, 1471, 1472, 9000, 30_001, 60_000] {
                let bytes: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
                echo(&client, format!("{local}:7007").parse().unwrap(), &bytes);
            }
        }
        daemon.wait_state("it", |state| state["offloaded"] == 22);
        // Joined by the sender (UDP_SEGMENT), they are datagrams of their own all the same.
        for (from, to) in [(FAR.to_owned(), HERE.to_owned()), ("[::]".to_owned(), format!("[{HERE6}]"))] {
            far.run(move || {
                let client = Patient::udp(format!("{from}:0"));
                nix::sys::socket::setsockopt(&*client, nix::sys::socket::sockopt::UdpGsoSegment, &1000)
                    .unwrap();
                let bytes: Vec<u8> = (0..10_000).map(|at| (at % 251) as u8).collect();
                client.send_to(&bytes, format!("{to}:7007")).unwrap();
                for part in bytes.chunks(1000) {
                    let mut buffer = [0; 2000];
                    let length = client.recv(&mut buffer).unwrap();
                    assert_eq!(&buffer[..length], part);
                }
            });
        }
        daemon.wait_state("it", |state| {
            ["offloaded", "served"].map(|key| state[key]) == [42, 42] && state["received"] == state["sent"]
        });
    });
}

/// The kernel answers for a daemon that stands still; a probe must not take that for health.
#[test]
fn a_probe_tells_the_daemon_from_the_kernel() {
    in_two_namespaces(|_| {
        let daemon = Echod::start(&on("127.0.0.1:7007", ""));
        let (client, to) = (Patient::udp("127.0.0.1:0"), "127.0.0.1:7007".parse().unwrap());
        echo(&client, to, b"both");
        assert_eq!(probe("udp://127.0.0.1:7007").status.code(), Some(0));
        daemon.signal(Signal::SIGSTOP);
        eventually("the daemon to stand still", || {
            proc::status(daemon.pid(), "State").filter(|state| state.starts_with('T'))
        });
        echo(&client, to, b"the kernel alone");
        let begun = Instant::now();
        assert_eq!(probe("udp://127.0.0.1:7007").status.code(), Some(69));
        assert!(begun.elapsed() >= Duration::from_secs(1), "it has waited for an answer");
        daemon.signal(Signal::SIGCONT);
        assert_eq!(probe("udp://127.0.0.1:7007").status.code(), Some(0));
    });
}

/// What was counted is told wherever counters are, apart from what the socket has answered.
#[cfg(feature = "observe")]
#[test]
fn what_the_kernel_answers_is_observed() {
    in_two_namespaces(|_| {
        let observe = "[observe]\naddress = \"unix:observe.sock\"\n";
        let daemon = Echod::start(&(on("127.0.0.1:7007", "deny = \"127.0.0.9\"") + observe));
        let to = "127.0.0.1:7007".parse().unwrap();
        let client = Patient::udp("127.0.0.1:0");
        (0..3).for_each(|_| echo(&client, to, b"ten bytes!"));
        Patient::udp("127.0.0.9:0").send_to(b"denied", to).unwrap();
        daemon.wait_state("it", |state| state["denied"] == 1);
        let told = |args: &[&str]| crate::observe::status::told(&daemon, args).stdout;
        let status = told(&["status", "--address", "unix:observe.sock"]);
        for line in [
            "answered by the kernel: it 3 of 3, now on lo\n",
            "left to the socket by the kernel: it 1 rules\n",
            "refused: it 1 denied\n",
        ] {
            assert!(status.contains(line), "{line} is not in {status}");
        }
        let metrics = told(&["metrics", "--address", "unix:observe.sock"]);
        for line in [
            "echod_offloaded_datagrams_total{listener=\"it\"} 3\n",
            "echod_offload_left_total{listener=\"it\",reason=\"rules\"} 1\n",
            "echod_offload_interfaces{listener=\"it\"} 1\n",
            "echod_datagrams_total{listener=\"it\"} 3\n",
            "echod_sent_bytes_total{listener=\"it\"} 30\n",
        ] {
            assert!(metrics.contains(line), "{line} is not in {metrics}");
        }
        let json = told(&["status", "--address", "unix:observe.sock", "-o", "json"]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["listeners"][0]["offload"], serde_json::json!(["lo"]));
        assert_eq!(json["listeners"][0]["totals"]["offloaded"], 3);
    });
}

#[test]
fn ipv6_alone_is_not_ipv4() {
    in_two_namespaces(|_| {
        if !has_ipv6() {
            return;
        }
        let daemon = Echod::start(&(on("[::]:7007", "v6-only = true") + &udp("other", "0.0.0.0:7007", "")));
        echo(&Patient::udp("[::1]:0"), "[::1]:7007".parse().unwrap(), b"six");
        echo(&Patient::udp("127.0.0.1:0"), "127.0.0.1:7007".parse().unwrap(), b"four");
        daemon.wait_state("it", |state| ["offloaded", "served"].map(|key| state[key]) == [1, 1]);
        daemon.wait_state("other", |state| ["offloaded", "served"].map(|key| state[key]) == [0, 1]);
    });
}

/// The kernel beside a mode under the same load: its daemon has hardly anything to do.
#[cfg(feature = "client")]
#[test]
fn the_kernel_is_compared_with_the_modes() {
    in_two_namespaces(|_| {
        let quick = ["--duration", "200ms", "--warm-up", "10ms", "--rounds", "1", "-o", "json"];
        let compared = ["bench", "udp://", "--compare", "epoll", "--offload"];
        let finished = Launch::new().args(&compared).args(&quick).run();
        assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
        let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
        let rows = report["targets"].as_array().unwrap();
        let modes: Vec<_> = rows.iter().map(|row| row["server"]["mode"].as_str().unwrap()).collect();
        assert_eq!(modes, ["epoll", "epoll-offload"]);
        for row in rows {
            assert_eq!(row["probes"]["ok"], row["probes"]["sent"], "{row:#}");
        }
    });
}
