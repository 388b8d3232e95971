//! What a reload means to the daemon as a whole: its log, its service manager, and files that do not work.

use std::{fs, net::TcpListener};

use echod::report::log_event::LogEvent;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Echod, Launch, Manager, it, listener};

#[test]
fn what_does_not_work_changes_nothing() {
    let daemon = Echod::start_with_events(&it(""));
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
        wait_refused(&daemon, words);
        client.echo(b"nothing changed");
        daemon.client("it").echo(b"nothing changed");
    }
    fs::remove_file(daemon.path("echod.toml")).unwrap();
    daemon.read_again();
    wait_refused(&daemon, "no such file");
    client.echo(b"nothing changed");
    daemon.reload(&it("service = \"upper\""));
    assert_eq!(daemon.client("it").ask(b"hello"), b"HELLO", "and then it works");
}

/// Waits for a reload that was refused for a reason with these words.
fn wait_refused(daemon: &Echod, words: &str) {
    let has_words = |value: &Value| value.as_str().is_some_and(|text| text.contains(words));
    daemon.wait_event(LogEvent::ReloadFault, |fault| has_words(&fault["message"]));
    let refused = daemon.wait_event(LogEvent::ReloadRefused, |_| true);
    assert_eq!(refused["level"], "error", "{refused}");
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
        let done = daemon.wait_event(LogEvent::ReloadDone, |_| true);
        assert_eq!(["listeners", "failed"].map(|key| &done[key]), [1, 0], "{done}");
        daemon.client("it").echo(b"logged");
        daemon.wait_event(LogEvent::ConnectionClosed, |closed| closed["bytes_received"] == 6);
        kept.echo(b"still here");
        drop(kept);
        daemon.stop();
    }
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
