//! What was kept for a configuration that is another one by now.

use std::{fs, os::unix::fs::PermissionsExt};

use super::{FdStore, assert_quiet, come_in_between, listener, replace_file};
use crate::harness::{
    Client, Echod, Endpoint, can_be_had, for_each_inet_protocol, other_loopback, port_of_nobody,
};

impl FdStore {
    /// A daemon with this configuration has been stopped; where it was reached.
    fn before(&mut self, toml: &str) -> Endpoint {
        let mut daemon = self.start(toml);
        daemon.stop();
        daemon.endpoint("it")
    }

    /// As [`FdStore::start`], but is heard while it starts.
    fn start_heard(&mut self, toml: &str) -> Echod {
        let launch = self.launch(toml);
        std::thread::scope(|scope| {
            let starting = scope.spawn(|| launch.start());
            self.until("READY=1");
            starting.join().unwrap()
        })
    }
}

/// Another address is another socket: the old one is closed before anybody could wait in it for nothing.
#[test]
fn an_address_that_is_gone_is_closed() {
    for (protocol, old) in [
        ("tcp", "127.0.0.1:0"),
        ("udp", "127.0.0.1:0"),
        ("unix", ""),
        ("unix-seqpacket", ""),
        ("unix-datagram", ""),
    ] {
        let Some(mut store) = FdStore::new() else { return };
        let (old, new) = match protocol {
            "tcp" | "udp" => (old.to_owned(), format!("{}:0", other_loopback())),
            _ => {
                (store.file().display().to_string(), store.dir.path().join("new.sock").display().to_string())
            }
        };
        let gone = store.before(&listener("it", protocol, &old, ""));
        let mut daemon = store.start(&listener("it", protocol, &new, ""));
        daemon.wait_log(|line| {
            line.contains(" INFO ") && line.contains(&format!("closed the kept socket {protocol}:"))
        });
        assert_eq!(store.kept.len(), 1, "{:?}", store.kept);
        if protocol != "udp" {
            gone.wait_refused();
        }
        assert!(!store.file().exists());
        daemon.client("it").echo(b"hello");
        daemon.stop();
        assert_quiet(&daemon);
    }
}

/// What is closed is out of the way of what is bound, though the manager has a copy for a moment longer.
#[test]
fn an_old_socket_is_not_in_the_way_of_a_new_one() {
    for protocol in ["tcp", "udp"] {
        for more in ["", "workers = 2", "reuse-address = false"] {
            if protocol == "udp" && more.starts_with("reuse") {
                continue;
            }
            let Some(mut store) = FdStore::new() else { return };
            let port = port_of_nobody(protocol);
            let at = |ip: &str| listener("it", protocol, &format!("{ip}:{port}"), more);
            let old = store.before(&at("127.0.0.1"));
            let wildcard = at("0.0.0.0");
            let mut daemon = store.start_heard(&format!("[defaults]\nallow = \"127.0.0.0/8\"\n{wildcard}"));
            Client::connect(&old).echo(b"the same port");
            daemon.stop();
        }
    }
}

for_each_inet_protocol! { the_number_of_workers_may_change }

/// More loops have a socket each; of fewer loops one serves those that are left over. Nobody who waits is lost either way.
fn the_number_of_workers_may_change(protocol: &str) {
    for modes in [["epoll", "epoll"], ["epoll", "io-uring"], ["poll", "threading"], ["epoll", "forking"]] {
        let Some(mut store) = FdStore::new() else { return };
        let toml = |store: &FdStore, mode: &str, workers: usize| {
            store.listener(protocol, &format!("mode = \"{mode}\"\nworkers = {workers}"))
        };
        let endpoint = store.before(&toml(&store, modes[0], 1));
        let mut count = store.kept.len();
        assert_eq!(count, 1);
        for (turn, (mode, workers)) in
            [(modes[0], 4), (modes[1], 2), (modes[1], 1), (modes[0], 3)].into_iter().enumerate()
        {
            let waiting = come_in_between(&endpoint, turn as u8);
            let mut daemon = store.start(&toml(&store, mode, workers));
            waiting
                .iter()
                .for_each(|(client, sent)| assert_eq!(client.receive(2), sent, "{protocol} {mode}"));
            drop(waiting);
            // All of them, wherever the kernel leads them.
            (0..16).for_each(|_| Client::connect(&endpoint).echo(b"hello"));
            count = count.max(if turn == 0 { 4 } else { 0 });
            assert_eq!(store.kept.len(), count, "{protocol} {mode} {workers}");
            daemon.stop();
            assert_quiet(&daemon);
        }
    }
}

/// Options that count only when a socket is bound: it is bound anew, at the same port.
#[test]
fn what_cannot_be_changed_is_bound_anew() {
    for (protocol, address, old, new, word) in [
        ("tcp", "[::]", "", "v6-only = true", "`v6-only`"),
        ("udp", "[::]", "v6-only = true", "", "`v6-only`"),
        ("tcp", "127.0.0.1", "device = \"lo\"", "", "`device`"),
    ] {
        if !can_be_had(address) {
            continue;
        }
        let Some(mut store) = FdStore::new() else { return };
        let port = port_of_nobody(protocol);
        let toml = |more: &str| {
            let allow = "[defaults]\nallow = [\"127.0.0.0/8\", \"::1\"]\n".to_owned();
            allow + &listener("it", protocol, &format!("{address}:{port}"), more)
        };
        let endpoint = store.before(&toml(old));
        let mut daemon = store.start_heard(&toml(new));
        daemon.wait_log(|line| line.contains("closed the kept socket") && line.contains(word));
        let mut reached = endpoint.clone();
        reached.set_ip(if address == "[::]" { "::1" } else { "127.0.0.1" }.parse().unwrap());
        Client::connect(&reached).echo(b"hello");
        daemon.stop();
    }
}

/// Options that can be set at any time, and a filter of the kernel, are those of the new configuration; who waits stays.
#[test]
fn what_can_be_changed_is_changed() {
    for (protocol, old, new) in [
        ("tcp", "keepalive = \"60s\"", "keepalive = \"on\"\nbacklog = 5\nreuse-port = true"),
        ("tcp", "receive-buffer = 65536", ""),
        ("udp", "send-buffer = \"64KiB\"", ""),
        ("tcp", "reuse-address = false", "nodelay = false\nsend-buffer = 65536"),
        ("udp", "deny-source-ports = \"none\"", "deny-source-ports = \"privileged\""),
        ("udp", "", "kernel-filter = false"),
        ("udp", "kernel-filter = false", ""),
        ("udp", "trusted = \"127.0.0.1\"", "service = \"upper\""),
    ] {
        let Some(mut store) = FdStore::new() else { return };
        let endpoint = store.before(&store.listener(protocol, old));
        let name = store.kept.keys().next().unwrap().clone();
        let waiting = Client::connect(&endpoint);
        waiting.send(b"1234");
        let mut daemon = store.start(&store.listener(protocol, new));
        assert_eq!(waiting.receive(4), b"1234", "{protocol} {new}");
        assert_eq!(store.kept.keys().collect::<Vec<_>>(), [&name]);
        drop(waiting);
        daemon.stop();
        assert_quiet(&daemon);
    }
}

/// Owner and permissions of a socket file are those of now; where another file stands in its place it is another socket.
#[test]
fn a_file_is_found_again_or_made_anew() {
    for protocol in ["unix", "unix-seqpacket", "unix-datagram"] {
        let Some(mut store) = FdStore::new() else { return };
        let mode = |store: &FdStore| fs::metadata(store.file()).unwrap().permissions().mode() & 0o777;
        let endpoint = store.before(&store.listener(protocol, ""));
        assert_eq!(mode(&store), 0o666);
        let waiting = come_in_between(&endpoint, 1);
        let mut second = store.start(&store.listener(protocol, "socket-mode = \"0600\""));
        assert_eq!(mode(&store), 0o600);
        waiting.iter().for_each(|(client, sent)| assert_eq!(client.receive(2), sent));
        drop(waiting);
        second.stop();
        for destroy in [replace_file, |path: &std::path::Path| fs::remove_file(path).unwrap()] {
            destroy(&store.file());
            let mut next = store.start(&store.listener(protocol, ""));
            next.wait_log(|line| line.contains("closed the kept socket"));
            Client::connect(&endpoint).echo(b"reached by its file");
            next.stop();
            assert_eq!(store.kept.len(), 1);
            assert_quiet(&next);
        }
    }
}

/// The store follows a reload: what comes is kept, what goes is not.
#[test]
fn a_reload_changes_what_is_kept() {
    let Some(mut store) = FdStore::new() else { return };
    let (file, new) = (store.file(), store.dir.path().join("new.sock"));
    let (path, new_path) = (file.display().to_string(), new.display().to_string());
    let tcp = listener("tcp", "tcp", "127.0.0.1:0", "");
    let mut daemon = store.start(&(listener("it", "unix", &path, "") + &tcp));
    let (endpoint, names) = (daemon.endpoint("tcp"), store.kept.keys().cloned().collect::<Vec<_>>());
    // It keeps its socket, and so has it in the store.
    daemon.reload(&(listener("it", "unix", &path, "service = \"upper\"") + &tcp));
    store.until("READY=1");
    assert_eq!(store.kept.keys().cloned().collect::<Vec<_>>(), names);
    // One goes and one comes; another one has the name of both from now on.
    let renamed = listener("named", "tcp", "127.0.0.1:0", "workers = 2");
    daemon.reload(&(listener("new", "unix", &new_path, "mode = \"threading\"") + &renamed));
    store.until("READY=1");
    store.catch_up();
    let kept: Vec<_> = store.kept.keys().collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let ends = |word: &str| kept.iter().any(|name| name.ends_with(word));
    assert!(ends(".new") && ends(".named") && !file.exists(), "{kept:?}");
    daemon.stop();
    assert!(new.exists());
    let waiting = [come_in_between(&endpoint, 1), come_in_between(&Endpoint::Unix(new), 2)];
    let _next = store.start(&(listener("new", "unix", &new_path, "") + &renamed));
    waiting.iter().flatten().for_each(|(client, sent)| assert_eq!(client.receive(2), sent));
}

/// A start that fails leaves to the next one what was kept.
#[test]
fn a_start_that_fails_loses_nothing() {
    let Some(mut store) = FdStore::new() else { return };
    let toml = store.listener("unix", "");
    let endpoint = store.before(&toml);
    let waiting = come_in_between(&endpoint, 1);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener("taken", "tcp", &taken.local_addr().unwrap().to_string(), "");
    let failed = store.launch(&(toml.clone() + &taken)).try_start().err().expect("a failure");
    failed.expect(69, &["cannot bind"]);
    store.catch_up();
    let _next = store.start(&toml);
    waiting.iter().for_each(|(client, sent)| assert_eq!(client.receive(2), sent));
}
