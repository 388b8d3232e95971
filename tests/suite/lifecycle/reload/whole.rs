//! What has gone since the last reload, or come, though the file says the same as before.

use std::{fs, net::Ipv4Addr, process::Command};

use echod::report::log_event::LogEvent;
use serde_json::Value;

use super::modes;
use crate::harness::{
    Client, Echod, Endpoint, can_be_had, eventually, has_ipv6, it, listener, netns::in_namespace,
};

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(status.success(), "ip {words}");
}

/// How often a listener came into service, by a socket.
fn served(daemon: &Echod, name: &str) -> usize {
    daemon.events(LogEvent::ListenerServing).iter().filter(|serving| serving["listener"] == name).count()
}

/// How often an address was left out.
fn left_out(daemon: &Echod) -> usize {
    let is_it = |note: &&Value| note["message"].as_str().unwrap().contains("left out ");
    daemon.events(LogEvent::ConfigNote).iter().filter(is_it).count()
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
                let mut daemon = Echod::start_with_events(&toml);
                let stays = daemon.client("it");
                stays.echo(b"before");
                let before = daemon.state("it")["served"];
                for round in 2..4 {
                    daemon.read_again();
                    assert_eq!(left_out(&daemon), 2 * round, "{}", daemon.log());
                }
                assert_eq!(daemon.state("it")["served"], before, "it goes on as it was");
                ip("address add 192.0.2.1/32 dev lo");
                daemon.read_again();
                for port in [7000, 7001] {
                    let address = (Ipv4Addr::new(192, 0, 2, 1), port).into();
                    let at = if protocol == "tcp" { Endpoint::Tcp(address) } else { Endpoint::Udp(address) };
                    Client::connect(&at).echo(b"there it is");
                }
                assert_eq!(left_out(&daemon), 6, "{}", daemon.log());
                daemon.client("it").echo(b"as before");
                if protocol == "tcp" {
                    stays.echo(b"after");
                }
                let count = || daemon.events(LogEvent::ListenerServing).len();
                let serving = count();
                daemon.read_again();
                assert_eq!(count(), serving, "nothing is missing any more");
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
                let mut daemon = Echod::start_with_events(&(toml + &it("").replace("\"it\"", "\"other\"")));
                let served = || served(&daemon, "it");
                daemon.read_again();
                assert_eq!(served(), 1);
                ip("link delete d0");
                daemon.read_again();
                if !scoped {
                    daemon.wait_event(LogEvent::ConfigNote, |note| {
                        note["listener"] == "it" && note["keys"] == "device"
                    });
                }
                daemon.client("other").echo(b"not concerned");
                make(scoped);
                daemon.read_again();
                assert_eq!(served(), 2, "{}", daemon.log());
                daemon.read_again();
                assert_eq!(served(), 2, "{}", daemon.log());
                daemon.stop();
                daemon.expect_no_error_event();
                ip("link delete d0");
            }
        }
    });
}

/// Cleaners of directories remove old files.
#[test]
fn a_socket_file_that_was_removed_is_made_anew() {
    for protocol in ["unix", "unix-seqpacket", "unix-datagram"] {
        for (mode, workers) in modes() {
            let keys = format!("mode = \"{mode}\"\n{workers}");
            let toml = listener("it", protocol, &keys);
            let mut daemon = Echod::start_with_events(&toml);
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
            let has_words = |text: &str| text.contains("is not a socket");
            daemon.wait_event(LogEvent::ReloadRefused, |refused| {
                refused["reason"].as_str().is_some_and(has_words)
            });
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

/// How often SIGUSR1 was told that the listener has ended.
fn ended(daemon: &Echod) -> usize {
    let is_it = |state: &&Value| state["listener"] == "it" && state["state"] == "ended";
    daemon.events(LogEvent::ListenerState).iter().filter(is_it).count()
}

#[test]
fn a_listener_that_has_served_its_last_request_is_served_again() {
    for (protocol, address) in [("tcp", "127.0.0.1:0"), ("udp", "127.0.0.1:0"), ("unix", "it.sock")] {
        for (mode, workers) in modes() {
            if !can_be_had(address) {
                continue;
            }
            let port = crate::harness::port_of_nobody(protocol);
            let toml = listener("it", protocol, &format!("mode = \"{mode}\"\n{workers}\nmax-requests = 1"))
                .replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))
                + &it("").replace("\"it\"", "\"other\"");
            let mut daemon = Echod::start_with_events(&toml);
            for _ in 0..3 {
                let client = daemon.client("it");
                client.echo(b"the only one");
                drop(client);
                eventually("the end of the listener", || {
                    let before = ended(&daemon);
                    daemon.state("other");
                    (ended(&daemon) > before).then_some(())
                });
                daemon.read_again();
            }
            daemon.client("it").echo(b"again");
            daemon.client("other").echo(b"as before");
            daemon.stop();
            daemon.expect_no_error_event();
        }
    }
}
