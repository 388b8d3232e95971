//! The times that the log tells are those of what happened, not of when it was written.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::{
    harness::{Echod, eventually, has_mode, it},
    matrix::Combination,
};

fn combinations() -> impl Iterator<Item = Combination> {
    let modes = ["iterative", "threading", "forking", "select", "poll", "epoll", "edge", "io-uring"];
    let pools = ["threading", "forking"].map(|mode| (mode, "2"));
    let cells = modes.map(|mode| (mode, "")).into_iter().chain(pools);
    let of = |(mode, workers)| Combination { protocol: "tcp", address: "127.0.0.1:0", mode, workers };
    cells.map(of).filter(|cell| has_mode(cell.mode))
}

/// `285.334us`, `1.001s`.
fn duration(text: &str) -> Duration {
    let (number, unit) = match text.strip_suffix("us").or_else(|| text.strip_suffix("ms")) {
        Some(number) if text.ends_with("us") => (number, 1e-6),
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').unwrap(), 1.0),
    };
    Duration::from_secs_f64(number.parse::<f64>().unwrap() * unit)
}

/// How long a connection was open and, if it did, lingered, as a line tells it.
fn times(line: &str) -> (Duration, Option<Duration>) {
    let (_, text) = line.split_once("closed after ").unwrap();
    let open = text.split([' ', ',']).next().unwrap();
    let lingered = text.split_once("(lingered ").map(|(_, text)| text.split(')').next().unwrap());
    (duration(open), lingered.map(duration))
}

fn closed(daemon: &Echod, number: usize) -> String {
    eventually("the line of the end", || {
        let log = daemon.log();
        let lines =
            log.split_inclusive('\n').filter(|line| line.contains("closed after") && line.ends_with('\n'));
        lines.map(str::to_owned).nth(number)
    })
}

/// A client that is alone and quick: the parent of a process that served it looks after that process 10 ms later.
#[test]
fn a_quick_exchange_is_told_as_quick() {
    for cell in combinations() {
        let daemon = cell.start();
        let mut number = 0;
        // On a busy machine one may take long.
        eventually("a quick exchange", || {
            daemon.client("it").echo(b"hello");
            number += 1;
            let (open, lingered) = times(&closed(&daemon, number - 1));
            assert_eq!(lingered, None, "the peer has closed");
            (open < Duration::from_millis(7)).then_some(())
        });
    }
}

/// Who is closed and does not close lingers: that is not the time that was allowed.
#[test]
fn lingering_is_told_apart() {
    let daemons: Vec<_> =
        combinations().map(|cell| cell.start_with("", "idle-timeout = \"300ms\"")).collect();
    let clients: Vec<_> = daemons.iter().map(|daemon| daemon.client("it")).collect();
    for daemon in &daemons {
        let line = closed(daemon, 0);
        assert!(line.contains(": idle-timeout"), "{line}");
        let (open, lingered) = times(&line);
        let lingered = lingered.unwrap_or_else(|| panic!("{line}"));
        assert!(open >= Duration::from_millis(290) && lingered >= Duration::from_millis(1900), "{line}");
        assert!(open < lingered, "{line}");
    }
    drop(clients);
}

#[test]
fn stamps_have_milliseconds() {
    let since = |moment: SystemTime| moment.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    for format in ["text", "json"] {
        let before = since(SystemTime::now());
        let daemon = Echod::start(&format!("[log]\nformat = \"{format}\"\n{}", it("mode = \"epoll\"")));
        daemon.client("it").echo(b"hello");
        let line = closed(&daemon, 0);
        let after = since(SystemTime::now());
        let stamp = match format {
            "text" => line.split(' ').next().unwrap().to_owned(),
            _ => serde_json::from_str::<Value>(&line).unwrap()["time"].as_str().unwrap().to_owned(),
        };
        assert_eq!(stamp.len(), "2026-11-23T06:31:12.123Z".len(), "{stamp}");
        let moment = stamp.parse::<jiff::Timestamp>().unwrap().as_millisecond() as u128;
        assert!((before..=after).contains(&moment), "{before} {moment} {after}");
    }
}
