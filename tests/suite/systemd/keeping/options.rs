//! An option that is taken back is taken back: over a reload and over a restart a socket is what a new one would be.

use std::{fs, os::unix::fs::PermissionsExt};

use echod::sys::{buffer_lock, path_mtu::Discovery, socket_filter};
use socket2::{Socket, Type};

use super::{FdStore, listener};
use crate::harness::{Client, Launch, has_python, port_of_nobody};

/// Protocols, and keys that change what a socket is by default.
const TAKEN_BACK: [(&str, &str); 14] = [
    ("tcp", "receive-buffer = 65536"),
    ("tcp", "send-buffer = 65536"),
    ("tcp", "keepalive = \"60s\"\nnodelay = false"),
    ("tcp", "keepalive = \"60s every 10s, 3 times\""),
    ("tcp", "keepalive = \"off\"\nreuse-address = false\nreuse-port = true"),
    ("udp", "receive-buffer = 65536\nsend-buffer = \"64KiB\""),
    ("udp", "reuse-port = true\ndeny-source-ports = \"none\""),
    ("udp", "kernel-filter = false"),
    ("udp", "dont-fragment = \"off\""),
    ("udp", "dscp = \"reflect\"\nttl = 3"),
    ("udp", "dscp = \"AF41\""),
    ("tcp", "dscp = \"CS1\"\nttl = 255"),
    ("unix", "receive-buffer = 65536\nsocket-mode = \"0600\""),
    ("unix-datagram", "send-buffer = 65536\nsocket-mode = \"0600\"\nsocket-group = 12"),
];

/// All that can be asked about a socket.
fn options(socket: &Socket) -> Vec<String> {
    let locks = buffer_lock::is_set(socket).unwrap();
    vec![
        format!("receive-buffer {:?} {}", socket.recv_buffer_size(), locks.receive),
        format!("send-buffer {:?} {}", socket.send_buffer_size(), locks.send),
        format!("keepalive {:?} {:?}", socket.keepalive().ok(), socket.tcp_keepalive_time().ok()),
        format!(
            "probes {:?} {:?}",
            socket.tcp_keepalive_interval().ok(),
            socket.tcp_keepalive_retries().ok()
        ),
        format!("nodelay {:?}", socket.tcp_nodelay().ok()),
        format!("reuse {:?} {:?}", socket.reuse_address().ok(), socket.reuse_port().ok()),
        format!(
            "ttl {:?}, tos {:?} {:?}",
            socket.ttl_v4().ok(),
            socket.tos_v4().ok(),
            socket.recv_tos_v4().ok()
        ),
        format!("path MTU {:?}", Discovery::of(socket)),
        format!("filter {:?}", socket_filter::program(socket).map_or(0, |program| program.len())),
    ]
}

impl FdStore {
    /// What the only socket is, and its file.
    fn socket(&self) -> Vec<String> {
        assert_eq!(self.kept.len(), 1);
        let kept = self.kept.values().next().unwrap();
        let mut found = options(&Socket::from(kept.try_clone().unwrap()));
        if let Ok(file) = fs::metadata(self.file()) {
            found.push(format!(
                "{:o} {}",
                file.permissions().mode(),
                std::os::unix::fs::MetadataExt::gid(&file)
            ));
        }
        found
    }
}

#[test]
fn a_reload_and_a_restart_take_back_what_the_file_takes_back() {
    for (protocol, keys) in TAKEN_BACK {
        if keys.contains("group") && !crate::harness::is_root() {
            continue;
        }
        let Some(mut store) = FdStore::new() else { return };
        let (plain, with) = (store.listener(protocol, ""), store.listener(protocol, keys));
        let mut daemon = store.start(&plain);
        let usual = store.socket();
        daemon.reload(&with);
        store.until("READY=1");
        let set = store.socket();
        let differ = usual.iter().zip(&set).filter(|(usual, set)| usual != set).count();
        assert!(differ > 0, "{protocol} {keys} {set:?}");
        daemon.reload(&plain);
        store.until("READY=1");
        assert_eq!(store.socket(), usual, "{protocol} {keys} after a reload\n{}", daemon.log());
        daemon.client("it").echo(b"hello");
        daemon.stop();
        let endpoint = daemon.endpoint("it");
        let mut daemon = store.start(&with);
        assert_eq!(store.socket(), set, "{protocol} {keys} after a restart\n{}", daemon.log());
        daemon.stop();
        let mut daemon = store.start(&plain);
        assert_eq!(store.socket(), usual, "{protocol} {keys} taken back by a restart\n{}", daemon.log());
        Client::connect(&endpoint).echo(b"hello");
        daemon.stop();
    }
}

/// Of a socket that was passed, what was before is as its unit says.
#[test]
fn a_passed_socket_is_left_as_it_was_made() {
    if !has_python("no socket was passed") {
        return;
    }
    let socket = Socket::new(socket2::Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(50_000).unwrap();
    socket
        .set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(std::time::Duration::from_secs(77)))
        .unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    let bound: std::net::SocketAddr = ([127, 0, 0, 1], port_of_nobody("tcp")).into();
    socket.bind(&bound.into()).unwrap();
    socket.listen(17).unwrap();
    let before = options(&socket);
    let toml = |keys: &str| listener("it", "tcp", &bound.to_string(), keys);
    let mut daemon = Launch::new().config(&toml("keepalive = \"on\"")).pass("it", &socket).start();
    assert_eq!(options(&socket), before);
    daemon.reload(&toml("receive-buffer = 65536\nsend-buffer = 65536\nkeepalive = \"60s\""));
    assert_ne!(options(&socket), before);
    daemon.reload(&toml("keepalive = \"on\""));
    assert_eq!(options(&socket), before);
    daemon.client("it").echo(b"hello");
    daemon.stop();
}
