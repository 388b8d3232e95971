//! The metrics are true, whole from the start, and never fall.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Command, Stdio},
};

use echod::report::{close_reason::CloseKind, refusal_reason::RefusalReason};

use super::{OBSERVE, by_file, exchange, faults::faulty, get, observed, one_of_each};
use crate::harness::{
    Client, Echod, Launch, eventually, has_mode, has_python, is_locked_in, listener, skipped,
};

/// The series of `/metrics`, by their names with labels.
type Series = BTreeMap<String, f64>;

#[track_caller]
fn series(daemon: &Echod) -> Series {
    let reply = get(daemon, "/metrics");
    assert_eq!(reply.status, 200);
    let lines = reply.body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// The value of `name` of `listener`.
#[track_caller]
fn of(series: &Series, name: &str, listener: &str) -> f64 {
    let key = format!("{name}{{listener=\"{listener}\"}}");
    *series.get(&key).unwrap_or_else(|| panic!("no {key} in {series:#?}"))
}

#[test]
fn every_series_is_there_at_0_before_the_first_client() {
    let daemon = observed(&one_of_each());
    let series = series(&daemon);
    for protocol in ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"] {
        let is_stream = ["tcp", "unix", "unix-seqpacket"].contains(&protocol);
        let served = if is_stream { "echod_connections_total" } else { "echod_datagrams_total" };
        for name in ["echod_received_bytes_total", "echod_sent_bytes_total", "echod_open_connections", served]
        {
            assert_eq!(of(&series, name, protocol), 0.0);
        }
        let reasons = RefusalReason::ALL.into_iter().filter(|reason| reason.applies_to(fitting(protocol)));
        for reason in reasons {
            let key = format!("echod_refused_total{{listener=\"{protocol}\",reason=\"{reason}\"}}");
            assert_eq!(series.get(&key), Some(&0.0), "{key}");
        }
        for kind in CloseKind::ALL {
            let word = kind.word();
            let key = format!("echod_connections_ended_total{{listener=\"{protocol}\",reason=\"{word}\"}}");
            assert_eq!(series.get(&key).copied(), is_stream.then_some(0.0), "{key}");
        }
    }
    let sums = series.iter().filter(|(name, _)| name.contains("_total") && name.starts_with("echod_"));
    let counted: Vec<_> = sums.filter(|(name, value)| **value != 0.0 && !name.contains("observe")).collect();
    assert!(counted.is_empty(), "{counted:?}");
}

fn fitting(protocol: &str) -> echod::config::Protocol {
    echod::config::Protocol::ALL.into_iter().find(|known| known.to_string() == protocol).unwrap()
}

#[test]
fn bytes_and_clients_are_counted_exactly_in_every_mode_and_protocol() {
    const CLIENTS: usize = 10;
    const ECHOES: usize = 20;
    let mut cells = Vec::new();
    for mode in ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"] {
        for protocol in ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"] {
            if has_mode(mode) {
                cells.push((format!("{mode}-{protocol}"), protocol, mode));
            }
        }
    }
    let listeners =
        cells.iter().map(|(name, protocol, mode)| listener(name, protocol, &format!("mode = \"{mode}\"")));
    let daemon = observed(&listeners.collect::<String>());
    for (name, ..) in &cells {
        for _ in 0..CLIENTS {
            let client = daemon.client(name);
            (0..ECHOES).for_each(|_| client.echo(&[7; 64]));
        }
    }
    for (name, protocol, _) in &cells {
        let is_stream = ["tcp", "unix", "unix-seqpacket"].contains(protocol);
        let bytes = (CLIENTS * ECHOES * 64) as f64;
        let served = if is_stream { CLIENTS } else { CLIENTS * ECHOES } as f64;
        let total = if is_stream { "echod_connections_total" } else { "echod_datagrams_total" };
        eventually("the last client to be gone", || {
            let series = series(&daemon);
            assert!(of(&series, "echod_received_bytes_total", name) <= bytes);
            (of(&series, "echod_open_connections", name) == 0.0
                && of(&series, "echod_received_bytes_total", name) == bytes
                && of(&series, "echod_sent_bytes_total", name) == bytes
                && of(&series, total, name) == served
                && (!is_stream || of(&series, "echod_connection_duration_seconds_count", name) == served))
                .then_some(())
        });
    }
}

#[test]
fn no_counter_falls_over_reloads() {
    let mut daemon = observed(&(listener("a", "tcp", "") + &listener("b", "udp", "")));
    let is_counter = |name: &str| {
        let stem = name.split('{').next().unwrap_or_default();
        stem.ends_with("_total")
            || stem.ends_with("_count")
            || stem.ends_with("_sum")
            || stem.ends_with("_bucket")
    };
    let mut highest = Series::new();
    let mut look = |daemon: &Echod| {
        for (name, value) in series(daemon).into_iter().filter(|(name, _)| is_counter(name)) {
            let before = highest.entry(name.clone()).or_insert(value);
            assert!(value >= *before, "{name} fell from {before} to {value}");
            *before = value;
        }
    };
    // Listeners that stay, are changed, are removed, and come back.
    let modes: &[&str] =
        if is_locked_in() { &["epoll", "threading"] } else { &["epoll", "forking", "threading"] };
    for step in 0..9 {
        let mode = modes[step % modes.len()];
        let a = listener("a", "tcp", &format!("mode = \"{mode}\""));
        let b = if step % 3 == 2 { String::new() } else { listener("b", "udp", "") };
        daemon.reload(&format!("{OBSERVE}{a}{b}"));
        // The port is another one after a change: the log has it, and so has the status.
        let port = |name: &str| {
            let status = super::status(&daemon);
            let found = status["listeners"].as_array().unwrap().iter().find(|it| it["name"] == name)?;
            found["addresses"][0].as_str()?.rsplit(':').next()?.parse::<u16>().ok()
        };
        for name in ["a", "b"] {
            let Some(port) = port(name) else { continue };
            let at = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            let to = if name == "a" {
                crate::harness::Endpoint::Tcp(at)
            } else {
                crate::harness::Endpoint::Udp(at)
            };
            Client::connect(&to).echo(b"hello");
        }
        look(&daemon);
    }
    assert!(highest["echod_received_bytes_total{listener=\"a\"}"] >= 8.0 * 5.0, "{highest:#?}");
    daemon.stop();
}

#[test]
fn clients_add_no_series() {
    let daemon = observed(&one_of_each());
    let names = |daemon: &Echod| series(daemon).into_keys().collect::<BTreeSet<_>>();
    let before = names(&daemon);
    for name in ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"] {
        for _ in 0..20 {
            daemon.client(name).echo(b"hello");
        }
    }
    for path in ["/x", "/y?listener=z", "/metrics?a=b"] {
        get(&daemon, path);
    }
    assert_eq!(names(&daemon), before);
}

#[test]
fn what_is_refused_and_what_the_kernel_drops_is_seen() {
    let daemon = observed(
        &(listener("shut", "tcp", "deny = \"127.0.0.0/8\"")
            + &listener("udp", "udp", "deny-source-ports = [\"0\"]")),
    );
    for _ in 0..3 {
        assert!(daemon.client("shut").rest().is_empty());
    }
    eventually("three refusals", || {
        let key = "echod_refused_total{listener=\"shut\",reason=\"denied\"}";
        (series(&daemon)[key] == 3.0).then_some(())
    });
    assert_eq!(of(&series(&daemon), "echod_kernel_dropped_total", "udp"), 0.0);
}

#[test]
fn promtool_finds_nothing_to_say() {
    if Command::new("promtool").arg("--version").output().is_err() {
        return skipped("no promtool checks the metrics: it is missing");
    }
    let mut daemon = observed(&("[daemon]\ndrain-timeout = \"60s\"\n".to_owned() + &one_of_each()));
    let check = |daemon: &Echod, when: &str| {
        let mut tool = Command::new("promtool");
        let tool = tool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut tool = tool.stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = tool.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, get(daemon, "/metrics").body.as_bytes()).unwrap();
        drop(stdin);
        let said = tool.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && text.trim().is_empty(), "{when}: {text}");
    };
    check(&daemon, "fresh");
    for name in ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"] {
        daemon.client(name).echo(b"hello");
    }
    check(&daemon, "after traffic");
    daemon.read_again();
    check(&daemon, "after a reload");
    let client = daemon.client("tcp");
    client.echo(b"hello");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    eventually("the drain", || (get(&daemon, "/readyz").status == 503).then_some(()));
    check(&daemon, "while draining");
    drop(client);
    daemon.expect_success();
}

#[test]
fn whoever_asks_for_openmetrics_gets_it() {
    let daemon = observed(&one_of_each());
    let request = "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0, text/plain;q=0.5\r\n\r\n";
    let reply = exchange(&by_file(&daemon), request);
    assert!(
        reply.head.contains("Content-Type: application/openmetrics-text; version=1.0.0"),
        "{}",
        reply.head
    );
    assert!(reply.body.ends_with("# EOF\n"));
    assert!(reply.body.contains("# TYPE echod_received_bytes counter\n# UNIT echod_received_bytes bytes\n"));
    assert!(get(&daemon, "/metrics").head.contains("Content-Type: text/plain; version=0.0.4"));
    // The reference implementation reads it, where it is there.
    if !has_python("OpenMetrics is not read by the parser of the Prometheus project") {
        return;
    }
    let script = "import sys\ntry:\n from prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
                  except ImportError:\n sys.exit(3)\nprint(sum(len(f.samples) for f in read(sys.stdin.read())))";
    let mut python = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended without reading.
    let _ = std::io::Write::write_all(&mut python.stdin.take().unwrap(), reply.body.as_bytes());
    let said = python.wait_with_output().unwrap();
    match said.status.code() {
        Some(3) => skipped(
            "OpenMetrics is not read by the parser of the Prometheus project: python3-prometheus-client is missing",
        ),
        code => {
            assert_eq!(code, Some(0));
            let samples = reply.body.lines().filter(|line| !line.starts_with('#')).count();
            assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), samples.to_string());
        }
    }
}

#[test]
fn the_list_has_every_metric_that_is_served() {
    let listed = Launch::new().args(&["metrics", "--list"]).run();
    assert_eq!(listed.status.code(), Some(0), "{}", listed.stderr);
    let names: BTreeSet<_> =
        listed.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    // Some are there for listeners with a plan of faults only.
    let daemon = observed(&faulty());
    let body = get(&daemon, "/metrics").body;
    let served: BTreeSet<_> =
        body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(names, served);
}
