//! `echod ping`: what it says of servers of which the test knows what they do. Nothing here depends on how fast they are: a probe
//! has far more time than it needs, and one that the machine was too busy to send is known by its fate.

mod ends;
mod faults;
mod network;
mod others;
mod text;

use serde_json::Value;

use crate::{
    cli::probe::url,
    harness::{Echod, Finished, Launch, can_be_had, listener},
};

/// More time than any answer needs.
const PATIENT: &str = "20s";

/// The same where something is missing, for which the client waits so long.
const LONG_ENOUGH: &str = "5s";

fn ping(args: &[&str]) -> Finished {
    Launch::new().args(&["ping"]).args(args).run()
}

/// The JSON report of a run that ends with this code.
#[track_caller]
fn report(code: i32, args: &[&str]) -> Value {
    let finished = ping(&[&["-o", "json"], args].concat());
    finished.expect(code, &[]);
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {}", finished.stdout))
}

/// A count of the only target.
#[track_caller]
fn count(report: &Value, group: &str, name: &str) -> u64 {
    let target = &report["targets"][0];
    target[group][name].as_u64().unwrap_or_else(|| panic!("no {group}.{name} in {target:#}"))
}

fn probes(report: &Value, name: &str) -> u64 {
    count(report, "probes", name)
}

fn replies(report: &Value, name: &str) -> u64 {
    count(report, "replies", name)
}

/// Probes that were answered, whether in time or not: that is for the machine to say.
fn answered(report: &Value) -> u64 {
    probes(report, "ok") + probes(report, "late")
}

/// Each probe has one fate.
#[track_caller]
fn adds_up(report: &Value, planned: u64) {
    let fates = ["ok", "late", "lost", "refused", "unsent", "skipped"].map(|fate| probes(report, fate));
    assert_eq!((probes(report, "planned"), fates.iter().sum::<u64>()), (planned, planned), "{report:#}");
    assert_eq!(probes(report, "sent"), fates[..4].iter().sum::<u64>(), "{report:#}");
}

/// Everything that was sent came back as it was.
#[track_caller]
fn all_came_back(report: &Value, planned: u64) {
    adds_up(report, planned);
    assert_eq!(answered(report), probes(report, "sent"), "{report:#}");
    // A server with a thread for each probe may change their order.
    for other in ["duplicate", "corrupt", "stray"] {
        assert_eq!(replies(report, other), 0, "{other}: {report:#}");
    }
    assert!(answered(report) > 0, "{report:#}");
}

#[test]
fn this_daemon_answers_every_probe() {
    let places = [
        ("tcp", "127.0.0.1:0"),
        ("udp", "127.0.0.1:0"),
        ("udp", "[::1]:0"),
        ("unix", "it.sock"),
        ("unix-seqpacket", "r.sock"),
        ("unix-datagram", "d.sock"),
    ];
    for (protocol, address) in places {
        if !can_be_had(address) {
            continue;
        }
        let echod = Echod::start(&format!(
            "[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\n"
        ));
        let url = url(&echod, "it");
        // Sizes of every form of a probe.
        for size in ["1", "8", "23", "24", "64", "1400", "20000"] {
            let report = report(0, &["-c", "10", "-i", "5ms", "-W", PATIENT, "-s", size, &url]);
            all_came_back(&report, 10);
            let stamps = if protocol.ends_with('p') && protocol != "tcp" || protocol.ends_with("gram") {
                "kernel"
            } else {
                "user"
            };
            assert_eq!(report["environment"]["timestamps"], stamps, "{url}");
        }
    }
}

#[test]
fn the_largest_datagram_and_the_empty_one_come_back() {
    let echod = Echod::start(&listener("it", "udp", ""));
    let url = url(&echod, "it");
    all_came_back(&report(0, &["-c", "3", "-i", "5ms", "-W", PATIENT, "-s", "65507", &url]), 3);
    let report = report(0, &["-c", "3", "-i", "5ms", "-W", PATIENT, "-s", "0", &url]);
    adds_up(&report, 3);
    assert_eq!(answered(&report), probes(&report, "sent"));
}

#[test]
fn a_large_message_fills_the_buffers_both_ways() {
    let echod = Echod::start(&listener("it", "tcp", ""));
    all_came_back(
        &report(0, &["-c", "2", "-W", PATIENT, "-i", "100ms", "-s", "8000000", &url(&echod, "it")]),
        2,
    );
}

#[test]
fn a_connection_for_each_probe_is_timed_step_by_step() {
    for protocol in ["tcp", "unix"] {
        let echod = Echod::start(&listener("it", protocol, ""));
        let url = url(&echod, "it");
        let report = report(0, &["--connect", "-c", "5", "-i", "10ms", "-W", PATIENT, &url]);
        all_came_back(&report, 5);
        let sent = probes(&report, "sent");
        for times in ["connect_ns", "service_ns", "close_ns"] {
            assert_eq!(count(&report, times, "n"), sent, "{times}: {report:#}");
        }
        let text = ping(&["--connect", "-c", "1", "-W", PATIENT, &url]).stdout;
        let line = text.lines().nth(1).unwrap();
        assert!([" connect=", " time=", " close="].iter().all(|word| line.contains(word)), "{text}");
    }
}
