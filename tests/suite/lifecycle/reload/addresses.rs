//! An address that becomes wider or narrower: the sockets of before and after cannot be had at once, and nobody is refused
//! all the same.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    thread,
};

use super::modes;
use crate::harness::{
    Client, Echod, Endpoint, Launch, Over, eventually, for_each_inet_protocol, has_ipv6, is_root,
    port_of_nobody, proc,
};

/// Hosts in the order of the reloads, and the address that the clients connect to all the time.
const CHAINS: [(&[&str], &str); 2] = [
    (&["127.0.0.1", "0.0.0.0", "127.0.0.1", "[::]", "0.0.0.0", "[::]", "127.0.0.1"], "127.0.0.1"),
    (&["[::1]", "[::]", "[::1]"], "::1"),
];

fn at(protocol: &str, ip: &str, port: u16) -> Endpoint {
    let address = (ip.parse::<IpAddr>().unwrap(), port).into();
    if protocol == "tcp" { Endpoint::Tcp(address) } else { Endpoint::Udp(address) }
}

/// A listener at these addresses, each of which is a host and its port.
fn listener(protocol: &str, addresses: &[String], more: &str) -> String {
    format!("[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = {addresses:?}\n{more}\n")
}

/// Reloads through all `hosts` while clients come and go at `ip`: each is answered, and so is one that stays.
fn nobody_is_refused(protocol: &str, (hosts, ip): (&[&str], &str), daemon_keys: &str, keys: &str) {
    let port = port_of_nobody(protocol);
    let toml = |host: &str| {
        format!("[daemon]\ndrain-timeout = \"60s\"\n{daemon_keys}\n")
            + &listener(protocol, &[format!("{host}:{port}")], keys)
    };
    let launch = Launch::new().config(&toml(hosts[0]));
    // What is read again must be readable for the user that the daemon has become.
    fs::set_permissions(launch.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut daemon = launch.start();
    let endpoint = at(protocol, ip, port);
    let stays = Client::connect(&endpoint);
    stays.echo(b"from the beginning");
    let (over, served) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let over = Over(&over);
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.0.load(Relaxed) {
                    Client::connect(&endpoint).echo(b"come and gone");
                    served.fetch_add(1, Relaxed);
                }
            });
        }
        for pair in hosts.windows(2) {
            daemon.reload(&toml(pair[1]));
            let log = daemon.log();
            assert!(!log.contains("not reloaded"), "{protocol} {keys} {pair:?}\n{log}");
            Client::connect(&endpoint).echo(b"after the reload");
            let before = served.load(Relaxed);
            eventually("clients of all the time", || (served.load(Relaxed) > before + 3).then_some(()));
        }
    });
    if protocol == "tcp" {
        stays.echo(b"until the end");
    }
    drop(stays);
    daemon.stop();
    let log = daemon.log();
    assert!(!log.contains(" ERROR ") && !log.contains("cannot"), "{log}");
}

fn in_all_modes(protocol: &str) {
    for (hosts, ip) in CHAINS {
        for (mode, workers) in modes() {
            if has_ipv6() {
                nobody_is_refused(protocol, (hosts, ip), "", &format!("mode = \"{mode}\"\n{workers}"));
            } else if ip == "127.0.0.1" {
                nobody_is_refused(protocol, (&hosts[..3], ip), "", &format!("mode = \"{mode}\"\n{workers}"));
            }
        }
    }
}

#[test]
fn a_wider_or_narrower_address_refuses_nobody_tcp() {
    in_all_modes("tcp");
}

#[test]
fn a_wider_or_narrower_address_refuses_nobody_udp() {
    in_all_modes("udp");
}

/// The sockets of the time before were made by root.
#[test]
fn an_address_can_be_widened_after_root_was_given_up() {
    if !is_root() {
        return;
    }
    for protocol in ["tcp", "udp"] {
        for keys in ["", "workers = 2", "mode = \"forking\"", "mode = \"threading\""] {
            let hosts = &["127.0.0.1", "0.0.0.0", "127.0.0.1"];
            nobody_is_refused(protocol, (hosts, "127.0.0.1"), "user = \"nobody\"", keys);
        }
    }
}

for_each_inet_protocol! { fewer_loops_leave_no_socket_and_no_client_behind }

/// Sockets of loops that are gone are left like an address that is gone.
fn fewer_loops_leave_no_socket_and_no_client_behind(protocol: &str) {
    let may = |mode: &&str| modes().iter().any(|(other, _)| other == mode);
    for mode in ["epoll", "poll", "threading", "forking"].into_iter().filter(may) {
        let toml = |mode: &str, workers: usize| {
            listener(
                protocol,
                &["127.0.0.1:0".to_owned()],
                &format!("mode = \"{mode}\"\nworkers = {workers}"),
            )
        };
        let sockets = |daemon: &Echod| {
            let of_one =
                |pid: i32| proc::descriptors(pid).into_iter().filter(|what| what.starts_with("socket:"));
            daemon.group().into_iter().flat_map(of_one).collect::<BTreeSet<_>>().len()
        };
        let few = sockets(&Echod::start(&toml(mode, 1)));
        let mut daemon = Echod::start(&toml("epoll", 4));
        let (over, endpoint) = (AtomicBool::new(false), daemon.endpoint("it"));
        thread::scope(|scope| {
            let over = Over(&over);
            for _ in 0..3 {
                scope.spawn(|| {
                    while !over.0.load(Relaxed) {
                        Client::connect(&endpoint).echo(b"come and gone");
                    }
                });
            }
            daemon.reload(&toml(mode, 1));
            (0..16).for_each(|_| Client::connect(&endpoint).echo(b"wherever the kernel leads it"));
        });
        eventually("the end of all sockets that are left", || (sockets(&daemon) <= few).then_some(()));
        daemon.client("it").echo(b"after all");
        daemon.stop();
    }
}

for_each_inet_protocol! { the_ipv6_wildcard_serves_ipv4_as_soon_as_nothing_else_does }

/// Beside the IPv4 wildcard, that of IPv6 leaves IPv4 alone; without it, it serves both.
fn the_ipv6_wildcard_serves_ipv4_as_soon_as_nothing_else_does(protocol: &str) {
    if !has_ipv6() {
        return;
    }
    for (mode, workers) in modes() {
        let port = port_of_nobody(protocol);
        let both = [format!("0.0.0.0:{port}"), format!("[::]:{port}")];
        let keys = format!("mode = \"{mode}\"\n{workers}");
        let mut daemon = Echod::start(&listener(protocol, &both, &keys));
        for addresses in [&both[1..], &both[..], &both[1..]] {
            daemon.reload(&listener(protocol, addresses, &keys));
            for ip in ["127.0.0.1", "::1"] {
                let client = Client::connect(&at(protocol, ip, port));
                client.echo(format!("{protocol} {mode} {addresses:?}").as_bytes());
            }
        }
        daemon.reload(&listener(protocol, &both[1..], &format!("{keys}\nv6-only = true")));
        Client::connect(&at(protocol, "::1", port)).echo(b"IPv6 only");
        let free = std::net::SocketAddr::from(([0, 0, 0, 0], port));
        match protocol {
            "tcp" => eventually("the port", || std::net::TcpListener::bind(free).ok().map(drop)),
            _ => eventually("the port", || std::net::UdpSocket::bind(free).ok().map(drop)),
        }
        daemon.reload(&listener(protocol, &both[1..], &keys));
        Client::connect(&at(protocol, "127.0.0.1", port)).echo(b"both again");
        daemon.stop();
        assert!(!daemon.log().contains(" ERROR "), "{}", daemon.log());
    }
}

/// With `v6-only` the two families of a port are two places: who takes one of them succeeds nobody at the other.
#[test]
fn a_listener_of_the_other_family_is_no_successor() {
    if !has_ipv6() {
        return;
    }
    let port = port_of_nobody("tcp");
    let one = |name: &str, host: &str, keys: &str| {
        format!("[[listener]]\nname = \"{name}\"\nprotocol = \"tcp\"\naddress = \"{host}:{port}\"\n{keys}\n")
    };
    let mut daemon = Echod::start(&one("six", "[::]", "v6-only = true"));
    let client = Client::connect(&at("tcp", "::1", port));
    client.echo(b"hello");
    daemon.reload(&one("four", "0.0.0.0", ""));
    assert!(client.rest().is_empty(), "a client of a listener that is gone is let go politely");
    at("tcp", "::1", port).wait_refused();
    Client::connect(&at("tcp", "127.0.0.1", port)).echo(b"hello");
    daemon.stop();
}

/// A socket of another kind takes the place of the file of the one before.
#[test]
fn another_protocol_takes_over_the_path() {
    for (mode, workers) in modes() {
        let toml = |protocol: &str| {
            crate::harness::listener("it", protocol, &format!("mode = \"{mode}\"\n{workers}"))
        };
        let mut daemon = Echod::start(&toml("unix"));
        let path = daemon.path("it.sock");
        let old = Client::connect(&Endpoint::Unix(path.clone()));
        old.echo(b"hello");
        daemon.reload(&toml("unix-datagram"));
        Client::connect(&Endpoint::UnixDatagram(path.clone())).echo(b"a datagram");
        daemon.reload(&toml("unix-seqpacket"));
        let records = Client::connect(&Endpoint::UnixSeqpacket(path.clone()));
        records.echo(b"a record");
        // They need not be waited for.
        drop((old, records));
        daemon.reload(&toml("unix"));
        Client::connect(&Endpoint::Unix(path.clone())).echo(b"a stream again");
        daemon.stop();
        assert!(!path.exists());
        let left: Vec<_> =
            fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().contains("sock")), "{left:?}");
    }
}

/// The kernel does not let go of a port by `SO_REUSEADDR` that was to be had without: that is ours to say, and to cure.
#[test]
fn who_is_in_the_way_of_a_wider_address_is_said_to_be_this_daemon() {
    let port = port_of_nobody("tcp");
    let toml = |host: &str| listener("tcp", &[format!("{host}:{port}")], "reuse-address = false");
    let mut daemon = Echod::start(&toml("127.0.0.1"));
    let client = daemon.client("it");
    client.echo(b"hello");
    daemon.reload(&toml("0.0.0.0"));
    let words = format!("listener \"it\" of this daemon has tcp://127.0.0.1:{port}; ");
    daemon.wait_log(|line| line.contains(&words) && line.contains("restart echod"));
    client.echo(b"as before");
    daemon.client("it").echo(b"as before");
    drop(client);
    daemon.stop();
}

/// A reload that comes to nothing in the middle leaves everything where it was, files as well.
#[test]
fn a_reload_that_fails_leaves_every_socket_where_it_was() {
    let port = port_of_nobody("tcp");
    let foreign = port_of_nobody("tcp");
    let _holder = std::net::TcpListener::bind(("127.0.0.1", foreign)).unwrap();
    let path = crate::harness::listener("path", "unix", "").replace("it.sock", "path.sock");
    let toml =
        |host: &str, path: &str, last: &str| listener("tcp", &[format!("{host}:{port}")], "") + path + last;
    let last = listener("tcp", &[format!("127.0.0.1:{foreign}")], "").replace("\"it\"", "\"last\"");
    let mut daemon = Echod::start(&toml("127.0.0.1", &path, ""));
    let endpoint = daemon.endpoint("path");
    daemon.reload(&toml("0.0.0.0", &path.replace("\"unix\"", "\"unix-datagram\""), &last));
    daemon.wait_log(|line| line.contains("not reloaded"));
    daemon.wait_log(|line| line.contains("cannot bind tcp://127.0.0.1:") && line.contains("`ss -lnp`"));
    daemon.client("it").echo(b"as before");
    Client::connect(&endpoint).echo(b"as before");
    daemon.reload(&toml("0.0.0.0", &path, ""));
    Client::connect(&at("tcp", "127.0.0.2", port)).echo(b"wider");
    Client::connect(&endpoint).echo(b"as before");
    daemon.stop();
}
