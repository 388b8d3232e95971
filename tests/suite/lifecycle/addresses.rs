//! Where a listener can be reached: families, ports, wildcards.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    process::Command,
    time::Duration,
};

use echod::{
    config::{self, Environment, Inputs},
    socket::{bind, host_names::HostNames},
};
use socket2::{Domain, Socket, Type};

use crate::harness::{
    Client, Echod, Endpoint, Launch, Patient, eventually, has_ipv6, may_mount,
    netns::{in_namespace, sh},
    other_loopback, pattern, port_of_nobody,
};

/// Lets the daemon have another file of hosts.
const HOSTS: &str =
    "exec unshare --mount sh -ec 'mount --bind hosts /etc/hosts; exec \"$0\" \"$@\"' \"$0\" \"$@\"";

fn one(protocol: &str, address: &str, keys: &str) -> String {
    format!("[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = {address}\n{keys}\n")
}

fn at(protocol: &str, ip: impl Into<IpAddr>, port: u16) -> Endpoint {
    let address = SocketAddr::new(ip.into(), port);
    if protocol == "tcp" { Endpoint::Tcp(address) } else { Endpoint::Udp(address) }
}

#[test]
fn one_listener_serves_both_families() {
    if !has_ipv6() {
        return;
    }
    for protocol in ["tcp", "udp"] {
        for mode in ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"] {
            let daemon = Echod::start(&one(protocol, "\"[::]:0\"", &format!("mode = \"{mode}\"")));
            let port = daemon.port("it");
            for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
                Client::connect(&at(protocol, ip, port)).echo(b"hello world\n");
            }
        }
    }
}

/// A way that is too narrow for an answer is found out about once; the answers before and after it fare no worse.
#[test]
fn what_is_too_long_for_its_way_is_cut_up() {
    in_namespace("ip link set lo mtu 1500", || {
        for mode in ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"] {
            // Bound to all addresses, the socket is told of what became of its answers.
            for address in ["\"127.0.0.1:0\"", "\"0.0.0.0:0\"", "\"[::]:0\""] {
                let daemon = Echod::start(&one("udp", address, &format!("mode = \"{mode}\"")));
                let ips: &[IpAddr] = match address.contains("::") {
                    true => &[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
                    false => &[Ipv4Addr::LOCALHOST.into()],
                };
                for &ip in ips {
                    let client = Client::connect(&at("udp", ip, daemon.port("it")));
                    for length in [10, 1472, 1473, 20_000, 10, 60_000, 1473] {
                        client.echo(pattern(length));
                    }
                }
                let state = daemon.state("it");
                let served = 7 * ips.len() as u64;
                assert_eq!(
                    ["served", "oversize", "errors", "dropped"].map(|key| state[key]),
                    [served, 0, 0, 0],
                    "{mode} {address}"
                );
            }
        }
    });
}

#[test]
fn v6_only_splits_them() {
    if !has_ipv6() {
        return;
    }
    for protocol in ["tcp", "udp"] {
        let port = port_of_nobody(protocol);
        let daemon = Echod::start(&one(protocol, &format!("\"[::]:{port}\""), "v6-only = true"));
        daemon.client("it").echo(b"hello world\n");
        // The same port of the other family is free for another.
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        match protocol {
            "tcp" => drop(std::net::TcpListener::bind(address).unwrap()),
            _ => drop(std::net::UdpSocket::bind(address).unwrap()),
        }
    }
}

/// The client asks 127.0.0.2 and hears nobody else: an answer from 127.0.0.1 would never reach it.
#[test]
fn a_wildcard_listener_answers_from_the_address_that_was_asked() {
    for workers in [
        "mode = \"iterative\"",
        "",
        "mode = \"threading\"",
        "mode = \"forking\"",
        "mode = \"threading\"\nworkers = \"per-request\"",
        "mode = \"forking\"\nworkers = \"per-request\"",
    ] {
        for wildcard in ["\"0.0.0.0:0\"", "\"[::]:0\""] {
            let daemon = Echod::start(&one("udp", wildcard, workers));
            for last in 1..=3 {
                let client = Client::connect(&at("udp", [127, 0, 0, last], daemon.port("it")));
                client.echo(b"hello world\n");
                assert_eq!(client.ask(b""), b"");
            }
        }
    }
}

#[test]
fn a_list_of_addresses_and_a_host_name() {
    let list = format!("[\"127.0.0.1:0\", \"{}:0\", \"127.0.0.3:0\"]", other_loopback());
    let daemon = Echod::start(&one("tcp", &list, ""));
    let endpoints = daemon.endpoints("it");
    assert_eq!(endpoints.len(), 3);
    endpoints.iter().for_each(|endpoint| Client::connect(endpoint).echo(b"hello world\n"));

    let daemon = Echod::start(&one("tcp", "\"localhost:0\"", ""));
    daemon.endpoints("it").iter().for_each(|endpoint| Client::connect(endpoint).echo(b"hello world\n"));
}

/// Also where most ports are taken in one of the families.
#[test]
fn any_port_of_a_host_name_is_one_port_for_both_families() {
    if !has_ipv6() {
        return;
    }
    if !may_mount("no name had addresses of both families") {
        return;
    }
    // The ports that the daemon is given, and those that clients are given.
    let choose_from = |ports: &str| format!("echo {ports} > /proc/sys/net/ipv4/ip_local_port_range");
    in_namespace(&choose_from("50000 50007"), move || {
        for protocol in ["tcp", "udp"] {
            for taken in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
                let hold = |port| {
                    let kind = if protocol == "tcp" { Type::STREAM } else { Type::DGRAM };
                    let socket = Socket::new(Domain::for_address((taken, port).into()), kind, None).unwrap();
                    socket.bind(&SocketAddr::from((taken, port)).into()).unwrap();
                    socket
                };
                let held: Vec<_> = [0, 1, 2, 3, 5, 6, 7].map(|number| hold(50_000 + number)).into();
                for keys in ["", "mode = \"epoll\"\nworkers = 2", "reuse-port = true", "mode = \"forking\""] {
                    sh(&choose_from("50000 50007")).unwrap();
                    let launch = Launch::new().config(&one(protocol, "\"both:0\"", keys)).shell(HOSTS);
                    std::fs::write(launch.dir().join("hosts"), "::1 both\n127.0.0.1 both\n").unwrap();
                    let daemon = launch.start();
                    sh(&choose_from("40000 49999")).unwrap();
                    let ports = |daemon: &Echod| -> Vec<_> {
                        daemon.endpoints("it").iter().map(|endpoint| endpoint.inet().port()).collect()
                    };
                    assert_eq!(ports(&daemon), [50_004, 50_004], "{protocol} {keys}");
                    daemon.endpoints("it").iter().for_each(|endpoint| {
                        let client = Client::connect(endpoint);
                        client.echo(b"hello");
                    });
                    daemon.reload(&one(protocol, "\"both:0\"", &format!("{keys}\nmax-requests = 9")));
                    let client = daemon.client("it");
                    client.echo(b"hello");
                }
                drop(held);
            }
        }
    });
}

#[test]
fn a_port_range_is_a_socket_for_each_port() {
    for protocol in ["tcp", "udp"] {
        // Below the ports that the kernel gives away; another process may still have one of them: then elsewhere.
        let start = 15_000 + (std::process::id() % 1000) as u16 * 10;
        let daemon = (0..10).find_map(|attempt| {
            let first = start + attempt * 500;
            let range = format!("\"127.0.0.1:{first}-{}\"", first + 2);
            let started = Launch::new().config(&one(protocol, &range, "mode = \"forking\"")).try_start();
            Some((first, started.ok()?))
        });
        let (first, daemon) = daemon.expect("three free ports in a row");
        let endpoints = daemon.endpoints("it");
        let ports = endpoints.iter().map(|endpoint| endpoint.inet().port());
        assert!(ports.eq(first..=first + 2));
        endpoints.iter().for_each(|endpoint| Client::connect(endpoint).echo(b"hello world\n"));
    }
}

#[test]
fn an_address_of_another_machine_is_left_out_only_if_optional() {
    let foreign = "[\"127.0.0.1:0\", \"192.0.2.1:0\"]";
    let failed = Launch::new().config(&one("tcp", foreign, "")).run();
    failed.expect(69, &["cannot bind tcp://192.0.2.1:0", "optional"]);
    let daemon = Echod::start(&one("tcp", foreign, "optional = true"));
    assert_eq!(daemon.announced.len(), 1);
    daemon.client("it").echo(b"hello world\n");
    daemon.wait_log(|line| line.contains("left out tcp://192.0.2.1:0: cannot assign requested address\n"));
}

/// As `localhost` has one of IPv6 in the file of a container that has no IPv6.
#[test]
fn an_address_of_a_name_is_left_out_where_another_one_is_there() {
    if !may_mount("no name had an address of another machine") {
        return;
    }
    let launch = |name: &str| {
        let address = format!("[\"127.0.0.2:0\", \"{name}:0\"]");
        let launch = Launch::new().config(&one("tcp", &address, "")).shell(HOSTS);
        let hosts = "2001:db8::1 both\n127.0.0.1 both\n2001:db8::1 foreign\n";
        std::fs::write(launch.dir().join("hosts"), hosts).unwrap();
        launch
    };
    let daemon = launch("both").start();
    let endpoints = daemon.endpoints("it");
    assert_eq!(endpoints.len(), 2, "{:?}", daemon.announced);
    endpoints.iter().for_each(|endpoint| Client::connect(endpoint).echo(b"hello world\n"));
    daemon.wait_log(|line| line.contains(" WARN ") && line.contains("left out tcp://[2001:db8::1]:0: "));
    launch("foreign").run().expect(69, &["cannot bind tcp://[2001:db8::1]:0", "optional"]);
}

#[test]
fn a_disabled_listener_is_left_out() {
    let toml = one("tcp", "\"127.0.0.1:0\"", "")
        + &one("udp", "\"127.0.0.1:0\"", "enabled = false").replace("\"it\"", "\"off\"");
    let daemon = Echod::start(&toml);
    assert_eq!(daemon.announced.len(), 1);
    daemon.client("it").echo(b"hello world\n");
}

/// c04: echod's default is the convenient one, the switch remains.
#[test]
fn c04_a_port_can_be_bound_again_at_once() {
    let toml = |port: u16, keys: &str| one("tcp", &format!("\"127.0.0.1:{port}\""), keys);
    let mut daemon = Echod::start(&toml(0, "service = \"daytime\""));
    let port = daemon.port("it");
    // The daemon closes first: its side of the connection lingers in TIME-WAIT.
    daemon.client("it").rest();
    daemon.stop();
    let failed = Launch::new().config(&toml(port, "reuse-address = false")).try_start();
    failed.err().expect("a port that lingers").expect(69, &["in use"]);
    Echod::start(&toml(port, "")).client("it").echo(b"again");
}

/// Of sockets that share their ports, the kernel gives a new one that wants any port now and then the port of another.
#[test]
fn any_port_is_nobody_elses() {
    for more in ["workers=2", "reuse-port=true"] {
        let listen = vec![format!("udp://127.0.0.1:0?mode=epoll&{more}")];
        let inputs = Inputs { file: None, listen };
        let settings = config::load(&inputs, &Environment::default()).unwrap().config.listeners.remove(0);
        let bind = |_| {
            let sites = bind::sites(&settings, &HostNames::default()).unwrap();
            bind::bind(&settings, sites, Duration::ZERO, &mut Vec::new()).unwrap().remove(0)
        };
        // So many that some meet, of 28,000 ports.
        let sockets: Vec<Socket> = (0..400).map(|number| bind(number).into_socket()).collect();
        let ports: HashSet<SocketAddr> =
            sockets.iter().map(|socket| socket.local_addr().unwrap().as_socket().unwrap()).collect();
        assert_eq!(ports.len(), sockets.len(), "{more}");
    }
}

/// An address that the machine does not have yet is bound, and served once it is there.
#[test]
fn an_address_may_be_bound_before_the_machine_has_it() {
    // The kernel has an address, and a route to it, a moment after it was added: what is sent before that is lost.
    fn is_echoed(protocol: &str, to: SocketAddr) -> Option<()> {
        if protocol == "tcp" {
            return Client::try_connect(&Endpoint::Tcp(to))
                .ok()
                .map(|client| client.echo(b"it is there now"));
        }
        let socket = Patient::new(UdpSocket::bind((to.ip(), 0)).ok()?).within(Duration::from_millis(100));
        socket.send_to(b"it is there now", to).ok()?;
        socket.recv(&mut [0; 64]).ok().map(|length| assert_eq!(length, 15))
    }
    in_namespace("ip addr show lo", || {
        for (protocol, ip) in
            [("tcp", "192.0.2.1"), ("udp", "192.0.2.2"), ("tcp", "2001:db8::1"), ("udp", "2001:db8::2")]
        {
            let ip: IpAddr = ip.parse().unwrap();
            if ip.is_ipv6() && !has_ipv6() {
                continue;
            }
            let listener = one(protocol, &format!("\"{}\"", SocketAddr::new(ip, 0)), "");
            Launch::new().config(&listener).run().expect(69, &["cannot bind", &ip.to_string()]);
            let daemon = Echod::start(&(listener + "freebind = true\n"));
            let add = format!("ip addr add {ip}/{} dev lo", if ip.is_ipv6() { "128" } else { "32" });
            assert!(Command::new("sh").args(["-c", &add]).status().unwrap().success(), "{add}");
            let to = SocketAddr::new(ip, daemon.port("it"));
            eventually("an echo", || is_echoed(protocol, to));
        }
    });
}
