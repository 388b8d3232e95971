//! Faults on purpose are seen: in the status, in the metrics, in `top`, on the page.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{ErrorKind, Read},
    net::UdpSocket,
    process::{Command, Stdio},
};

use echod::report::{fault_kind::FaultKind, log_event::LogEvent};
use nix::pty::openpty;
use serde_json::Value;

use super::{browser::Browser, by_port, get, observed, one_of_each, status, status::told};
use crate::harness::{BINARY, Echod, Endpoint, eventually, listener, uninterrupted};

/// A plan of seed 42 that loses or doubles each reply, and resets each connection.
const WIFI: &str = "[daemon]\nallow-faults = true\n[[faults]]\nname = \"wifi\"\nseed = 42\ndrop = \"50%\"\n\
                    duplicate = \"100%\"\nreset-now = \"100%\"\n";

const BY_WIFI: &str = "faults = \"wifi\"";

/// Listeners with the plan, and one without.
pub(super) fn faulty() -> String {
    let of = |name, protocol| listener(name, protocol, BY_WIFI);
    WIFI.to_owned() + &of("udp", "udp") + &of("tcp", "tcp") + &listener("plain", "udp", "")
}

/// Sends ten datagrams and opens one connection; what was counted then.
#[track_caller]
fn disturb(daemon: &Echod) -> (u64, u64) {
    let client = daemon.client("udp");
    (0..10_u8).for_each(|number| client.send(&[number]));
    assert!(daemon.client("tcp").read(&mut [0]).is_err());
    eventually("the faults", || {
        let seen = status(daemon);
        let faults = |at: usize| seen["listeners"][at]["totals"]["faults"].clone();
        let (drop, duplicate) = (faults(0)["drop"].as_u64()?, faults(0)["duplicate"].as_u64()?);
        (drop + duplicate == 10 && faults(1)["reset-now"] == 1).then_some((drop, duplicate))
    })
}

#[test]
fn the_status_has_the_plan_and_what_it_has_done() {
    let daemon = observed(&faulty());
    let seen = status(&daemon);
    assert_eq!(seen["listeners"][0]["faults"], serde_json::json!({ "plan": "wifi", "seed": 42 }));
    assert_eq!(seen["listeners"][2]["faults"], Value::Null);
    let text = told(&daemon, &["status", "--config", "echod.toml"]).stdout;
    assert!(text.ends_with("\nfaults: udp wifi (seed 42): none yet\nfaults: tcp wifi (seed 42): none yet\n"));

    let (drop, duplicate) = disturb(&daemon);
    let text = told(&daemon, &["status", "--config", "echod.toml"]).stdout;
    let counts: Vec<_> = [(drop, "drop"), (duplicate, "duplicate")]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let line = format!("faults: udp wifi (seed 42): {}\n", counts.join(", "));
    assert!(text.contains(&line) && text.ends_with("faults: tcp wifi (seed 42): 1 reset-now\n"), "{text}");
    let top = told(&daemon, &["top", "--once", "-i", "100ms", "--address", "./observe.sock"]).stdout;
    assert!(top.contains("\nfaults on purpose: udp wifi (seed 42), tcp wifi (seed 42)\n"), "{top}");

    // What has happened is not forgotten with its plan.
    let without = faulty().replace(BY_WIFI, "");
    daemon.reload(&(super::OBSERVE.to_owned() + &without));
    let text = told(&daemon, &["status", "--config", "echod.toml"]).stdout;
    assert!(text.ends_with("faults: tcp no plan any more: 1 reset-now\n"), "{text}");
}

#[test]
fn the_status_is_red_on_a_terminal_that_takes_colours() {
    let daemon = observed(&faulty());
    let on_terminal = |variable: &str, value: &str| {
        let pty = openpty(None, None).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["status", "--address"]).arg(daemon.path("observe.sock"));
        command.env_remove("NO_COLOR").env_remove("CLICOLOR").env("TERM", "xterm").env(variable, value);
        let mut child = command.stdin(Stdio::null()).stdout(pty.slave).spawn().unwrap();
        // Its copies of the terminal are closed here.
        drop(command);
        let (mut master, mut text) = (File::from(pty.master), Vec::new());
        let mut bytes = [0; 4096];
        loop {
            match master.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Nobody has the terminal open any more.
                Ok(0) | Err(_) => break,
                Ok(length) => text.extend_from_slice(&bytes[..length]),
            }
        }
        assert!(child.wait().unwrap().success());
        String::from_utf8(text).unwrap()
    };
    let red = "\x1b[31mfaults: udp wifi (seed 42): none yet\x1b[0m";
    let coloured = on_terminal("TERM", "xterm");
    assert!(coloured.contains(red), "{coloured:?}");
    for (variable, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let plain = on_terminal(variable, value);
        assert!(plain.contains("faults: udp wifi") && !plain.contains('\x1b'), "{plain:?}");
    }
}

#[test]
fn the_metrics_have_every_kind_that_can_happen_from_the_start() {
    let daemon = observed(&faulty());
    let value = |name: &str| {
        let body = get(&daemon, "/metrics").body;
        let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        line as Option<u64>
    };
    for (name, enabled) in [("udp", 1), ("tcp", 1), ("plain", 0)] {
        assert_eq!(value(&format!("echod_faults_enabled{{listener=\"{name}\"}}")), Some(enabled), "{name}");
        let of = |kind: FaultKind| {
            value(&format!("echod_faults_injected_total{{listener=\"{name}\",fault=\"{kind}\"}}"))
        };
        for kind in FaultKind::ALL {
            let is_there = enabled == 1 && kind.can_happen(name == "tcp");
            assert_eq!(of(kind), is_there.then_some(0), "{name} {kind}");
        }
        let untracked = value(&format!("echod_faults_untracked_total{{listener=\"{name}\"}}"));
        assert_eq!(untracked, (enabled == 1).then_some(0), "{name}");
    }
    let (drop, duplicate) = disturb(&daemon);
    for (listener, fault, count) in
        [("udp", "drop", drop), ("udp", "duplicate", duplicate), ("tcp", "reset-now", 1)]
    {
        let key = format!("echod_faults_injected_total{{listener=\"{listener}\",fault=\"{fault}\"}}");
        assert_eq!(value(&key), Some(count), "{key}");
    }
    // A counter does not end with its plan.
    daemon.reload(&(super::OBSERVE.to_owned() + &faulty().replace(BY_WIFI, "")));
    assert_eq!(value("echod_faults_enabled{listener=\"tcp\"}"), Some(0));
    assert_eq!(value("echod_faults_injected_total{listener=\"tcp\",fault=\"reset-now\"}"), Some(1));
}

/// The numbers of the datagrams that are answered.
#[track_caller]
fn answered(daemon: &Echod, socket: &UdpSocket) -> BTreeSet<u8> {
    const ALL: u8 = 60;
    let to = daemon.endpoint("udp").inet();
    for number in 0..ALL {
        uninterrupted(|| socket.send_to(&[number], to)).unwrap();
    }
    let mut answered = BTreeSet::new();
    eventually("an answer to each, or its loss", || {
        let mut byte = [0];
        while let Ok((1, from)) = uninterrupted(|| socket.recv_from(&mut byte)) {
            assert_eq!(from, to);
            answered.insert(byte[0]);
        }
        let lost = status(daemon)["listeners"][0]["totals"]["faults"]["drop"].as_u64()?;
        (answered.len() as u64 + lost == u64::from(ALL)).then_some(())
    });
    answered
}

/// The process of a forking listener decides by the seed that was drawn and told, and so does any other daemon that is given it.
#[test]
fn a_seed_that_is_told_repeats_what_has_happened() {
    let toml = |seed: &str, mode: &str| {
        format!(
            "[daemon]\nallow-faults = true\n[[faults]]\nname = \"wifi\"\n{seed}\ndrop = \"50%\"\n{}",
            listener("udp", "udp", &format!("mode = \"{mode}\"\n{BY_WIFI}"))
        )
    };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let forking = observed(&toml("", "forking"));
    let seed = forking.wait_event(LogEvent::FaultsOn, |_| true)["seed"].as_u64().unwrap();
    assert_eq!(status(&forking)["listeners"][0]["faults"]["seed"], seed);
    let once = answered(&forking, &socket);
    let again = answered(&observed(&toml(&format!("seed = {seed}"), "epoll")), &socket);
    assert_eq!(once, again, "seed {seed}");
}

#[test]
fn the_page_says_so_without_a_script() {
    let daemon = observed(&faulty());
    let (drop, duplicate) = disturb(&daemon);
    let page = get(&daemon, "/").body;
    let mut counts = [(drop, "drop"), (duplicate, "duplicate")];
    counts.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let counts: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    for text in [
        format!("Faults on purpose: wifi (seed 42): {}", counts.join(", ")),
        "Faults on purpose: wifi (seed 42): 1 reset-now".to_owned(),
        String::new(),
    ] {
        assert!(page.contains(&format!("data-is=\"on-purpose\">{text}</span>")), "{text}: {page}");
    }
    assert!(page.contains("data-is=\"reasons\">all 3 listeners serve, faults on purpose on 2<"), "{page}");
    let plain = get(&observed(&one_of_each()), "/").body;
    assert!(!plain.split("<template").next().unwrap().contains("Faults on purpose"), "{plain}");
}

#[test]
fn the_page_keeps_saying_so_in_a_browser() {
    let Some(mut browser) = Browser::start() else { return };
    let daemon = observed(&faulty());
    let Endpoint::Tcp(address) = by_port(&daemon) else { unreachable!() };
    browser.open(&format!("http://{address}/"));
    browser.wait("typeof $ === 'function' && $('rows').children.length === 3");
    // A reload changes the order of the rows.
    let badge = |name: &str| {
        format!(
            "[...$('rows').children].find(row => row.querySelector('[data-is=\"name\"]').textContent === '{name}')\
             .querySelector('[data-is=\"on-purpose\"]')"
        )
    };
    browser.wait(&format!("{}.textContent === 'Faults on purpose: wifi (seed 42), none yet'", badge("tcp")));
    disturb(&daemon);
    browser
        .wait(&format!("{}.textContent === 'Faults on purpose: wifi (seed 42): 1 reset-now'", badge("tcp")));
    assert_eq!(
        browser.value(&format!(
            "{}.checkVisibility() && !{}.checkVisibility()",
            badge("tcp"),
            badge("plain")
        )),
        true
    );
    let reasons = "document.querySelector('#health [data-is=\"reasons\"]').textContent";
    assert_eq!(browser.value(reasons), "all 3 listeners serve, faults on purpose on 2");
    assert_eq!(browser.value("document.querySelector('#health').dataset.state"), "warn");
    daemon.reload(&(super::OBSERVE.to_owned() + &faulty().replace(BY_WIFI, "")));
    browser.wait(&format!("{}.textContent === 'No faults on purpose any more: 1 reset-now'", badge("tcp")));
    browser.close();
}
