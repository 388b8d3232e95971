//! What it prints for people, and for those programs that read the summary of ping(8).

use serde_json::Value;

use super::{PATIENT, answered, count, ping, probes};
use crate::{
    cli::probe::url,
    harness::{Echod, listener},
};

/// What a parser of ping(8) finds.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) transmitted: u64,
    pub(super) received: u64,
    pub(super) loss: String,
    pub(super) rtt: Option<[f64; 4]>,
}

/// Reads the summary as those parsers do: a headline without slashes, the line of packets, and the line of times or an empty one.
#[track_caller]
pub(super) fn summary(text: &str) -> Summary {
    parsed(text).unwrap_or_else(|| panic!("no summary of ping(8): {text}"))
}

fn parsed(text: &str) -> Option<Summary> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("--- "));
    let name = lines.next()?.strip_prefix("--- ")?.strip_suffix(" ping statistics ---")?;
    let is_known = |c: char| c.is_ascii_alphanumeric() || ":-.()% ".contains(c);
    if !name.chars().all(is_known) {
        return None;
    }
    let (transmitted, rest) = lines.next()?.split_once(" packets transmitted, ")?;
    let (received, rest) = rest.split_once(" received, ")?;
    let (loss, time) = rest.split_once("% packet loss, time ")?;
    let loss = loss.rsplit_once(", ").map_or(loss, |(_, loss)| loss).to_owned();
    time.strip_suffix("ms")?.parse::<u64>().ok()?;
    let times = lines.next()?;
    let rtt = match times {
        "" => None,
        times => {
            let times = times.strip_prefix("rtt min/avg/max/mdev = ")?.strip_suffix(" ms")?;
            let times: Option<Vec<f64>> = times.split('/').map(|time| time.parse().ok()).collect();
            Some(times?.try_into().ok()?)
        }
    };
    Some(Summary { transmitted: transmitted.parse().ok()?, received: received.parse().ok()?, loss, rtt })
}

#[test]
fn parsers_of_ping_read_the_summary() {
    let echod = Echod::start(&listener("it", "udp", ""));
    let saved = ["-c", "12", "-i", "5ms", "-W", PATIENT, "--save", "report.json"];
    let text = ping(&[&saved[..], &[&url(&echod, "it")]].concat());
    text.expect(0, &[]);
    let found = summary(&text.stdout);
    let saved = std::fs::read_to_string(text.dir.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&saved).unwrap();
    assert_eq!(
        (found.transmitted, found.received),
        (probes(&report, "sent"), answered(&report)),
        "{}",
        text.stdout
    );
    assert_eq!(found.loss, "0");
    let [min, mean, max, deviation] = found.rtt.unwrap();
    assert!(min <= mean && mean <= max && deviation >= 0.0, "{}", text.stdout);
    for (time, name) in [(min, "min"), (mean, "mean"), (max, "max")] {
        let told = count(&report, "service_ns", name) as f64 / 1e6;
        assert!((time - told).abs() < 0.001, "{name}: {time} is not {told}");
    }
    // What the first lines say.
    let mut lines = text.stdout.lines();
    assert!(lines.next().unwrap().ends_with("64 bytes, kernel timestamps, loopback"), "{}", text.stdout);
    let answer = lines.find(|line| line.starts_with("64 bytes from 127.0.0.1: seq=")).unwrap();
    assert!(answer.contains(" ttl=") && answer.contains(" time=") && answer.ends_with(" ms"), "{answer}");
    let quiet = ping(&["-q", "-c", "1", "-W", PATIENT, &url(&echod, "it")]).stdout;
    assert!(quiet.starts_with("\n--- "), "{quiet}");
}

#[test]
fn several_targets_are_told_apart() {
    let echod = Echod::start(&(listener("it", "udp", "") + &listener("other", "tcp", "")));
    let (one, other) = (url(&echod, "it"), url(&echod, "other"));
    let text = ping(&["-c", "2", "-i", "10ms", "-W", PATIENT, &one, &other]).stdout;
    for url in [&one, &other] {
        assert!(text.contains(&format!("\n{url}: 64 bytes from 127.0.0.1: seq=")), "{text}");
    }
    assert_eq!(text.matches(" ping statistics ---").count(), 2, "{text}");
    let lines = ping(&["-o", "jsonl", "-c", "5", "-i", "10ms", "-W", PATIENT, &one, &other]).stdout;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (report, lines) = lines.split_last().unwrap();
    assert_eq!(report["targets"].as_array().unwrap().len(), 2);
    for (index, url) in [one, other].iter().enumerate() {
        let mine = lines.iter().filter(|line| line["probe"]["url"] == **url);
        let fates: Vec<&str> = mine.map(|line| line["probe"]["fate"].as_str().unwrap()).collect();
        assert_eq!(fates.len(), 5, "{lines:#?}");
        let ok = fates.iter().filter(|fate| **fate == "ok").count() as u64;
        assert_eq!(Some(ok), report["targets"][index]["probes"]["ok"].as_u64());
    }
}
