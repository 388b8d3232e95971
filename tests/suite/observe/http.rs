//! The endpoint is read-only, and no client can keep it from others.

use super::{LONGER, OBSERVE, by_file, by_port, exchange, get, observed, reply};
use crate::harness::{
    Client, Launch, eventually, has_ipv6, listener, other_loopback, port_of_nobody, proc, skipped,
};

#[test]
fn what_is_asked_wrongly_is_told_so() {
    let daemon = observed(&listener("it", "tcp", ""));
    for (request, status) in [
        ("POST /status HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("DELETE / HTTP/1.1\r\n\r\n", 405),
        ("GET /nothing HTTP/1.1\r\n\r\n", 404),
        ("GET /../etc/passwd HTTP/1.1\r\n\r\n", 404),
        ("\0\u{1}\u{2}\u{3}\r\n\r\n", 400),
        ("SSH-2.0-x\r\n\r\n", 400),
        (&format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(64 << 10)), 431),
    ] {
        let reply = exchange(&by_file(&daemon), request);
        assert_eq!(reply.status, status, "{request:.40}: {reply:?}");
    }
    let head = exchange(&by_file(&daemon), "HEAD /status HTTP/1.1\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(get(&daemon, "/status").head.contains("Content-Type: application/json"));
}

#[test]
fn clients_that_say_nothing_do_not_shut_out_one_that_asks() {
    let daemon = observed(&listener("it", "tcp", ""));
    let at = by_port(&daemon);
    let before = proc::descriptors(daemon.pid()).len();
    let silent: Vec<_> = (0..200)
        .map(|number| {
            let client = Client::connect(&at);
            client.send(if number % 2 == 0 { b"GET /st" } else { b"" });
            client
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(exchange(&at, "GET /status HTTP/1.1\r\n\r\n").status, 200);
    }
    drop(silent);
    eventually("their descriptors", || (proc::descriptors(daemon.pid()).len() <= before).then_some(()));
}

#[test]
fn a_request_has_its_time_and_no_more() {
    let daemon = observed(&("timeout = \"100ms\"\n".to_owned() + &listener("it", "tcp", "")));
    let slow = Client::connect(&by_file(&daemon));
    slow.send(b"GET /sta");
    assert!(slow.rest().is_empty(), "a request that does not end has no response");
    // One that asks and does not read is closed as well, and its descriptor with it.
    let before = proc::descriptors(daemon.pid()).len();
    let deaf = Client::connect(&by_file(&daemon));
    deaf.send(b"GET /status HTTP/1.1\r\n\r\n");
    eventually("its end", || (proc::descriptors(daemon.pid()).len() <= before).then_some(()));
    drop(deaf);
}

#[test]
fn only_who_is_in_allow_may_look() {
    let daemon = observed(&("allow = [\"127.0.0.2\"]\n".to_owned() + &listener("it", "tcp", "")));
    let at = by_port(&daemon);
    let refused = Client::connect(&at);
    assert_eq!(reply(&refused).status, 403);
    let other = other_loopback();
    if other == "127.0.0.2" {
        let let_in = Client::connect_from(&at, other);
        let_in.send(b"GET /healthz HTTP/1.1\r\n\r\n");
        assert_eq!(reply(&let_in).status, 200);
    }
    assert_eq!(get(&daemon, "/healthz").status, 200, "the permissions of a file decide for themselves");
    // A reload lets it in.
    daemon.reload(&format!("{OBSERVE}{}", listener("it", "tcp", "")));
    assert_eq!(exchange(&at, "GET /healthz HTTP/1.1\r\n\r\n").status, 200);
}

#[test]
fn its_file_is_for_its_user_alone_unless_told_otherwise() {
    use std::os::unix::fs::PermissionsExt;
    for (more, mode) in [("", 0o600), ("socket-mode = \"0660\"\n", 0o660)] {
        let daemon = observed(&(more.to_owned() + &listener("it", "tcp", "")));
        let found = std::fs::metadata(daemon.path("observe.sock")).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode);
    }
}

#[test]
fn its_file_is_removed_in_the_sandbox_too_where_it_has_a_directory_of_its_own() {
    let launch = Launch::new();
    std::fs::create_dir(launch.dir().join("own")).unwrap();
    let toml = "[daemon]\nsandbox = \"on\"\n[observe]\naddress = \"unix:own/observe.sock\"\n".to_owned();
    let mut daemon = launch.config(&(toml + &listener("it", "tcp", ""))).start();
    let at = crate::harness::Endpoint::Unix(daemon.path("own/observe.sock"));
    assert_eq!(exchange(&at, "GET /healthz HTTP/1.1\r\n\r\n").status, 200);
    daemon.stop();
    assert!(!daemon.path("own/observe.sock").exists());
}

#[test]
fn an_address_that_nobody_could_use_is_warned_of() {
    let check = |observe: &str| {
        let toml = format!("[observe]\n{observe}\n{}", listener("it", "tcp", ""));
        Launch::new().config(&toml).args(&["--check"]).run()
    };
    let told = check("address = \"0.0.0.0:9862\"");
    told.expect(0, &["0.0.0.0:9862", "only this machine", "`allow`"]);
    for quiet in ["address = \"127.0.0.1:9862\"", "address = \"0.0.0.0:9862\"\nallow = \"192.0.2.0/24\""] {
        assert_eq!(check(quiet).stderr, "", "{quiet}");
    }
}

#[test]
fn an_address_that_cannot_be_had_ends_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let toml = format!("[observe]\naddress = \"{address}\"\n{}", listener("it", "tcp", ""));
    Launch::new().config(&toml).run().expect(69, &["[observe]", &address.to_string(), "ss -lnp"]);
}

#[test]
fn the_wildcards_of_both_families_stand_beside_each_other() {
    if !has_ipv6() {
        return skipped("the endpoint is not bound to both families: there is no IPv6");
    }
    let port = port_of_nobody("tcp");
    let toml = format!(
        "[observe]\naddress = [\"0.0.0.0:{port}\", \"[::]:{port}\"]\nallow = [\"127.0.0.0/8\", \"::1\"]\n"
    );
    let _daemon = crate::harness::Echod::start(&(toml + &listener("it", "tcp", "")));
    for ip in ["127.0.0.1", "::1"] {
        let at = crate::harness::Endpoint::Tcp(std::net::SocketAddr::new(ip.parse().unwrap(), port));
        assert_eq!(exchange(&at, "GET /healthz HTTP/1.1\r\n\r\n").status, 200, "{ip}");
    }
}

#[test]
fn an_address_is_taken_once() {
    let toml = "[observe]\naddress = \"127.0.0.1:7777\"\n[[listener]]\nprotocol = \"tcp\"\naddress = \"0.0.0.0:7777\"\n";
    let found = Launch::new().config(toml).args(&["--check"]).run();
    found.expect(78, &["tcp://127.0.0.1:7777 clashes with tcp://0.0.0.0:7777"]);
    let toml = format!("[observe]\naddress = \"unix:./it.sock\"\n{}", listener("it", "unix", ""));
    let found = Launch::new().config(&toml).args(&["--check"]).run();
    found.expect(78, &["unix:./it.sock clashes with unix:it.sock"]);
}

#[test]
fn new_addresses_count_from_the_next_start_on() {
    let daemon = observed(&listener("it", "tcp", ""));
    daemon.reload(&format!("[observe]\naddress = \"127.0.0.1:0\"\n{}", listener("it", "tcp", "")));
    daemon.wait_log(|line| line.contains("new values of `address` count from the next start on"));
    assert_eq!(get(&daemon, "/healthz").status, 200);
}

#[test]
fn it_costs_nothing_while_nobody_asks() {
    let daemon = observed(&listener("it", "tcp", ""));
    assert_eq!(get(&daemon, "/healthz").status, 200);
    // Time for whatever a request may have left to be done.
    let client = Client::connect(&by_file(&daemon));
    assert!(client.hears_nothing_for(LONGER / 8));
    drop(client);
    let before = daemon.cpu_ticks();
    let silent = Client::connect(&daemon.endpoint("it"));
    assert!(silent.hears_nothing_for(LONGER / 4));
    assert!(daemon.cpu_ticks() <= before + 1, "it works while nobody asks");
}
