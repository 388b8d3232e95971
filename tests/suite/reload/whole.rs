//! What has gone since the last reload, or come, though the file says the same as before.

use std::{fs, net::Ipv4Addr, process::Command};

use super::modes;
use crate::common::{
    Client, Echod, Endpoint, can_be_had, eventually, has_ipv6, it, listener, netns::in_namespace,
};

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(status.success(), "ip {words}");
}

fn count(daemon: &Echod, words: &str) -> usize {
    daemon.log().matches(words).count()
}

/// An address that the machine did not have is tried again each time, also where it is that of a listener without another one.
#[test]
fn what_was_left_out_is_had_once_it_is_there() {
    in_namespace("true", || {
        for protocol in ["tcp", "udp"] {
            for keys in ["", "workers = 2", "mode = \"forking\"", "mode = \"threading\""] {
                let one = |name: &str, addresses: &str| {
                    format!(
                        "[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = [{addresses}]\n\
                         optional = true\n{keys}\n"
                    )
                };
                let toml =
                    one("it", "\"127.0.0.1:7000\", \"192.0.2.1:7000\"") + &one("late", "\"192.0.2.1:7001\"");
                let mut daemon = Echod::start(&toml);
                let stays = daemon.client("it");
                stays.echo(b"before");
                let served = daemon.state("it")["served"];
                for round in 2..4 {
                    daemon.read_again();
                    assert_eq!(count(&daemon, "left out "), 2 * round, "{}", daemon.log());
                }
                assert_eq!(daemon.state("it")["served"], served, "it goes on as it was");
                ip("address add 192.0.2.1/32 dev lo");
                daemon.read_again();
                for port in [7000, 7001] {
                    let address = (Ipv4Addr::new(192, 0, 2, 1), port).into();
                    let at = if protocol == "tcp" { Endpoint::Tcp(address) } else { Endpoint::Udp(address) };
                    Client::connect(&at).echo(b"there it is");
                }
                assert_eq!(count(&daemon, "left out "), 6, "{}", daemon.log());
                daemon.client("it").echo(b"as before");
                if protocol == "tcp" {
                    stays.echo(b"after");
                }
                let serving = count(&daemon, "serving echo");
                daemon.read_again();
                assert_eq!(count(&daemon, "serving echo"), serving, "nothing is missing any more");
                drop(stays);
                daemon.stop();
                ip("address del 192.0.2.1/32 dev lo");
            }
        }
    });
}

/// An interface of the same name is another one, and a socket of the one before hears nothing of it.
#[test]
fn an_interface_that_was_made_anew_is_served() {
    in_namespace("ip link add d0 type veth peer name d1 && ip link delete d0", || {
        let make = |scoped: bool| {
            ip("link add d0 type veth peer name d1");
            if scoped {
                ip("address add fe80::7/64 dev d0 nodad");
            }
            ip("link set d0 up");
            ip("link set d1 up");
        };
        for protocol in ["tcp", "udp"] {
            for (address, device) in [("127.0.0.1:7000", "device = \"d0\""), ("[fe80::7%d0]:7000", "")] {
                let scoped = device.is_empty();
                if scoped && !has_ipv6() {
                    continue;
                }
                let toml = format!(
                    "[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\n{device}\n"
                );
                make(scoped);
                let mut daemon = Echod::start(&(toml + &it("").replace("\"it\"", "\"other\"")));
                let served = || count(&daemon, "listener \"it\": serving");
                daemon.read_again();
                assert_eq!(served(), 1);
                ip("link delete d0");
                daemon.read_again();
                if !scoped {
                    daemon.wait_log(|line| line.contains(" WARN ") && line.contains("no interface `d0`"));
                }
                daemon.client("other").echo(b"not concerned");
                make(scoped);
                daemon.read_again();
                assert_eq!(served(), 2, "{}", daemon.log());
                daemon.read_again();
                assert_eq!(served(), 2, "{}", daemon.log());
                daemon.stop();
                assert!(!daemon.log().contains(" ERROR "), "{}", daemon.log());
                ip("link delete d0");
            }
        }
    });
}

/// Cleaners of directories remove old files.
#[test]
fn a_socket_file_that_was_removed_is_made_anew() {
    for protocol in ["unix", "unix-datagram"] {
        for (mode, workers) in modes() {
            let keys = format!("mode = \"{mode}\"\n{workers}");
            let toml = listener("it", protocol, &keys);
            let mut daemon = Echod::start(&toml);
            let old = daemon.client("it");
            old.echo(b"hello");
            let path = daemon.path("it.sock");
            fs::remove_file(&path).unwrap();
            daemon.read_again();
            daemon.client("it").echo(b"reached by its file");
            if !old.is_datagram() {
                old.echo(b"hello again");
            }
            // Another one's file is not ours to remove.
            fs::remove_file(&path).unwrap();
            fs::write(&path, "something else").unwrap();
            daemon.read_again();
            daemon.wait_log(|line| line.contains(" ERROR ") && line.contains("is not a socket"));
            fs::remove_file(&path).unwrap();
            // Changed in the same moment.
            daemon.reload(&listener("it", protocol, &format!("{keys}\nservice = \"upper\"")));
            assert_eq!(daemon.client("it").ask(b"hello"), b"HELLO");
            drop(old);
            daemon.stop();
            assert!(!path.exists());
        }
    }
}

#[test]
fn a_listener_that_has_served_its_last_request_is_served_again() {
    for (protocol, address) in [("tcp", "127.0.0.1:0"), ("udp", "127.0.0.1:0"), ("unix", "it.sock")] {
        for (mode, workers) in modes() {
            if !can_be_had(address) {
                continue;
            }
            let port = crate::common::port_of_nobody(protocol);
            let toml = listener("it", protocol, &format!("mode = \"{mode}\"\n{workers}\nmax-requests = 1"))
                .replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))
                + &it("").replace("\"it\"", "\"other\"");
            let mut daemon = Echod::start(&toml);
            for _ in 0..3 {
                let client = daemon.client("it");
                client.echo(b"the only one");
                drop(client);
                eventually("the end of the listener", || {
                    let before = count(&daemon, "listener \"it\" (ended)");
                    daemon.state("other");
                    (count(&daemon, "listener \"it\" (ended)") > before).then_some(())
                });
                daemon.read_again();
            }
            daemon.client("it").echo(b"again");
            daemon.client("other").echo(b"as before");
            daemon.stop();
            assert!(!daemon.log().contains(" ERROR "), "{}", daemon.log());
        }
    }
}
