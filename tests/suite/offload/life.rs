//! Starts, ends, reloads, and interfaces and addresses that come and go.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use echod::sys::{bpf, rtnetlink};
use nix::sys::signal::Signal;

use super::{
    echo,
    frames::Wire,
    guards::forged,
    network::{FAR, HERE, in_two_namespaces},
    on, udp,
};
use crate::{
    harness::{
        Echod, Patient, eventually,
        netns::{Neighbour, sh},
    },
    stream::strace::Strace,
};

/// How many programs are attached to an interface of this namespace.
pub(super) fn attached(name: &str) -> u32 {
    let all = rtnetlink::interfaces().unwrap();
    all.iter().find(|interface| interface.name == name).map_or(0, |found| bpf::attached(found.index).unwrap())
}

fn here() -> SocketAddr {
    format!("{HERE}:7007").parse().unwrap()
}

/// Waits until the kernel answers a client at the other end.
#[track_caller]
fn until_offloaded(daemon: &Echod, far: &Neighbour, to: SocketAddr) {
    let before = daemon.state("it")["offloaded"];
    eventually("an answer of the kernel", || {
        far.run(move || {
            let client = Patient::udp("0.0.0.0:0").within(Duration::from_millis(100));
            // Until the interface is up there is no way to it.
            let _ = client.send_to(b"there?", to);
            let _ = client.recv(&mut [0; 8]);
        });
        (daemon.state("it")["offloaded"] > before).then_some(())
    });
}

#[test]
fn nothing_is_left_of_a_daemon_that_was_killed() {
    in_two_namespaces(|_| {
        for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGABRT] {
            let mut daemon = Echod::start(&on("0.0.0.0:7007", ""));
            assert_eq!(["lo", "va"].map(attached), [1, 1]);
            daemon.signal(signal);
            eventually("the end of the daemon", || daemon.exited());
            eventually("the end of the links", || (["lo", "va"].map(attached) == [0, 0]).then_some(()));
        }
    });
}

/// What listeners have counted is read once no program runs any more that answers for them: the kernel is asked for that once.
#[test]
fn listeners_that_end_together_wait_for_the_kernel_once() {
    in_two_namespaces(|_| {
        let three = |port: u16| {
            let listener =
                |at: u16| udp(&at.to_string(), &format!("0.0.0.0:{}", port + at), "offload = \"on\"");
            [0, 1, 2].map(listener).concat()
        };
        let mut daemon = Echod::start(&three(7007));
        let Some(strace) = Strace::attach(&daemon) else { return };
        daemon.reload(&three(7017));
        daemon.stop();
        let waits =
            strace.text().lines().filter(|line| line.contains("membarrier(MEMBARRIER_CMD_GLOBAL, 0")).count();
        assert_eq!(waits, 2, "at the reload and at the end");
    });
}

/// The sockets serve meanwhile, unless a listener insists.
#[test]
fn a_start_waits_for_the_kernel_only_where_a_listener_insists() {
    in_two_namespaces(|_| {
        for (offload, waits) in [("auto", false), ("on", true)] {
            let daemon = Echod::start(&udp("it", "0.0.0.0:7007", &format!("offload = \"{offload}\"")));
            daemon.wait_log(|line| line.contains("the kernel echoes for it on lo, va"));
            let log = daemon.log();
            let at = |text: &str| log.find(text).unwrap();
            assert_eq!(at("the kernel echoes for it") < at("ready: serving"), waits, "{log}");
        }
    });
}

#[test]
fn only_interfaces_with_an_address_of_the_listener_are_touched() {
    in_two_namespaces(|_| {
        for (address, keys, expected) in [
            ("127.0.0.1:7007", "", [1, 0]),
            ("10.77.0.1:7007", "", [0, 1]),
            ("0.0.0.0:7007", "device = \"va\"", [0, 1]),
            ("0.0.0.0:7007", "", [1, 1]),
        ] {
            let _daemon = Echod::start(&on(address, keys));
            assert_eq!(["lo", "va"].map(attached), expected, "{address} {keys}");
        }
        let _daemon = Echod::start(&udp("it", "0.0.0.0:7007", ""));
        assert_eq!(["lo", "va"].map(attached), [0, 0], "nobody has asked");
    });
}

#[test]
fn addresses_are_followed_by_a_daemon_without_privileges() {
    in_two_namespaces(|far| {
        let daemon = Echod::start(
            &("[daemon]\nuser = \"nobody\"\nsandbox = \"on\"\n".to_owned() + &on("0.0.0.0:7007", "")),
        );
        let served = daemon.state("it")["served"];
        for number in 100..150 {
            sh(&format!("ip address add 10.77.0.{number}/24 dev va")).unwrap();
        }
        until_offloaded(&daemon, far, "10.77.0.149:7007".parse().unwrap());
        for number in 100..150 {
            sh(&format!("ip address del 10.77.0.{number}/24 dev va")).unwrap();
        }
        // What no address of ours is asked for is not answered any more, by the kernel neither.
        let wire = far.run(|| Wire::new("vb"));
        let stations = [Wire::new("va").station, wire.station];
        eventually("the kernel's silence", || {
            let before = daemon.state("it")["offloaded"];
            wire.send(&forged("10.77.0.2:9999", "10.77.0.149:7007", stations));
            far.run(|| echo(&Patient::udp((FAR, 0)), here(), b"still there"));
            (daemon.state("it")["offloaded"] == before + 1).then_some(())
        });
        until_offloaded(&daemon, far, here());
        assert!(daemon.state("it")["served"] > served);
    });
}

#[test]
fn an_interface_that_is_deleted_and_made_again_is_served_again() {
    in_two_namespaces(|far| {
        let daemon = Echod::start(&on("0.0.0.0:7007", ""));
        sh("ip link del va").unwrap();
        daemon.wait_lines(1, |line| line.contains("the kernel echoes for it on lo") && !line.contains("va"));
        echo(&Patient::udp("127.0.0.1:0"), "127.0.0.1:7007".parse().unwrap(), b"still here");
        sh(&format!("ip link add va type veth peer name vb netns {}", far.name())).unwrap();
        far.run(|| sh("ip address add 10.77.0.2/24 dev vb && ip link set vb up")).unwrap();
        sh("ip address add 10.77.0.1/24 dev va && ip link set va up").unwrap();
        until_offloaded(&daemon, far, here());
        sh("ip link set va down").unwrap();
        daemon.wait_lines(2, |line| line.contains("the kernel echoes for it on lo") && !line.contains("va"));
        sh("ip link set va up").unwrap();
        until_offloaded(&daemon, far, here());
    });
}

/// The program goes along with the interface; the daemon lets it go there.
#[test]
fn an_interface_that_was_moved_to_another_namespace_is_let_go() {
    in_two_namespaces(|far| {
        let daemon = Echod::start(&on("0.0.0.0:7007", ""));
        sh(&format!("ip link set va netns {}", far.name())).unwrap();
        eventually("the end of the link", || {
            far.run(|| attached("va") == 0 && rtnetlink::interfaces().unwrap().len() == 3).then_some(())
        });
        echo(&Patient::udp("127.0.0.1:0"), "127.0.0.1:7007".parse().unwrap(), b"still here");
        daemon.wait_state("it", |state| state["offloaded"] == 1);
    });
}

/// A client that sends the next datagram as soon as it has the answer to the one before, and asks for none twice.
fn client_without_a_pause(stop: &Arc<AtomicBool>, count: &Arc<AtomicU64>) -> impl FnOnce() + Send + 'static {
    let (stop, count) = (Arc::clone(stop), Arc::clone(count));
    move || {
        let client = Patient::udp((FAR, 0));
        client.connect(here()).unwrap();
        let mut number = 0_u64;
        while !stop.load(Relaxed) {
            number += 1;
            let mut buffer = [0; 16];
            client.send(&number.to_ne_bytes()).unwrap();
            let length = client.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], number.to_ne_bytes());
            count.store(number, Relaxed);
        }
    }
}

/// Nothing is refused or lost, whatever a reload changes, and nothing counted twice.
#[test]
fn reloads_lose_no_datagram_and_no_count() {
    in_two_namespaces(|far| {
        let keys = |number: usize| match number % 4 {
            0 => "offload = \"on\"\nloop-breaker = 0".to_owned(),
            1 => format!(
                "offload = \"on\"\nloop-breaker = 0\nallow = \"10.77.0.0/24\"\ndeny = \"10.77.0.{}\"",
                9 + number % 90
            ),
            2 => "offload = \"off\"\nloop-breaker = 0".to_owned(),
            _ => "offload = \"auto\"\nloop-breaker = 0\ntrusted = \"10.77.0.0/24\"".to_owned(),
        };
        let rounds = std::env::var("ECHOD_TEST_RELOADS").map_or(24, |rounds| rounds.parse().unwrap());
        let others = |number: usize| match number % 3 {
            0 => String::new(),
            _ => udp("other", "127.0.0.1:0", "offload = \"auto\""),
        };
        let observe =
            if cfg!(feature = "observe") { "[observe]\naddress = \"unix:observe.sock\"\n" } else { "" };
        let toml = |number: usize| udp("it", "0.0.0.0:7007", &keys(number)) + &others(number) + observe;
        let daemon = Echod::start(&toml(0));
        let (stop, count) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let client = std::thread::scope(|scope| {
            let job = client_without_a_pause(&stop, &count);
            let client = scope.spawn(|| far.run(job));
            for number in 1..=rounds {
                let before = count.load(Relaxed);
                daemon.reload(&toml(number));
                eventually("answers", || (count.load(Relaxed) > before + 10).then_some(()));
            }
            stop.store(true, Relaxed);
            client.join()
        });
        client.unwrap();
        assert_eq!(attached("va"), if [0, 1, 3].contains(&(rounds % 4)) { 1 } else { 0 });
        #[cfg(feature = "observe")]
        {
            let json = crate::observe::status::told(
                &daemon,
                &["status", "--address", "unix:observe.sock", "-o", "json"],
            );
            let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
            let totals = &json["listeners"][0]["totals"];
            assert_eq!(totals["served"], count.load(Relaxed), "{totals}");
            assert!(totals["offloaded"].as_u64().unwrap() > 0, "{totals}");
        }
    });
}

/// Until the end of the drain nothing is refused: first the kernel stops to answer, then the socket answers what is there.
#[test]
fn a_reload_to_another_port_is_followed() {
    in_two_namespaces(|far| {
        let daemon = Echod::start(&on("0.0.0.0:7007", ""));
        until_offloaded(&daemon, far, here());
        daemon.reload(&on("0.0.0.0:7008", ""));
        until_offloaded(&daemon, far, format!("{HERE}:7008").parse().unwrap());
        far.run(|| {
            let client = Patient::udp((FAR, 0));
            client.connect(here()).unwrap();
            client.send(b"gone?").unwrap();
            assert_eq!(client.recv(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        });
    });
}

/// The tables of the start bound the addresses and the peers, but not the lists of networks.
#[test]
fn a_reload_may_bring_any_number_of_networks() {
    in_two_namespaces(|far| {
        let daemon = Echod::start(&on("0.0.0.0:7007", ""));
        until_offloaded(&daemon, far, here());
        let many: String =
            (0..70_000_u32).map(|n| format!("11.{}.{}.{}/32\n", n >> 16, n >> 8 & 255, n & 255)).collect();
        std::fs::write(daemon.path("many.txt"), many + "10.77.0.0/24\n").unwrap();
        daemon.reload(&on("0.0.0.0:7007", "allow-include = \"many.txt\""));
        until_offloaded(&daemon, far, here());
    });
}
