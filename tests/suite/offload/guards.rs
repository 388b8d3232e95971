//! The guards with the kernel in front of them: none is weaker.

use std::{net::SocketAddr, time::Duration};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    echo,
    frames::{Frame, Odd, Wire},
    network::{FAR, HERE, in_two_namespaces},
    on, udp,
};
use crate::{
    access::guards::loops::until_ended,
    harness::{
        Echod, Patient, eventually,
        netns::sh,
        plain::{ANSWERS, Plain},
        proc,
    },
};

fn here() -> SocketAddr {
    format!("{HERE}:7007").parse().unwrap()
}

/// A datagram with a forged source, from the other end.
pub(super) fn forged(from: &str, to: &str, stations: [[u8; 6]; 2]) -> Vec<u8> {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let [to_station, from_station] = stations;
    let (from_port, to_port) = (from.port(), to.port());
    let payload = b"forged".to_vec();
    Frame {
        to_station,
        from_station,
        from: from.ip(),
        to: to.ip(),
        from_port,
        to_port,
        payload,
        odd: Odd::Nothing,
    }
    .bytes()
}

/// Sends a datagram with a forged source to this machine. (Of a frame on the loopback interface the kernel wants to know the route.)
fn forge_here(from: &str, to: &str) {
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
    raw.set_header_included_v4(true).unwrap();
    let packet = &forged(from, to, [[0; 6]; 2])[14..];
    let to: SocketAddr = to.parse().unwrap();
    assert_eq!(raw.send_to(packet, &to.into()).unwrap(), packet.len());
}

/// On the loopback interface such a datagram would go round in the kernel for ever.
#[test]
fn a_datagram_from_our_own_port_is_not_answered_on_lo() {
    in_two_namespaces(|_| {
        for keys in ["", "deny-source-ports = \"none\"", "trusted = \"127.0.0.0/8\""] {
            let others = udp("other", "127.0.0.2:7008", "offload = \"on\"");
            let daemon = Echod::start(&(on("127.0.0.1:7007", keys) + &others));
            for from in ["127.0.0.2:7008", "127.0.0.1:7007", "127.0.0.3:7007"] {
                forge_here(from, "127.0.0.1:7007");
            }
            daemon.wait_state("it", |state| state["own-listener"] == 3);
            assert_eq!(["offloaded", "sent"].map(|key| daemon.state("it")[key]), [0, 0], "{keys}");
            forge_here("127.0.0.2:9999", "127.0.0.1:7007");
            daemon.wait_state("it", |state| state["offloaded"] == 1);
        }
    });
}

/// Neither knows the other. The answer of the one is known to be an echo when it comes to the other.
#[test]
fn two_daemons_on_lo_never_begin() {
    in_two_namespaces(|_| {
        let daemon = Echod::start(&on("127.0.0.1:7007", ""));
        let other = Echod::start(&on("127.0.0.2:7008", ""));
        (0..100).for_each(|_| forge_here("127.0.0.2:7008", "127.0.0.1:7007"));
        other.wait_state("it", |state| state["loop-breaker"] == 100);
        assert_eq!(["sent", "served"].map(|key| other.state("it")[key]), [0, 0]);
        assert_eq!(daemon.state("it")["offloaded"], 100);
        // Clients are none the worse.
        let client = Patient::udp("127.0.0.1:0");
        for to in ["127.0.0.1:7007", "127.0.0.2:7008"] {
            (0..1000).for_each(|_| echo(&client, to.parse().unwrap(), b"honest"));
        }
    });
}

/// Over a cable the loop breaker ends what is forged into being.
#[test]
fn two_daemons_end_within_a_run_for_each_datagram() {
    in_two_namespaces(|far| {
        for (breaker, circulating) in [(65_536, 1), (1000, 5), (1000, 100)] {
            let keys = format!("loop-breaker = {breaker}");
            let daemon = Echod::start(&on("10.77.0.1:7007", &keys));
            let other = far.run(move || Echod::start(&on("10.77.0.2:7008", &keys)));
            let wire = far.run(|| Wire::new("vb"));
            let stations = [Wire::new("va").station, wire.station];
            let frame = forged("10.77.0.2:7008", "10.77.0.1:7007", stations);
            (0..circulating).for_each(|_| wire.send(&frame));
            drop(wire);
            let sum = |key: &str| daemon.state("it")[key] + other.state("it")[key];
            let answers = until_ended(&[&daemon, &other], circulating);
            assert_eq!(sum("loop-breaker"), circulating);
            // Twice a run for each; a machine that stands still for a second begins a run anew.
            assert!(answers <= 4 * breaker * circulating, "{answers} answers");
            assert!(sum("offloaded") > 0);
        }
    });
}

/// What answers everything, whatever it is: the daemon takes each datagram out after a run.
#[test]
fn a_loop_with_a_server_without_a_guard_ends() {
    in_two_namespaces(|far| {
        for (name, answer) in ANSWERS {
            let daemon = Echod::start(&on("10.77.0.1:7007", "loop-breaker = 5000"));
            let plain = far.run(move || Plain::start("10.77.0.2:7008", answer));
            let wire = far.run(|| Wire::new("vb"));
            let stations = [Wire::new("va").station, wire.station];
            let frame = forged("10.77.0.2:7008", "10.77.0.1:7007", stations);
            (0..3).for_each(|_| wire.send(&frame));
            drop(wire);
            until_ended(&[&daemon], 3);
            let state = daemon.state("it");
            eventually("the last answer", || (plain.answered() == state["served"]).then_some(()));
            // A machine that stands still for a second begins a run anew.
            assert!((3 * 4999..=6 * 4999).contains(&state["served"]), "{name}: {state:?}");
            assert!(state["offloaded"] > 0, "{name}: {state:?}");
        }
    });
}

/// An honest client without a pause loses what the loop breaker withholds, and nothing else.
#[test]
fn what_a_client_without_a_pause_loses_is_counted() {
    const SENT: u32 = 50_000;
    in_two_namespaces(|far| {
        let daemon = Echod::start(&on("10.77.0.1:7007", "loop-breaker = 5000"));
        let answered = far.run(|| {
            let client = Patient::udp((FAR, 0)).within(Duration::from_millis(200));
            client.connect(here()).unwrap();
            let mut came = std::collections::BTreeSet::new();
            let mut buffer = [0; 8];
            for number in 0..SENT {
                client.send(&number.to_ne_bytes()).unwrap();
                // An answer that was late is that of an earlier one.
                while let Ok(length) = client.recv(&mut buffer) {
                    let answer = u32::from_ne_bytes(buffer[..length].try_into().unwrap());
                    assert!(came.insert(answer), "{answer} came twice");
                    if answer == number {
                        break;
                    }
                }
            }
            came.len()
        });
        let state = daemon.state("it");
        assert_eq!(answered as u64 + state["loop-breaker"], u64::from(SENT), "{state:?}");
        assert!(state["loop-breaker"] <= u64::from(SENT) / 5000 && state["offloaded"] > 0, "{state:?}");
    });
}

/// Every answer of a number in a row is withheld, no other is, and a pause of a second begins anew.
#[test]
fn the_loop_breaker_withholds_what_it_would() {
    in_two_namespaces(|far| {
        let daemon = Echod::start(&on("0.0.0.0:7007", "loop-breaker = 100\ntrusted = \"10.77.0.77\""));
        let missing = far.run(|| {
            sh("ip address add 10.77.0.77/24 dev vb").unwrap();
            let trusted = Patient::udp("10.77.0.77:0");
            (0..1000).for_each(|_| echo(&trusted, here(), b"without end"));
            let client = Patient::udp((FAR, 0)).within(Duration::from_secs(2));
            client.connect(here()).unwrap();
            let mut missing = Vec::new();
            // All at once, so that no pause is between them; the answers tell which are missing.
            let mut got = vec![false; 450];
            for number in 0..450_u16 {
                client.send(&number.to_ne_bytes()).unwrap();
                let mut buffer = [0; 2];
                let is_withheld = (number + 1) % 100 == 0;
                if !is_withheld && client.recv(&mut buffer).is_ok() {
                    got[usize::from(u16::from_ne_bytes(buffer))] = true;
                }
            }
            missing.extend((0..450).filter(|number| !got[*number]));
            missing
        });
        let state = daemon.state("it");
        // A machine that stands still for a second begins a run anew.
        assert!(state["loop-breaker"] <= 4 && missing.len() <= 4, "{missing:?}");
        assert_eq!(["offloaded", "served"].map(|key| state[key]), [1450 - state["loop-breaker"]; 2]);
    });
}

/// A host that refuses the answers that it gets is not answered any more, by the kernel neither; and forged refusals alone do nothing.
#[test]
fn a_victim_is_left_alone() {
    in_two_namespaces(|far| {
        let daemon = Echod::start(&on("0.0.0.0:7007", ""));
        let wire = far.run(|| {
            // As many refusals as there are answers.
            sh("echo 0 > /proc/sys/net/ipv4/icmp_ratelimit").unwrap();
            Wire::new("vb")
        });
        let stations = [Wire::new("va").station, wire.station];
        // Nobody is at this port: each answer is met by a port unreachable.
        let frame = forged("10.77.0.2:9999", "10.77.0.1:7007", stations);
        eventually("its silence", || {
            wire.send(&frame);
            (daemon.state("it")["victim"] > 0).then_some(())
        });
        let state = daemon.state("it");
        assert!(state["offloaded"] >= 3, "{state:?}");
        for _ in 0..50 {
            wire.send(&frame);
        }
        daemon.wait_state("it", |after| after["victim"] >= state["victim"] + 50);
        assert_eq!(daemon.state("it")["offloaded"], state["offloaded"]);
        // Other ports are, until there are ten of them.
        far.run(|| echo(&Patient::udp((FAR, 0)), here(), b"honest"));
        for port in 9900..9910 {
            let frame = forged(&format!("10.77.0.2:{port}"), "10.77.0.1:7007", stations);
            let before = daemon.state("it")["victim"];
            eventually("its silence", || {
                wire.send(&frame);
                (daemon.state("it")["victim"] > before).then_some(())
            });
        }
        let before = daemon.state("it");
        far.run(|| {
            let client = Patient::udp((FAR, 0));
            client.send_to(b"too late", here()).unwrap();
        });
        daemon.wait_state("it", |state| state["victim"] > before["victim"]);
        assert_eq!(daemon.state("it")["offloaded"], before["offloaded"]);
    });
}

/// Where the kernel looks at sources, so does the echo in it: what comes from beyond the cable's network is the socket's.
#[test]
fn the_reverse_path_filter_is_not_bypassed() {
    in_two_namespaces(|far| {
        let wire = far.run(|| Wire::new("vb"));
        let stations = [Wire::new("va").station, wire.station];
        let station = wire.station.map(|byte| format!("{byte:02x}")).join(":");
        sh(&format!("ip neigh replace 10.77.0.7 lladdr {station} dev va nud permanent")).unwrap();
        let daemon = Echod::start(&on("0.0.0.0:7007", ""));
        let beyond = forged("203.0.113.7:9999", "10.77.0.1:7007", stations);
        wire.send(&beyond);
        daemon.wait_state("it", |state| state["offloaded"] == 1);
        sh("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter").unwrap();
        // The kernel tells of the change, and the daemon follows it.
        eventually("the kernel's silence", || {
            let before = daemon.state("it")["offloaded"];
            wire.send(&beyond);
            far.run(|| echo(&Patient::udp((FAR, 0)), here(), b"from the cable's network"));
            (daemon.state("it")["offloaded"] == before + 1).then_some(())
        });
        let served = daemon.state("it")["served"];
        (0..20).for_each(|_| wire.send(&beyond));
        far.run(|| echo(&Patient::udp((FAR, 0)), here(), b"again"));
        daemon.wait_state("it", |state| state["served"] == served + 1);
    });
}

/// The honest client is answered while a million sources are forged, and the memory of the daemon stays as it is.
#[test]
fn very_many_sources_harm_nobody() {
    in_two_namespaces(|far| {
        let daemon = Echod::start(&on("0.0.0.0:7007", ""));
        let wire = far.run(|| Wire::new("vb"));
        let stations = [Wire::new("va").station, wire.station];
        let memory = || proc::own_memory(daemon.pid()).unwrap();
        let before = memory();
        for number in 0..200_000_u32 {
            let from = format!(
                "172.{}.{}.{}:{}",
                16 + number % 16,
                (number >> 4) & 255,
                (number >> 12) & 255,
                20_000 + number % 1000
            );
            wire.send(&forged(&from, "10.77.0.1:7007", stations));
            if number.is_multiple_of(20_000) {
                far.run(|| echo(&Patient::udp((FAR, 0)), here(), b"honest"));
            }
        }
        far.run(|| echo(&Patient::udp((FAR, 0)), here(), b"honest"));
        let after = memory();
        assert!(after < before + 4096, "{before} KiB before, {after} after");
        let state = daemon.state("it");
        assert!(state["offloaded"] > 200_000, "{state:?}");
    });
}
