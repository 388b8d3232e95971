//! Who is believed when a proxy speaks for others, and what holds for those that it speaks for.

use nix::sys::signal::Signal;

use crate::{
    harness::{Client, Echod, Launch},
    robustness::survival::kill_process,
};

const MODES: [(&str, &str); 6] = [
    ("threading", ""),
    ("forking", ""),
    ("forking", "workers = 2"),
    ("epoll", ""),
    ("epoll", "trigger = \"edge\""),
    ("io-uring", ""),
];

fn start(mode: (&str, &str), keys: &str) -> Echod {
    let (mode, more) = mode;
    Echod::start(&format!(
        "[log]\nlevel = \"debug\"\n[[listener]]\nname = \"it\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\nmode = \"{mode}\"\n\
         proxy-header-timeout = \"1m\"\n{more}\n{keys}\n"
    ))
}

fn through(daemon: &Echod, source: &str) -> Client {
    let client = daemon.client("it");
    client.send(format!("PROXY TCP4 {source} 192.0.2.1 40000 7\r\n").as_bytes());
    client
}

/// The proxy itself need not be let in, and those it speaks for are not let in because it is.
#[test]
fn rules_see_the_carried_address() {
    for mode in MODES {
        let keys = "proxy-protocol = \"required\"\nallow = \"203.0.113.0/24\"\ndeny = \"203.0.113.9\"";
        let daemon = start(mode, keys);
        through(&daemon, "203.0.113.7").echo(b"let in");
        assert!(through(&daemon, "203.0.113.9").is_ended());
        assert!(through(&daemon, "198.51.100.1").is_ended());
        // For itself it is a client like any other.
        let client = daemon.client("it");
        client.send(b"PROXY UNKNOWN\r\n");
        assert!(client.is_ended());
        daemon.wait_state("it", |state| {
            state["denied"] == 1 && state["not-allowed"] == 2 && state["open"] == 0
        });
        daemon.wait_log(|line| {
            line.contains("tcp://203.0.113.9:40000 through tcp://127.0.0.1:") && line.contains("(denied)")
        });
    }
}

/// A proxy that speaks for itself is served, whatever else its header says.
#[test]
fn a_local_header_is_skipped_whatever_is_in_it() {
    for mode in MODES {
        let daemon = start(mode, "proxy-protocol = \"required\"");
        for (group, length) in [(0x00, 0), (0x11, 12), (0x11, 3), (0x41, 500), (0xff, 65_535_u16)] {
            let client = daemon.client("it");
            let header = [b"\r\n\r\n\0\r\nQUIT\n", &[0x20, group][..], &length.to_be_bytes()].concat();
            client.send(&header);
            client.send(&vec![0xee; length.into()]);
            client.echo(b"hello");
        }
    }
}

#[test]
fn rules_see_the_carried_address_at_a_unix_socket() {
    for (mode, more) in MODES {
        let daemon = Echod::start(&format!(
            "[[listener]]\nname = \"it\"\nprotocol = \"unix\"\naddress = \"it.sock\"\nmode = \"{mode}\"\n{more}\n\
             proxy-protocol = \"required\"\nallow = \"203.0.113.0/24\"\n"
        ));
        through(&daemon, "203.0.113.7").echo(b"let in");
        assert!(through(&daemon, "198.51.100.1").is_ended());
        daemon.wait_state("it", |state| state["not-allowed"] == 1 && state["open"] == 0);
    }
}

/// All come through one proxy, and each has its own limit; it is free again however a connection ends.
#[test]
fn limits_count_the_carried_address() {
    for mode in MODES {
        let daemon = start(mode, "proxy-protocol = \"required\"\nmax-connections-per-source = 1");
        let first = through(&daemon, "203.0.113.7");
        first.echo(b"the first");
        let other = through(&daemon, "203.0.113.8");
        other.echo(b"of another source");
        drop(other);
        // Where there are two workers, one of them is free now.
        daemon.wait_state("it", |state| state["open"] == 1);
        assert!(through(&daemon, "203.0.113.7").is_ended());
        daemon.wait_state("it", |state| state["source-full"] == 1 && state["open"] == 1);
        drop(first);
        daemon.wait_state("it", |state| state["open"] == 0);
        let again = through(&daemon, "203.0.113.7");
        again.echo(b"again");
        if mode.0 != "forking" {
            continue;
        }
        daemon.grandchildren().into_iter().for_each(|pid| kill_process(pid, Signal::SIGKILL));
        assert!(again.is_ended());
        daemon.wait_state("it", |state| state["open"] == 0);
        through(&daemon, "203.0.113.7").echo(b"once more");
    }
}

/// A service that speaks first says nothing to whoever is not let in.
#[test]
fn the_refused_hear_nothing() {
    for mode in MODES {
        let daemon =
            start(mode, "proxy-protocol = \"required\"\nservice = \"daytime\"\ndeny = \"203.0.113.9\"");
        assert!(through(&daemon, "203.0.113.9").is_ended());
        assert!(!through(&daemon, "203.0.113.7").rest().is_empty());
    }
}

/// Whom nobody trusts cannot claim to be somebody else: refused where a header is required, else all it sends is payload.
#[test]
fn only_trusted_proxies_are_believed() {
    for mode in MODES {
        let trusted = "trusted-proxies = [\"192.0.2.1\", \"2001:db8::/32\"]";
        let daemon = start(mode, &format!("proxy-protocol = \"required\"\n{trusted}"));
        assert!(daemon.client("it").is_ended());
        daemon.wait_state("it", |state| state["untrusted-proxy"] == 1 && state["open"] == 0);
        let daemon = start(mode, &format!("proxy-protocol = \"optional\"\n{trusted}"));
        daemon.client("it").echo(b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 7\r\n");
        daemon.wait_log(|line| line.contains("closed after") && !line.contains("through"));
    }
}

/// A check of the proxy's own (LOCAL) is not somebody else's connection.
#[test]
fn a_proxy_may_speak_for_itself() {
    for mode in MODES {
        let daemon = start(mode, "proxy-protocol = \"required\"");
        let client = daemon.client("it");
        client.send(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00");
        client.echo(b"healthy");
        drop(client);
        daemon.wait_log(|line| line.contains("closed after") && !line.contains("through"));
    }
}

#[test]
fn a_listener_for_everybody_must_name_its_proxies() {
    let toml = "[[listener]]\nprotocol = \"tcp\"\naddress = \"0.0.0.0:0\"\nproxy-protocol = \"optional\"\n";
    let finished = Launch::new().config(toml).args(&["--check"]).run();
    finished.expect(78, &["echod.toml:4:18", "trusted-proxies"]);
    let named = format!("{toml}trusted-proxies = \"10.0.0.0/8\"\n");
    Launch::new().config(&named).args(&["--check"]).run().expect(0, &[]);
}
