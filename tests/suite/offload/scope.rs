//! What does not reach the listener's socket, or might not be let in by the kernel, is not answered in front of it.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};

use super::{
    echo,
    frames::Wire,
    guards::forged,
    life::attached,
    network::{FAR, HERE, in_two_namespaces},
    on, udp,
};
use crate::harness::{
    Echod, Launch, Patient, eventually, has_python,
    netns::{Neighbour, sh},
};

/// Another cable, whose other end nobody has.
const ANOTHER: &str = "ip link add vc type veth peer name vd && ip address add 10.78.0.1/24 dev vc && \
                       ip link set vd up && ip link set vc up";

/// A socket as a service manager binds it.
fn bound(prepare: impl FnOnce(&Socket)) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    prepare(&socket);
    socket.bind(&"0.0.0.0:7007".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket
}

fn said_where(daemon: &Echod, interfaces: &str) -> String {
    let text = format!("the kernel echoes for it on {interfaces}");
    daemon.wait_log(|line| line.trim_end().ends_with(&text))
}

/// Waits until the kernel answers so many of two datagrams: `frame`, and that of an honest client, which is answered in any case.
fn until_the_kernel_answers(
    daemon: &Echod,
    far: &Neighbour,
    wire: &Wire,
    frame: &[u8],
    what: &str,
    count: u64,
) {
    eventually(what, || {
        let before = daemon.state("it")["offloaded"];
        wire.send(frame);
        far.run(|| echo(&Patient::udp((FAR, 0)), format!("{HERE}:7007").parse().unwrap(), b"honest"));
        (daemon.state("it")["offloaded"] == before + count).then_some(())
    });
}

#[test]
fn a_passed_socket_is_answered_for_where_it_is_bound() {
    if !has_python("no socket was passed") {
        return;
    }
    in_two_namespaces(|_| {
        sh(ANOTHER).unwrap();
        let socket = bound(|socket| socket.bind_device(Some(b"vc")).unwrap());
        let daemon = Launch::new().config(&on("0.0.0.0:7007", "")).pass("it", &socket).start();
        said_where(&daemon, "vc");
        assert_eq!(["lo", "va", "vc"].map(attached), [0, 0, 1]);
    });
}

#[test]
fn the_share_of_other_sockets_at_a_port_is_left_to_them() {
    if !has_python("no socket was passed") {
        return;
    }
    in_two_namespaces(|_| {
        let socket = bound(|socket| socket.set_reuse_port(true).unwrap());
        let toml = udp("it", "0.0.0.0:7007", "offload = \"auto\"");
        let daemon = Launch::new().config(&toml).pass("it", &socket).start();
        daemon.wait_log(|line| line.contains("does not echo for it: others may have sockets at its port"));
    });
}

/// A socket stays at its interface, whatever that is called.
#[test]
fn an_interface_that_is_renamed_stays_that_of_the_socket() {
    in_two_namespaces(|_| {
        sh(ANOTHER).unwrap();
        let daemon = Echod::start(&on("0.0.0.0:7007", "device = \"vc\""));
        said_where(&daemon, "vc");
        sh("ip link set vc down && ip link set vc name x && ip link set x up").unwrap();
        sh("ip link set va down && ip link set va name vc && ip link set vc up").unwrap();
        eventually("the program at the same interface", || {
            (["vc", "x"].map(attached) == [0, 1]).then_some(())
        });
        said_where(&daemon, "x");
    });
}

#[test]
fn a_link_local_address_is_that_of_its_link() {
    in_two_namespaces(|_| {
        sh(ANOTHER).unwrap();
        sh("ip address add fe80::77/64 dev va nodad && ip address add fe80::77/64 dev vc nodad").unwrap();
        let daemon = Echod::start(&on("[fe80::77%vc]:7007", ""));
        said_where(&daemon, "vc");
    });
}

/// The number of an interface that has left may be that of another before anybody looks.
#[test]
fn an_interface_with_the_number_of_one_that_has_left_is_another() {
    const MAKE: &str =
        "type veth && ip address add 10.79.0.1/24 dev moved && ip link set moved up && ip link set veth0 up";
    in_two_namespaces(|_| {
        sh(&format!("ip link add moved index 50 {MAKE}")).unwrap();
        let daemon = Echod::start(&on("0.0.0.0:7007", ""));
        assert_eq!(attached("moved"), 1);
        let elsewhere = Neighbour::new();
        daemon.signal(Signal::SIGSTOP);
        sh(&format!("ip link set moved netns {} && ip link set veth0 name old", elsewhere.name())).unwrap();
        elsewhere.sh("ip link set moved up".to_owned()).unwrap();
        sh(&format!("ip link add moved index 50 {MAKE}")).unwrap();
        daemon.signal(Signal::SIGCONT);
        eventually("the program at the new one alone", || {
            (attached("moved") == 1 && elsewhere.run(|| attached("moved")) == 0).then_some(())
        });
    });
}

/// Where the kernel looks at the way back, an address that another route leads to is not the network's.
#[test]
fn a_source_whose_way_back_is_another_is_left_to_the_socket() {
    in_two_namespaces(|far| {
        sh(ANOTHER).unwrap();
        sh("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter").unwrap();
        let wire = far.run(|| Wire::new("vb"));
        let stations = [Wire::new("va").station, wire.station];
        let doubtful = forged("10.77.0.200:9999", "10.77.0.1:7007", stations);
        let daemon = Echod::start(&on("0.0.0.0:7007", ""));
        let offloaded =
            |what: &str, count: u64| until_the_kernel_answers(&daemon, far, &wire, &doubtful, what, count);
        for (make, end) in [
            ("ip route add blackhole 10.77.0.200", "ip route del blackhole 10.77.0.200"),
            ("ip route add 10.77.0.192/26 dev vc", "ip route del 10.77.0.192/26 dev vc"),
            ("ip address add 10.77.0.130/25 dev vc", "ip address del 10.77.0.130/25 dev vc"),
            ("ip rule add from 10.77.0.9 table 7", "ip rule del from 10.77.0.9 table 7"),
        ] {
            offloaded("the answers of the kernel to both", 2);
            sh(make).unwrap();
            offloaded(make, 0);
            sh(end).unwrap();
        }
    });
}

/// Addresses of this machine that no interface has: the kernel lets nobody else have them.
#[test]
fn addresses_that_only_a_route_makes_local_are_nobody_elses() {
    in_two_namespaces(|far| {
        let wire = far.run(|| Wire::new("vb"));
        let stations = [Wire::new("va").station, wire.station];
        let own = forged("10.99.0.5:9999", "10.77.0.1:7007", stations);
        let daemon = Echod::start(&on("0.0.0.0:7007", ""));
        said_where(&daemon, "lo, va");
        let offloaded =
            |what: &str, count: u64| until_the_kernel_answers(&daemon, far, &wire, &own, what, count);
        offloaded("answers to both", 2);
        sh("ip route add local 10.99.0.5/32 dev lo").unwrap();
        offloaded("an answer to the honest client alone", 1);
        // A whole network of them is no list.
        sh("ip route add local 10.99.0.0/24 dev lo").unwrap();
        daemon.wait_log(|line| {
            line.contains(
                "the kernel does not echo any more: all addresses of 10.99.0.0/24 are this machine's",
            )
        });
        offloaded("no answer of the kernel", 0);
        sh("ip route del local 10.99.0.0/24 dev lo").unwrap();
        daemon.wait_lines(2, |line| line.trim_end().ends_with("the kernel echoes for it on lo, va"));
        offloaded("an answer to the honest client again", 1);
    });
}
