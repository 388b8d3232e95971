//! What the socket filter refuses never reaches the daemon.

use super::{client, echo, has_nothing, port};
use crate::{
    access::lists::datagrams,
    harness::{Echod, eventually},
    stream::strace::{BEGIN, END, Strace, settle},
};

#[test]
fn a_denied_port_is_dropped_by_the_kernel() {
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
        for way in datagrams(address) {
            let (denied, honest) = (client(), client());
            let daemon = way.start_with("", &format!("deny-source-ports = {}", port(&denied)));
            let to = (std::net::Ipv4Addr::LOCALHOST, daemon.port("it")).into();
            (0..20).for_each(|_| assert_eq!(denied.send_to(b"echo me", to).unwrap(), 7));
            echo(&honest, to, b"welcome");
            daemon.wait_state("it", |state| {
                ["served", "received", "refused", "undelivered"].map(|key| state[key]) == [1, 7, 0, 20]
            });
            assert!(has_nothing(&denied), "{way:?}");
        }
    }
}

#[test]
fn a_denied_port_wakes_nobody() {
    for way in datagrams("127.0.0.1:0") {
        let denied = client();
        let daemon = way.start_with("", &format!("deny-source-ports = {}", port(&denied)));
        if (way.mode, way.workers) == ("forking", "2") {
            eventually("both workers", || (daemon.grandchildren().len() == 2).then_some(()));
        }
        let marker = daemon.client("it");
        let Some(strace) = Strace::attach(&daemon) else { return };
        settle(&marker);
        marker.echo(BEGIN);
        for _ in 0..1000 {
            denied.send_to(b"DENIED", daemon.endpoint("it").inet()).unwrap();
        }
        marker.echo(END);
        // A call with many messages is written down when it has ended, which it may not have done yet.
        settle(&marker);
        let calls = strace.calls_between(&daemon);
        // Where each datagram has a process, that of a marker makes calls of its own.
        let most = if way.workers.contains("per-request") { 100 } else { 30 };
        assert!(calls.len() < most, "{way:?}: {} calls: {:?}", calls.len(), &calls[..30]);
        assert!(!calls.iter().any(|call| call.contains("DENIED")), "{way:?}");
    }
}

/// The guard goes by the new list at once. The filter is locked: what it dropped it goes on to drop, and that is said.
#[test]
fn a_reload_cannot_open_a_locked_filter() {
    for mode in ["epoll", "forking"] {
        let (first, second) = (client(), client());
        let toml = |ports: &str| {
            format!(
                "[[listener]]\nname = \"it\"\nprotocol = \"udp\"\naddress = \"127.0.0.1:0\"\nmode = \"{mode}\"\n\
                 deny-source-ports = {ports}\n"
            )
        };
        let daemon = Echod::start(&toml(&format!("{}", port(&first))));
        let to = daemon.endpoint("it").inet();
        echo(&second, to, b"welcome");
        daemon.reload(&toml(&format!("{}", port(&second))));
        daemon.wait_log(|line| {
            line.contains("cannot attach a socket filter") && line.contains("restart echod")
        });
        first.send_to(b"echo me", to).unwrap();
        second.send_to(b"echo me", to).unwrap();
        echo(&client(), to, b"welcome");
        daemon.wait_state("it", |state| ["source-port", "undelivered"].map(|key| state[key]) == [1, 1]);
        assert!(has_nothing(&first) && has_nothing(&second), "{mode}");
    }
}

/// The socket stays over a reload, and with it the kernel's counter; the new listener counts from nothing, as it does all else.
#[test]
fn what_the_kernel_dropped_before_a_reload_is_not_counted_again() {
    for mode in ["epoll", "forking"] {
        let (denied, honest) = (client(), client());
        let toml = |more: &str| {
            format!(
                "[[listener]]\nname = \"it\"\nprotocol = \"udp\"\naddress = \"127.0.0.1:0\"\nmode = \"{mode}\"\n\
                 deny-source-ports = {}\n{more}",
                port(&denied)
            )
        };
        let daemon = Echod::start(&toml(""));
        let to = daemon.endpoint("it").inet();
        let drop = |count: u64| {
            (0..count).for_each(|_| assert_eq!(denied.send_to(b"echo me", to).unwrap(), 7));
            daemon.wait_state("it", |state| state["undelivered"] == count);
        };
        drop(20);
        let before = daemon.counters();
        daemon.reload(&toml("loop-breaker = 1024\n"));
        echo(&honest, to, b"welcome");
        drop(5);
        assert_eq!(before.totals().undelivered, 20, "{mode}");
    }
}
