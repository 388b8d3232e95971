//! Paths of a network, in a namespace of the test's own.

use std::process::Command;

use serde_json::Value;

use super::{LONG_ENOUGH, PATIENT, answered, faults::faulty, ping, probes, report};
use crate::harness::netns::in_namespace;

/// Drops what comes from odd ports, as one of two paths does that is broken; not the empty datagram that ends a server of the test.
const BROKEN: &str = "nft 'table inet broken { chain arriving { type filter hook input priority 0; udp length 8 accept; udp sport & 1 == 1 drop; }; }'";

#[test]
fn flows_on_a_dead_path_are_named() {
    in_namespace(BROKEN, || {
        let server = faulty(|answer, _, datagram| answer(datagram));
        // The answers of the server are not to be dropped.
        let port: u16 = server.url.rsplit_once(':').unwrap().1.parse().unwrap();
        let pass = format!("nft insert rule inet broken arriving udp sport {port} accept");
        assert!(Command::new("sh").args(["-c", &pass]).status().unwrap().success());
        let options = ["--flows", "16", "-c", "64", "-i", "5ms", "-W", LONG_ENOUGH, "--save", "report.json"];
        let text = ping(&[&options[..], &[&server.url]].concat());
        text.expect(0, &[]);
        let saved = std::fs::read_to_string(text.dir.path().join("report.json")).unwrap();
        let report: Value = serde_json::from_str(&saved).unwrap();
        let mut ports = Vec::new();
        let mut dead = 0;
        for flow in report["targets"][0]["flows"].as_array().unwrap() {
            let port = flow["source"].as_str().unwrap().rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
            let (sent, ok) = (flow["sent"].as_u64().unwrap(), flow["ok"].as_u64().unwrap());
            assert!(port >= 1024 && sent > 0, "{flow}");
            assert_eq!(ok == 0, port % 2 == 1, "{flow}");
            dead += usize::from(ok == 0);
            ports.push(port);
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 16, "{report:#}");
        let remark = format!("{dead} of 16 flows lost everything: one path of several is broken");
        assert!((dead == 0 || dead == 16) || text.stdout.contains(&remark), "{}", text.stdout);
        let is_warned =
            report["warnings"].as_array().unwrap().iter().any(|warning| warning["id"] == "dead-flows");
        assert_eq!(is_warned, dead > 0 && dead < 16, "{report:#}");
    });
}

/// A firewall that says no is not a silent one.
#[test]
fn a_firewall_that_refuses_is_told_from_one_that_drops() {
    let rules = "nft 'table inet wall { chain in { type filter hook input priority 0; \
                 udp dport 7007 reject with icmpx admin-prohibited; udp dport 7008 drop; }; }'";
    in_namespace(rules, || {
        let options = ["-c", "2", "-i", "10ms", "-W", "300ms"];
        let refused = report(69, &[&options[..], &["udp://127.0.0.1:7007"]].concat());
        assert_eq!(probes(&refused, "refused"), probes(&refused, "sent"), "{refused:#}");
        let lost = report(69, &[&options[..], &["udp://127.0.0.1:7008"]].concat());
        assert_eq!(probes(&lost, "lost"), probes(&lost, "sent"), "{lost:#}");
    });
}

/// Every so many datagrams one is withheld: that is no network, but a guard.
#[test]
fn losses_at_a_fixed_step_are_those_of_a_guard() {
    let server = faulty(|answer, n, datagram| {
        if n % 20 != 0 {
            answer(datagram);
        }
    });
    let text = ping(&["-c", "70", "-i", "5ms", "-W", LONG_ENOUGH, &server.url]);
    text.expect(0, &[]);
    // A busy machine may have skipped so many that there is no second loss.
    if text.stdout.matches("no answer for seq=").count() > 1 {
        assert!(text.stdout.contains("every 20th datagram is lost, and no other"), "{}", text.stdout);
        assert!(text.stderr.contains("`trusted`") && text.stderr.contains("loop-guard"), "{}", text.stderr);
    }
}

#[test]
fn marks_and_hops_are_as_asked_for() {
    in_namespace("true", || {
        let server = faulty(|answer, _, datagram| answer(datagram));
        let options = [
            "-c",
            "2",
            "-i",
            "10ms",
            "-W",
            PATIENT,
            "--ttl",
            "7",
            "--dscp",
            "AF41",
            "--dont-fragment",
            "--device",
            "lo",
        ];
        let report = report(0, &[&options[..], &["--source", "127.0.0.1", &server.url]].concat());
        assert_eq!(answered(&report), probes(&report, "sent"));
    });
}
