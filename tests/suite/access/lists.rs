//! Who may in: lists of networks for internet clients, users and groups for those of unix sockets.

use nix::unistd::{getegid, geteuid};

use crate::{
    harness::{Client, Echod, Launch, has_ipv6},
    matrix::Combination,
};

/// Every way to serve streams.
pub(crate) const STREAM_WAYS: [(&str, &str); 13] = [
    ("iterative", ""),
    ("threading", ""),
    ("threading", "2"),
    ("forking", ""),
    ("forking", "2"),
    ("select", ""),
    ("poll", ""),
    ("epoll", ""),
    ("epoll", "2"),
    ("edge", ""),
    ("edge", "2"),
    ("io-uring", ""),
    ("io-uring", "2"),
];

/// Every way to serve datagrams.
pub(crate) const DATAGRAM_WAYS: [(&str, &str); 10] = [
    ("iterative", ""),
    ("threading", "2"),
    ("threading", "\"per-request\""),
    ("forking", "2"),
    ("forking", "\"per-request\""),
    ("select", ""),
    ("poll", ""),
    ("epoll", "2"),
    ("edge", ""),
    ("io-uring", "2"),
];

pub(crate) fn streams(protocol: &'static str, address: &'static str) -> impl Iterator<Item = Combination> {
    STREAM_WAYS.into_iter().map(move |(mode, workers)| Combination { protocol, address, mode, workers })
}

pub(crate) fn datagrams(address: &'static str) -> impl Iterator<Item = Combination> {
    DATAGRAM_WAYS.into_iter().map(move |(mode, workers)| Combination {
        protocol: "udp",
        address,
        mode,
        workers,
    })
}

#[test]
fn a_stream_client_must_be_allowed() {
    for way in streams("tcp", "127.0.0.1:0") {
        let daemon = way.start_with("", "allow = [\"127.0.0.0/29\", \"::1\"]\ndeny = \"127.0.0.2\"");
        let from = |ip: &str| Client::connect_from(&daemon.endpoint("it"), ip);
        assert!(from("127.0.0.2").is_ended() && from("127.0.0.9").is_ended(), "{way:?}");
        from("127.0.0.1").echo(b"welcome");
        from("127.0.0.3").echo(b"welcome");
        daemon.wait_state("it", |state| {
            ["served", "refused", "denied", "not-allowed"].map(|key| state[key]) == [2, 2, 1, 1]
        });
        // At level debug each is told, with its address; and once a minute that there are any.
        let told = daemon.wait_lines(2, |line| line.contains("refused (denied): its address is in `deny`"));
        assert!(told[0].contains("DEBUG listener \"it\": tcp://127.0.0.2:"), "{told:?}");
        assert!(told[1].contains("WARN  listener \"it\": 1 refused (denied)"), "{told:?}");
        assert!(told[1].contains("in `deny`, the last from tcp://127.0.0.2:"), "{told:?}");
        assert!(told[1].ends_with("; take it out of `deny` to let it in"), "{told:?}");
        let told = daemon.wait_lines(2, |line| line.contains("refused (not-allowed)"));
        assert!(told[1].contains("the last from tcp://127.0.0.9:"), "{told:?}");
        assert!(told[1].ends_with("; add it to `allow` to let it in"), "{told:?}");
    }
}

#[test]
fn a_datagram_from_elsewhere_is_dropped_in_silence() {
    for way in datagrams("127.0.0.1:0") {
        let daemon = way.start_with("", "allow = \"127.0.0.0/30\"\ndeny = \"127.0.0.2\"");
        let from = |ip: &str| Client::connect_from(&daemon.endpoint("it"), ip);
        let refused = [from("127.0.0.2"), from("127.0.0.9")];
        for _ in 0..20 {
            refused.iter().for_each(|client| client.send(b"let me in"));
        }
        from("127.0.0.1").echo(b"welcome");
        daemon.wait_state("it", |state| {
            ["served", "refused", "denied", "not-allowed"].map(|key| state[key]) == [1, 40, 20, 20]
        });
        assert!(refused.iter().all(Client::has_nothing), "{way:?}");
        // One for each reason, with a source as an example, and the key that would let it in.
        let told = daemon.wait_lines(2, |line| line.contains("refused ("));
        for (ip, cure) in [("127.0.0.2", "out of `deny`"), ("127.0.0.9", "to `allow`")] {
            let source = format!("the last from udp://{ip}:");
            assert!(told.iter().any(|line| line.contains(&source) && line.contains(cure)), "{ip}: {told:?}");
        }
    }
}

#[test]
fn a_mapped_address_is_judged_as_ipv4() {
    if !has_ipv6() {
        return;
    }
    for (protocol, mode) in [("tcp", "threading"), ("tcp", "epoll"), ("udp", "threading"), ("udp", "epoll")] {
        let dual = Combination { protocol, address: "[::]:0", mode, workers: "" };
        let daemon = dual.start_with("", "deny = [\"127.0.0.2\", \"::1\"]");
        let mut endpoint = daemon.endpoint("it");
        let v6 = Client::connect(&endpoint);
        assert!(is_shut_out(&v6), "{protocol} {mode}");
        endpoint.set_ip("127.0.0.1".parse().unwrap());
        assert!(is_shut_out(&Client::connect_from(&endpoint, "127.0.0.2")), "{protocol} {mode}");
        Client::connect_from(&endpoint, "127.0.0.3").echo(b"welcome");
        daemon.wait_state("it", |state| state["denied"] == 2);
    }
}

/// A stream is ended; a datagram is not answered, but the next one of somebody else is.
fn is_shut_out(client: &Client) -> bool {
    match client.is_datagram() {
        false => client.is_ended(),
        true => {
            client.send(b"let me in");
            client.hears_nothing_for(std::time::Duration::from_millis(100))
        }
    }
}

#[test]
fn a_unix_client_is_known_by_its_user_and_groups() {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    for way in streams("unix", "it.sock") {
        for (keys, welcome) in [
            (format!("allow-users = \"{user}\""), true),
            (format!("allow-users = [\"{}\", \"{user}\"]", user + 4242), true),
            (format!("allow-groups = \"{group}\""), true),
            (format!("allow-users = \"{}\"\nallow-groups = \"{group}\"", user + 4242), true),
            (format!("allow-users = \"{}\"", user + 4242), false),
            (format!("allow-groups = \"{}\"", group + 4242), false),
        ] {
            let daemon = way.start_with("", &keys);
            let client = daemon.client("it");
            match welcome {
                true => client.echo(b"welcome"),
                false => assert!(client.is_ended(), "{way:?} {keys}"),
            }
            let refused = u64::from(!welcome);
            daemon.wait_state("it", |state| state["refused"] == refused && state["user"] == refused);
        }
    }
}

/// Whoever is refused takes none of the places, and none of `max-requests`.
#[test]
fn who_is_refused_costs_nobody_a_place() {
    for way in streams("tcp", "127.0.0.1:0") {
        let limit = if way.mode == "iterative" { "" } else { "max-connections = 2\n" };
        let mut daemon = way.start_with("", &format!("{limit}max-requests = 3\nallow = \"127.0.0.1\""));
        let endpoint = daemon.endpoint("it");
        for _ in 0..20 {
            assert!(Client::connect_from(&endpoint, "127.0.0.2").is_ended());
        }
        for _ in 0..3 {
            daemon.client("it").echo(b"welcome");
        }
        daemon.expect_success();
    }
}

/// The networks of a file count, and a fault in it is shown in it.
#[test]
fn networks_are_included() {
    let toml = "[[listener]]\nname = \"it\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\nallow-include = \"nets\"\n";
    let launch = |nets: &str| {
        let launch = Launch::new().config(toml);
        std::fs::write(launch.dir().join("nets"), nets).unwrap();
        launch
    };
    let daemon: Echod = launch("# ourselves\n127.0.0.1\n").start();
    daemon.client("it").echo(b"welcome");
    assert!(Client::connect_from(&daemon.endpoint("it"), "127.0.0.2").is_ended());
    launch("127.0.0.1\n127.0.0.2/8\n").args(&["--check"]).run().expect(
        78,
        &["nets:2:1", "127.0.0.2/8", "write `127.0.0.0/8`, or `127.0.0.2` if one address is meant"],
    );
}

/// A changed list, or a changed file of networks, counts from the reload on; who is in stays.
#[test]
fn a_reload_brings_new_rules() {
    for way in streams("tcp", "127.0.0.1:0").filter(|way| way.mode != "iterative") {
        let toml = |keys: &str| format!("{}deny-include = \"nets\"\n{keys}\n", way.listener("it"));
        let launch = Launch::new().config(&toml(""));
        let nets = launch.dir().join("nets");
        std::fs::write(&nets, "127.0.0.2\n").unwrap();
        let daemon = launch.start();
        let from = |ip: &str| Client::connect_from(&daemon.endpoint("it"), ip);
        let stays = from("127.0.0.3");
        stays.echo(b"welcome");
        assert!(from("127.0.0.2").is_ended());
        std::fs::write(&nets, "127.0.0.3\n").unwrap();
        daemon.reload(&toml(""));
        assert!(from("127.0.0.3").is_ended(), "{way:?}");
        from("127.0.0.2").echo(b"welcome");
        daemon.reload(&toml("allow = \"127.0.0.4\""));
        assert!(from("127.0.0.2").is_ended(), "{way:?}");
        from("127.0.0.4").echo(b"welcome");
        stays.echo(b"still here");
    }
}
