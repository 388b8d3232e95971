//! `echod ping`: what it says of servers of which the test knows what they do. Nothing here depends on how fast they are: a probe
//! has far more time than it needs, and one that the machine was too busy to send is known by its fate.

mod ends;
mod network;
mod others;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use serde_json::Value;

use super::strangers::{Stranger, echo};
use crate::{
    cli::probe::url,
    harness::{Echod, Finished, Launch, can_be_had, listener, port_of_nobody},
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

/// What the server does with a datagram that it gets for the `n`th time from 1.
fn faulty(fault: impl Fn(&mut dyn FnMut(&[u8]), u64, &[u8]) + Send + 'static) -> Stranger {
    let seen = AtomicU64::new(0);
    Stranger::udp(move |socket, datagram, from| {
        // An empty one only wakes the server.
        if !datagram.is_empty() {
            let n = seen.fetch_add(1, Relaxed) + 1;
            fault(&mut |answer| drop(socket.send_to(answer, from)), n, datagram);
        }
        Ok(0)
    })
}

/// The books balance: what the server has done is what the client has seen.
#[test]
fn every_fault_is_counted_for_what_it_is() {
    let done = Arc::new(Mutex::new([0; 5]));
    let counts = Arc::clone(&done);
    let server = faulty(move |answer, n, datagram| {
        let mut counts = counts.lock().unwrap();
        let mut changed = datagram.to_vec();
        match n % 8 {
            1 => counts[0] += 1, // lost
            3 => {
                counts[1] += 1;
                answer(datagram);
            }
            4 => {
                counts[2] += 1;
                changed[40] ^= 0x20;
                return answer(&changed);
            }
            5 => {
                counts[3] += 1;
                return answer(&datagram[..63]);
            }
            6 => {
                counts[4] += 1;
                answer(&[b'?'; 64]);
            }
            _ => {}
        }
        if n % 8 != 1 {
            answer(datagram);
        }
    });
    let report = report(0, &["-c", "32", "-i", "10ms", "-W", LONG_ENOUGH, &server.url]);
    adds_up(&report, 32);
    let [lost, duplicate, flipped, cut, stray] = *done.lock().unwrap();
    assert_eq!(probes(&report, "lost"), lost + flipped + cut, "{report:#}");
    assert_eq!(answered(&report), probes(&report, "sent") - lost - flipped - cut, "{report:#}");
    assert_eq!(
        (replies(&report, "duplicate"), replies(&report, "corrupt")),
        (duplicate, flipped + cut),
        "{report:#}"
    );
    assert_eq!((replies(&report, "stray"), replies(&report, "reordered")), (stray, 0), "{report:#}");
}

/// The server holds an answer back until it has given that to the next probe.
#[test]
fn the_later_one_of_two_is_reordered() {
    let held = Mutex::new(None);
    let server = faulty(move |answer, n, datagram| {
        let mut held = held.lock().unwrap();
        if n == 2 {
            *held = Some(datagram.to_vec());
            return;
        }
        answer(datagram);
        if let Some(held) = held.take() {
            answer(&held);
        }
    });
    let report = report(0, &["-c", "5", "-i", "20ms", "-W", LONG_ENOUGH, &server.url]);
    adds_up(&report, 5);
    // If the machine was so busy that no third one was sent, the second has no answer.
    let sent = probes(&report, "sent");
    let expected = if sent > 2 { (sent, 1) } else { (1, 0) };
    assert_eq!((answered(&report), replies(&report, "reordered")), expected, "{report:#}");
}

/// An answer that comes after its time, to a client that is still there.
#[test]
fn a_late_answer_is_late_and_not_lost() {
    let held = Mutex::new(Vec::new());
    let server = faulty(move |answer, n, datagram| {
        let mut held = held.lock().unwrap();
        held.push(datagram.to_vec());
        if n == 3 {
            held.drain(..).for_each(|datagram| answer(&datagram));
        }
    });
    // Probes are this far apart, or skipped.
    let finished = ping(&["-o", "json", "-c", "3", "-i", "400ms", "-W", "200ms", &server.url]);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    adds_up(&report, 3);
    // Else the machine was too busy to send a third one, for which the server waits.
    if probes(&report, "sent") == 3 && answered(&report) > 0 {
        finished.expect(0, &[]);
        assert!(probes(&report, "late") >= 2, "{report:#}");
        assert_eq!(probes(&report, "lost"), 0, "{report:#}");
    }
}

#[test]
fn a_stream_that_changes_bytes_is_corrupt() {
    // A byte of the second message, however the stream is cut into pieces.
    let server = Stranger::echo(|piece, before| {
        if let Some(byte) = 104_usize.checked_sub(before).and_then(|at| piece.get_mut(at)) {
            *byte ^= 1;
        }
    });
    let report = report(0, &["-c", "4", "-i", "20ms", "-W", LONG_ENOUGH, &server.url]);
    adds_up(&report, 4);
    let corrupt = u64::from(probes(&report, "sent") > 1);
    assert_eq!((replies(&report, "corrupt"), probes(&report, "lost")), (corrupt, corrupt), "{report:#}");
}

#[test]
fn a_connection_that_breaks_is_seen_and_made_again() {
    // Every connection ends after its second message.
    let server = Stranger::tcp(|connection| {
        let mut message = [0; 64];
        for _ in 0..2 {
            std::io::Read::read_exact(&mut &connection, &mut message)?;
            std::io::Write::write_all(&mut &connection, &message)?;
        }
        Ok(())
    });
    let text = ping(&["-c", "6", "-i", "100ms", "-W", "2s", &server.url]);
    text.expect(0, &[]);
    assert!(text.stdout.contains("connection closed: by the server"), "{}", text.stdout);
    let report = report(0, &["-c", "6", "-i", "100ms", "-W", "2s", &server.url]);
    adds_up(&report, 6);
    assert!(answered(&report) >= 2, "{report:#}");
    assert!(count(&report, "connect_ns", "n") >= 2, "{report:#}");
}

#[test]
fn nobody_there_is_refused_and_silence_is_lost() {
    let tcp = format!("tcp://127.0.0.1:{}", port_of_nobody("tcp"));
    let udp = format!("udp://127.0.0.1:{}", port_of_nobody("udp"));
    let unix = "unix:nothing.sock".to_owned();
    let datagram = "unix-datagram:@echod-ping-nobody".to_owned();
    let options = ["-c", "3", "-i", "10ms", "-W", "2s"];
    for url in [&tcp, &udp, &unix, &datagram] {
        let report = report(69, &[&options[..], &[url]].concat());
        adds_up(&report, 3);
        assert_eq!(probes(&report, "refused"), probes(&report, "sent"), "{url}: {report:#}");
    }
    let report = report(69, &[&options[..], &["--connect", &tcp]].concat());
    assert_eq!(probes(&report, "refused"), probes(&report, "sent"), "{report:#}");
    let silent = faulty(|_, _, _| {});
    let text = ping(&["-c", "2", "-i", "10ms", "-W", "100ms", &silent.url]);
    text.expect(69, &["no answer from udp://"]);
    let sent = summary(&text.stdout);
    assert_eq!((sent.received, sent.loss.as_str(), sent.rtt), (0, "100", None), "{}", text.stdout);
    assert_eq!(text.stdout.matches("no answer for seq=").count() as u64, sent.transmitted, "{}", text.stdout);
}

/// What a parser of ping(8) finds.
#[derive(Debug)]
struct Summary {
    transmitted: u64,
    received: u64,
    loss: String,
    rtt: Option<[f64; 4]>,
}

/// Reads the summary as those parsers do: a headline without slashes, the line of packets, and the line of times or an empty one.
#[track_caller]
fn summary(text: &str) -> Summary {
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

/// An echo that closes its end first is still an echo.
#[test]
fn a_server_that_does_not_close_has_no_time_for_it() {
    let server = Stranger::tcp(|connection| {
        echo(&connection, &|_, _| {})?;
        // The client goes when it has waited long enough.
        let mut rest = [0; 1];
        let _ = std::io::Read::read(&mut &connection, &mut rest);
        std::mem::forget(connection);
        Ok(())
    });
    let report = report(0, &["--connect", "-c", "1", "-W", LONG_ENOUGH, &server.url]);
    adds_up(&report, 1);
    assert_eq!((answered(&report), count(&report, "connect_ns", "n")), (1, 1), "{report:#}");
}
