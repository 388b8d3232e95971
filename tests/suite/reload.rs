//! SIGHUP: the configuration is read again, and nobody notices but those whom it concerns.

use std::{
    fs,
    net::TcpListener,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use nix::sys::signal::Signal;

use crate::common::{
    Client, Echod, Launch, Manager, eventually, is_locked_in, it, listener, locked_in, pattern, proc,
};

/// Every mode that waits in its own way, with the workers that make it another one.
const MODES: [(&str, &str); 13] = [
    ("epoll", ""),
    ("iterative", ""),
    ("threading", ""),
    ("epoll", "workers = 3"),
    ("forking", ""),
    ("threading", "workers = 2"),
    ("select", ""),
    ("forking", "workers = 2"),
    ("io-uring", ""),
    ("poll", "workers = 2"),
    ("io-uring", "workers = 2"),
    ("epoll", "trigger = \"edge\""),
    ("epoll", ""),
];

/// Those that a reload may bring in: a sandbox is made without the system calls of the others.
fn modes() -> Vec<(&'static str, &'static str)> {
    let may = |mode: &str| !is_locked_in() || !["forking", "io-uring"].contains(&mode);
    MODES.into_iter().filter(|(mode, _)| may(mode)).collect()
}

/// From each mode to the next, over the same sockets: whoever is connected is served on by the old rules, whoever comes by the
/// new ones.
#[test]
fn a_changed_listener_keeps_its_socket_and_its_clients() {
    for protocol in ["tcp", "udp", "unix", "unix-datagram"] {
        let toml = |(mode, workers): (&str, &str), service: &str| {
            // Iterative has one place, which the old client keeps in its generation only.
            "[daemon]\ndrain-timeout = \"60s\"\n".to_string()
                + &listener("it", protocol, &format!("mode = \"{mode}\"\n{workers}\nservice = \"{service}\""))
        };
        let mut daemon = Echod::start(&toml(modes()[0], "echo"));
        let endpoint = daemon.endpoint("it");
        let stream = matches!(protocol, "tcp" | "unix");
        let mut old = Vec::new();
        for (round, mode) in modes().into_iter().enumerate().skip(1) {
            let client = Client::connect(&endpoint);
            let service = if round % 2 == 1 { "upper" } else { "echo" };
            let before: &[u8] = if round % 2 == 1 { b"hello" } else { b"HELLO" };
            assert_eq!(client.ask(b"hello"), before, "{protocol} {mode:?}");
            daemon.reload(&toml(mode, service));
            let after: &[u8] = if round % 2 == 1 { b"HELLO" } else { b"hello" };
            assert_eq!(
                Client::connect(&endpoint).ask(b"hello"),
                after,
                "{protocol} {mode:?}\n{}",
                daemon.log()
            );
            old.push((client, before));
        }
        for (client, before) in old.iter().filter(|_| stream) {
            assert_eq!(client.ask(b"hello"), *before, "{protocol}\n{}", daemon.log());
        }
        drop(old);
        daemon.stop();
        let log = daemon.log();
        assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
        assert!(!daemon.path("it.sock").exists());
    }
}

/// Loops with sockets of their own leave them to modes that have no use for several: each has its share of the clients.
#[test]
fn the_sockets_of_several_loops_are_all_served_on() {
    for protocol in ["tcp", "udp"] {
        for mode in ["forking", "threading", "iterative", "poll"] {
            let mut daemon = Echod::start(&listener("it", protocol, "workers = 3"));
            let endpoint = daemon.endpoint("it");
            for mode in [mode, "epoll", mode] {
                daemon.reload(&listener("it", protocol, &format!("mode = \"{mode}\"")));
                (0..16).for_each(|_| Client::connect(&endpoint).echo(b"wherever the kernel leads it"));
            }
            daemon.stop();
        }
    }
}

#[test]
fn an_unchanged_listener_notices_nothing() {
    let kept =
        listener("kept", "tcp", "mode = \"forking\"") + &listener("too", "unix", "mode = \"threading\"");
    let daemon = Echod::start(&(kept.clone() + &it("")));
    let (client, process) = (daemon.client("kept"), daemon.children());
    client.echo(b"before");
    let before = daemon.state("too")["served"];
    daemon.client("too").echo(b"hello");
    daemon.reload(&(kept + &it("mode = \"poll\"\nservice = \"upper\"")));
    client.echo(b"after");
    assert_eq!(daemon.children(), process);
    assert_eq!(daemon.state("too")["served"], before + 1, "its counters go on");
    assert_eq!(daemon.client("it").ask(b"hello"), b"HELLO");
}

#[test]
fn listeners_come_and_go() {
    let mut daemon = Echod::start(&(it("") + &listener("gone", "unix", "mode = \"forking\"")));
    let (old, endpoint) = (daemon.client("gone"), daemon.endpoint("gone"));
    old.echo(b"hello");
    daemon.reload(&(it("") + &listener("new", "unix", "service = \"upper\"")));
    assert!(old.rest().is_empty(), "a client of a listener that is gone is let go politely");
    endpoint.wait_refused();
    assert!(!daemon.path("gone.sock").exists());
    let new = crate::common::Endpoint::Unix(daemon.path("new.sock"));
    assert_eq!(Client::connect(&new).ask(b"hello"), b"HELLO");
    daemon.client("it").echo(b"as before");
    daemon.stop();
    assert!(!daemon.path("new.sock").exists());
}

/// Who does not read holds up nobody for longer than drain-timeout, also where only a listener ends.
#[test]
fn who_stays_in_a_listener_that_is_gone_is_cut() {
    for protocol in ["tcp", "unix"] {
        for (mode, workers) in modes() {
            let daemon = |more: &str| "[daemon]\ndrain-timeout = \"200ms\"\n".to_owned() + &it("") + more;
            let gone = listener("gone", protocol, &format!("mode = \"{mode}\"\n{workers}"));
            let mut served = Echod::start(&daemon(&gone));
            let client = served.client("gone");
            client.echo(b"hello");
            client.flood(pattern(crate::common::LONG));
            served.reload(&daemon(""));
            served.wait_log(|line| {
                line.contains(" WARN ")
                    && line.contains("listener \"gone\": drain-timeout is over: 1 open connection was cut")
            });
            served.client("it").echo(b"not concerned");
            let mut buffer = vec![0; 65536];
            while client.read(&mut buffer).is_ok_and(|length| length > 0) {}
            drop(client);
            served.stop();
        }
    }
}

/// One of several addresses goes: who waits there, and what, is served as at a stop.
#[test]
fn an_address_that_goes_is_left_by_nobody_unserved() {
    for protocol in ["tcp", "udp"] {
        for (mode, workers) in modes() {
            let places = if mode == "iterative" { "" } else { "max-connections = 3" };
            let toml = |addresses: &str| {
                format!(
                    "[daemon]\ndrain-timeout = \"60s\"\n[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\n\
                     address = [{addresses}]\nmode = \"{mode}\"\n{workers}\n{places}\n"
                )
            };
            let mut daemon = Echod::start(&toml("\"127.0.0.1:0\", \"[::1]:0\""));
            let [stays, goes] = daemon.endpoints("it").try_into().unwrap();
            // They take all places, so that the next one waits.
            let busy: Vec<_> = (0..3).map(|_| Client::connect(&stays)).collect();
            busy[0].echo(b"hello");
            let waiting = Client::connect(&goes);
            waiting.send(b"just in time");
            daemon.reload(&toml("\"127.0.0.1:0\""));
            assert_eq!(waiting.receive(12), b"just in time", "{protocol} {mode} {workers}\n{}", daemon.log());
            drop((busy, waiting));
            Client::connect(&stays).echo(b"as before");
            if protocol == "tcp" {
                goes.wait_refused();
            }
            daemon.stop();
        }
    }
}

/// Another name is another listener, but the socket is the same.
#[test]
fn a_renamed_listener_refuses_nobody() {
    let mut daemon = Echod::start(&listener("it", "unix", ""));
    let (old, endpoint) = (daemon.client("it"), daemon.endpoint("it"));
    old.echo(b"hello");
    daemon.reload(&listener("it", "unix", "").replace("name = \"it\"", "name = \"other\""));
    old.echo(b"hello again");
    Client::connect(&endpoint).echo(b"hello");
    drop(old);
    daemon.stop();
    assert!(!daemon.path("it.sock").exists());
}

#[test]
fn what_does_not_work_changes_nothing() {
    let daemon = Echod::start(&it(""));
    let client = daemon.client("it");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener("taken", "tcp", "").replace("127.0.0.1:0", &taken.local_addr().unwrap().to_string());
    for (toml, words) in [
        (it("service = \"ehco\""), "did you mean `echo`?"),
        ("this is not TOML".to_owned(), "echod.toml:"),
        (it("service = \"upper\"") + &taken, "cannot bind"),
        (String::new(), "there is no listener to serve"),
    ] {
        daemon.reload(&toml);
        daemon.wait_log(|line| line.contains(" ERROR ") && line.contains(words));
        client.echo(b"nothing changed");
        daemon.client("it").echo(b"nothing changed");
    }
    fs::remove_file(daemon.path("echod.toml")).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_log(|line| line.contains(" ERROR ") && line.contains("no such file"));
    client.echo(b"nothing changed");
    daemon.reload(&it("service = \"upper\""));
    assert_eq!(daemon.client("it").ask(b"hello"), b"HELLO", "and then it works");
}

#[test]
fn level_and_format_of_the_log_change() {
    for mode in ["epoll", "forking"] {
        let toml = |log: &str| format!("[log]\n{log}\n{}", it(&format!("mode = \"{mode}\"")));
        let mut daemon = Echod::start(&toml("level = \"warn\""));
        let kept = daemon.client("it");
        kept.echo(b"hello");
        daemon.client("it").echo(b"not logged");
        assert!(!daemon.log().contains(" INFO "), "{}", daemon.log());
        fs::write(daemon.path("echod.toml"), toml("format = \"json\"")).unwrap();
        daemon.signal(Signal::SIGHUP);
        daemon.wait_log(|line| {
            line.starts_with('{') && line.contains("\"message\":\"reloaded: serving 1 listener\"")
        });
        daemon.client("it").echo(b"logged");
        daemon.wait_log(|line| line.starts_with('{') && line.contains("6 bytes in, 6 bytes out"));
        kept.echo(b"still here");
        drop(kept);
        daemon.stop();
    }
}

/// Options that act when a socket is bound cannot change under it; that is said.
#[test]
fn what_cannot_change_is_told() {
    let daemon = Echod::start(&listener("it", "unix", ""));
    daemon.reload(&listener("it", "unix", "socket-mode = \"0600\"\nservice = \"upper\""));
    daemon
        .wait_log(|line| line.contains(" WARN ") && line.contains("`socket-mode` count from the next start"));
    assert_eq!(daemon.client("it").ask(b"hello"), b"HELLO");
}

#[test]
fn the_service_manager_is_told() {
    let manager = Manager::new();
    let daemon = Launch::new().config(&it("")).env("NOTIFY_SOCKET", &manager.name).start();
    manager.wait("READY=1");
    daemon.reload(&(it("") + &listener("more", "tcp", "")));
    let reloading = manager.next();
    let lines: Vec<_> = reloading.lines().collect();
    assert_eq!(lines[0], "RELOADING=1");
    let time: u64 = lines[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    assert!((time as f64 / 1e6 - uptime).abs() < 60.0, "{reloading}");
    assert_eq!(manager.next(), "READY=1\nSTATUS=serving 2 listeners");
    daemon.reload("nonsense");
    assert!(manager.next().starts_with("RELOADING=1\n"));
    let refused = manager.next();
    assert!(refused.starts_with("READY=1\nSTATUS=serving 2 listeners; not reloaded: error: "), "{refused}");
}

#[test]
fn passed_sockets_stay_through_a_reload() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let named = |more: &str| it(more).replace("127.0.0.1:0", "203.0.113.7:9");
    let mut daemon = match std::process::Command::new("python3").arg("--version").output() {
        Ok(_) => Launch::new().config(&named("")).pass("it", &socket).start(),
        Err(_) => return eprintln!("SKIPPED: python3 is not installed, no socket was passed"),
    };
    let old = daemon.client("it");
    old.echo(b"hello");
    daemon.reload(&named("mode = \"threading\"\nservice = \"upper\""));
    assert_eq!(daemon.client("it").ask(b"hello"), b"HELLO");
    old.echo(b"hello");
    drop(old);
    daemon.stop();
    Client::connect(&daemon.endpoint("it"));
}

/// A hundred reloads through all modes while clients come, go and stay: not a byte is lost, nobody is refused, and in the
/// end nothing is left of the generations in between.
#[test]
fn a_storm_of_reloads_loses_nothing() {
    let toml =
        |(mode, workers): (&str, &str)| it(&format!("mode = \"{mode}\"\n{workers}\nmax-connections = 200"));
    // Iterative serves one client at a time: those who stay would keep the others waiting.
    let modes: Vec<_> = modes().into_iter().filter(|(mode, _)| *mode != "iterative").collect();
    let mut daemon = Echod::start(&toml(modes[0]));
    let endpoint = daemon.endpoint("it");
    daemon.client("it").echo(b"hello");
    daemon.wait_state("it", |state| state["open"] == 0);
    let before = (proc::descriptors(daemon.pid()).len(), proc::threads(daemon.pid()));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    Client::connect(&endpoint).echo(b"come and gone");
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let client = Client::connect(&endpoint);
                while !over.load(Relaxed) {
                    client.echo(pattern(10_000));
                }
            });
        }
        let staying: Vec<_> = (0..20).map(|_| Client::connect(&endpoint)).collect();
        let storm = || {
            for round in 1..=100 {
                daemon.reload(&toml(modes[round % modes.len()]));
                staying[round % staying.len()].echo(b"still here");
            }
        };
        let stormed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(storm));
        over.store(true, Relaxed);
        stormed.unwrap();
        staying.iter().for_each(|client| client.echo(b"until the end"));
    });
    daemon.reload(&toml(modes[0]));
    let after = || (proc::descriptors(daemon.pid()).len(), proc::threads(daemon.pid()));
    let closed = crate::common::poll(|| (after() == before && daemon.children().is_empty()).then_some(()));
    assert!(closed.is_some(), "{before:?} {:?} {:?}", after(), proc::descriptors(daemon.pid()));
    daemon.stop();
    let log = daemon.log();
    assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
}

/// Signals that come faster than they can be acted on end in the state of the file.
#[test]
fn a_burst_of_signals_ends_in_one_state() {
    let (mut daemon, modes) = (Echod::start(&it("")), modes());
    let old = daemon.client("it");
    old.echo(b"hello");
    for round in 0..1000 {
        if round % 100 == 0 {
            let mode = modes[round / 100 % modes.len()].0;
            let toml = it(&format!("mode = \"{mode}\"\nservice = \"upper\""));
            fs::write(daemon.path("new.toml"), locked_in(&toml)).unwrap();
            fs::rename(daemon.path("new.toml"), daemon.path("echod.toml")).unwrap();
        }
        daemon.signal(Signal::SIGHUP);
    }
    daemon.reload(&it("mode = \"threading\"\nservice = \"discard\""));
    // What was told may have been the end of the burst: the last reload is still to come then.
    let silent = eventually("the rules of the last file", || {
        let client = daemon.client("it");
        client.send(b"hello");
        client.half_close();
        client.rest().is_empty().then_some(client)
    });
    old.echo(b"hello");
    drop((old, silent));
    daemon.stop();
    let log = daemon.log();
    assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
}
