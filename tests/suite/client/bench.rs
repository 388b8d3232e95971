//! `echod bench`: its books against those of the daemon, what it sees of a server that stops, and how it ends.

use std::{
    net::UdpSocket,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    cli::probe::url,
    harness::{
        BINARY, Echod, Finished, Killed, Launch, can_be_had, eventually, for_each_protocol, it, listener,
        port_of_nobody, proc, uninterrupted,
    },
};

/// An answer that is this late is as good as lost; no machine is so slow.
const PATIENT: [&str; 2] = ["-W", "20s"];

fn bench(url: &str, args: &[&str]) -> Finished {
    Launch::new().args(&["bench", url, "-o", "json"]).args(&PATIENT).args(args).run()
}

/// The report of a run that went well.
#[track_caller]
fn report(url: &str, args: &[&str]) -> Value {
    let finished = bench(url, args);
    assert_eq!(finished.status.code(), Some(0), "{}{}", finished.stdout, finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap()
}

/// The fates of the only target. They add up.
#[track_caller]
fn probe(report: &Value, fate: &str) -> u64 {
    let probes = report["targets"][0]["probes"].as_object().unwrap();
    let of = |fate: &str| probes[fate].as_u64().unwrap();
    let fates = ["ok", "late", "lost", "refused", "unsent", "skipped"];
    assert_eq!(of("planned"), fates.map(of).iter().sum::<u64>(), "{probes:?}");
    assert_eq!(of("sent"), of("planned") - of("unsent") - of("skipped"), "{probes:?}");
    of(fate)
}

fn has_warning(report: &Value, id: &str) -> bool {
    report["warnings"].as_array().unwrap().iter().any(|warning| warning["id"] == id)
}

/// Client and daemon have counted the same, over every protocol and in both loops.
fn books_agree(protocol: &str) {
    let echod = Echod::start(&listener("it", protocol, ""));
    let url = url(&echod, "it");
    let (mut bytes, mut messages) = (0, 0);
    let closed = ["--window", "3", "--connections", "2", "--size", "40"];
    for line in [&closed[..], &["--rate", "500", "--connections", "3"]] {
        let quick = ["--warm-up", "0s", "-d", "200ms", "--rounds", "2"];
        let report = report(&url, &[&quick[..], line].concat());
        let (ok, size) = (probe(&report, "ok"), report["settings"]["size"].as_u64().unwrap());
        assert!(ok > 0);
        assert_eq!(ok, probe(&report, "sent"), "{report:#}");
        assert_eq!(report["targets"][0]["service_ns"]["n"], ok);
        let is_open = line.contains(&"--rate");
        assert_eq!(has_warning(&report, "closed-loop"), !is_open);
        assert_eq!(report["targets"][0]["model"], if is_open { "open" } else { "closed" });
        if is_open {
            assert_eq!(probe(&report, "planned"), 200);
            assert_eq!(report["targets"][0]["response_ns"]["n"], ok);
        }
        bytes += ok * size;
        messages += ok;
    }
    echod.wait_state("it", |state| state["received"] == bytes);
    if protocol == "udp" || protocol == "unix-datagram" {
        echod.wait_state("it", |state| state["served"] == messages);
    }
}
for_each_protocol! { books_agree }

/// A server of which the fate of each datagram is known.
#[test]
fn each_datagram_has_the_fate_that_its_server_gives_it() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("udp://{}", server.local_addr().unwrap());
    let stopped = UdpSocket::bind("127.0.0.1:0").unwrap();
    thread::scope(|scope| {
        let serve = scope.spawn(|| {
            let (mut message, mut count) = ([0; 2048], [0_u64; 10]);
            let mut held: Option<Vec<u8>> = None;
            for n in 0.. {
                let (length, client) = server.recv_from(&mut message).unwrap();
                if client == stopped.local_addr().unwrap() {
                    // What was to be overtaken by the next has had none.
                    count[1] += u64::from(held.is_some());
                    return count;
                }
                let kind = n % 10;
                count[kind] += 1;
                let answer = &mut message[..length];
                let send = |answer: &[u8]| assert_eq!(server.send_to(answer, client).unwrap(), answer.len());
                match kind {
                    // Lost.
                    1 => continue,
                    3 => send(answer),
                    4 => answer[30] ^= 0x10,
                    // Overtaken by the next.
                    6 => {
                        held = Some(answer.to_vec());
                        continue;
                    }
                    _ => {}
                }
                send(answer);
                if kind == 8 {
                    send(&answer[..length - 1]);
                }
                held.take().iter().for_each(|answer| send(answer));
            }
            unreachable!("it counts on")
        });
        // 200 messages: no number of the server is between two, and all is waited for.
        let args = ["--warm-up", "0s", "-d", "200ms", "--rounds", "1", "--rate", "1000", "-W", "5s"];
        let launched = Launch::new().args(&["bench", &url, "-o", "json"]).args(&args).run();
        stopped.send_to(b"stop", server.local_addr().unwrap()).unwrap();
        let count = serve.join().unwrap();
        assert_eq!(launched.status.code(), Some(0), "{}", launched.stderr);
        let report: Value = serde_json::from_str(&launched.stdout).unwrap();
        let replies = &report["targets"][0]["replies"];
        assert_eq!(probe(&report, "lost"), count[1] + count[4], "{report:#}");
        assert_eq!(replies["duplicate"], count[3], "{report:#}");
        assert_eq!(replies["corrupt"], count[4] + count[8], "{report:#}");
        // The last one may have been held to the end.
        let reordered = replies["reordered"].as_u64().unwrap();
        assert!(reordered + 1 >= count[6] && reordered <= count[6], "{report:#}");
    });
}

/// Both loops begin while the server stands still. The open one counts what would have been sent meanwhile, the closed one has one
/// slow answer among many.
#[test]
fn a_server_that_stops_is_seen_by_an_open_loop() {
    const STOPPED: Duration = Duration::from_secs(1);
    let look = |args: &[&str]| {
        let echod = Echod::start(&it(""));
        let (port, url) = (echod.port("it"), url(&echod, "it"));
        echod.signal(Signal::SIGSTOP);
        let args = [&["--warm-up", "0s", "-d", "4s", "--rounds", "1"], args].concat();
        thread::scope(|scope| {
            let run = scope.spawn(|| report(&url, &args));
            // Connected by the kernel; the first messages are on their way.
            eventually("a connection", || proc::tcp_socket(port, "01"));
            let begun = Instant::now();
            eventually("a second", || (begun.elapsed() > STOPPED).then_some(()));
            echod.signal(Signal::SIGCONT);
            run.join().unwrap()
        })
    };
    let open = look(&["--rate", "500"]);
    let quantile = |report: &Value, times: &str, q: f64| {
        let quantiles = report["targets"][0][times]["quantiles"].as_array().unwrap().clone();
        quantiles.iter().find(|pair| pair[0] == q).and_then(|pair| pair[1].as_u64())
    };
    // Of 2,000 messages 20 lie beyond; those of the first tenth of a second waited for the rest of it.
    assert!(quantile(&open, "response_ns", 0.99).unwrap() > 500_000_000, "{open:#}");
    assert!(open["targets"][0]["response_ns"]["max"].as_u64().unwrap() > 900_000_000, "{open:#}");
    assert!(!has_warning(&open, "closed-loop"));
    let closed = look(&[]);
    assert!(has_warning(&closed, "closed-loop"), "{closed:#}");
    assert!(closed["targets"][0]["service_ns"]["max"].as_u64().unwrap() > 900_000_000, "{closed:#}");
    // One of a thousand or more; on a machine that is too slow for that there is no such figure.
    assert!(quantile(&closed, "service_ns", 0.99).is_none_or(|time| time < 500_000_000), "{closed:#}");
}

#[test]
fn a_search_ends_with_a_rate_that_held() {
    let echod = Echod::start(&listener("it", "udp", ""));
    let url = url(&echod, "it");
    let quick = ["--warm-up", "0s", "-d", "50ms"];
    // What always holds is true of the highest rate that this machine can keep to.
    let told = Launch::new().args(&["bench", &url, "--search", "p50<1000s"]).args(&quick).run();
    assert!([0, 1].contains(&told.status.code().unwrap()), "{}", told.stderr);
    assert!(told.stdout.starts_with("search p50<1000s\n"), "{}", told.stdout);
    assert!(told.stdout.contains("in two rounds running"), "{}", told.stdout);
    if told.status.code() == Some(0) {
        assert!(told.stdout.contains("\nhighest rate at which p50<1000s held in two rounds running: "));
        assert!(told.stdout.matches("  held  ").count() >= 2, "{}", told.stdout);
    }
    // What never holds is true of no rate.
    let told = Launch::new().args(&["bench", &url, "--search", "min<1ns"]).args(&quick).run();
    told.expect(1, &["no rate was found at which min<1ns held"]);
    let several = Launch::new().args(&["bench", &url, &url, "--search", "p99<1ms"]).run();
    several.expect(64, &["name one URL"]);
    Launch::new().args(&["bench", &url, "--search", "p99"]).run().expect(64, &["--search"]);
}

#[test]
fn silent_connections_are_held_beside() {
    let echod = Echod::start(&it("max-connections = 500"));
    let mut run = start(&url(&echod, "it"), &["--idle", "200", "--connections", "2", "-d", "60s"]);
    echod.wait_state("it", |state| state["open"] == 202);
    let report = end(&mut run);
    assert!(!has_warning(&report, "idle-closed"), "{report:#}");
    assert_eq!(report["settings"]["idle"], 200);
    // What the server does not hold is told.
    let echod = Echod::start(&it("max-connections = 10\nwhen-full = \"refuse\""));
    let quick = ["--warm-up", "0s", "-d", "100ms", "--idle", "20"];
    let finished = bench(&url(&echod, "it"), &quick);
    match serde_json::from_str::<Value>(&finished.stdout) {
        Ok(told) => assert!(has_warning(&told, "idle-closed"), "{told:#}"),
        // It was quicker than the client, which had not seen the connection yet.
        Err(_) => finished.expect(69, &["cannot reach", " of 2"]),
    }
}

/// A bench that is under way.
fn start(url: &str, args: &[&str]) -> Killed {
    let mut command = Command::new(BINARY);
    command.args(["bench", url, "-o", "json", "--warm-up", "0s"]).args(PATIENT).args(args);
    Killed(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
}

/// Ends it by Ctrl-C, and returns its report.
#[track_caller]
fn end(run: &mut Killed) -> Value {
    let child: &mut Child = &mut run.0;
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let status = eventually("the end of the bench", || child.try_wait().unwrap());
    let text = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    assert_eq!(status.code(), Some(0), "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn ctrl_c_ends_with_a_summary() {
    let echod = Echod::start(&listener("it", "udp", ""));
    let url = url(&echod, "it");
    for args in [&["-d", "60s"][..], &["-d", "60s", "--rate", "200"]] {
        let before = echod.state("it")["served"];
        let mut run = start(&url, args);
        echod.wait_state("it", |state| state["served"] > before + 20);
        let report = end(&mut run);
        assert_eq!(probe(&report, "ok"), probe(&report, "sent"), "{report:#}");
        echod.wait_state("it", |state| state["served"] == before + probe(&report, "ok"));
    }
}

/// The first signal waits for what is missing, the second does not.
#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("udp://{}", silent.local_addr().unwrap());
    let mut command = Command::new(BINARY);
    command.args(["bench", &url, "--warm-up", "0s", "-d", "60s", "-W", "1h"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut run = Killed(command.spawn().unwrap());
    // From its first message on it catches signals.
    silent.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    uninterrupted(|| silent.recv(&mut [0; 64])).unwrap();
    let pid = Pid::from_raw(run.0.id().try_into().unwrap());
    // Two that come together are one.
    let status = eventually("the end at the second signal", || {
        kill(pid, Signal::SIGINT).unwrap();
        run.0.try_wait().unwrap()
    });
    let text = std::io::read_to_string(run.0.stdout.take().unwrap()).unwrap();
    assert_eq!((status.code(), text.as_str()), (Some(130), ""));
}

/// Over both commands and families: what the headers of IP and UDP leave of 65,535 bytes.
#[test]
fn the_longest_datagram_is_that_of_the_family() {
    for (address, longest) in [("127.0.0.1:0", 65_507), ("[::1]:0", 65_527)] {
        if !can_be_had(address) {
            continue;
        }
        let echod = Echod::start(&format!(
            "[[listener]]\nname = \"it\"\nprotocol = \"udp\"\naddress = \"{address}\"\n"
        ));
        let url = url(&echod, "it");
        let (fits, too_long) = (longest.to_string(), (longest + 1).to_string());
        for command in [
            &["ping", &url, "-c", "1", "-W", "20s"][..],
            &["bench", &url, "-d", "50ms", "--rounds", "1", "--warm-up", "0s", "-W", "20s"],
        ] {
            Launch::new().args(command).args(&["-s", &fits, "--fail-if", "loss>0"]).run().expect(0, &[]);
            Launch::new().args(command).args(&["-s", &too_long]).run().expect(64, &[&too_long, &fits]);
        }
    }
}

#[test]
fn the_exit_code_says_how_it_went() {
    let echod = Echod::start(&it(""));
    let url = url(&echod, "it");
    let nobody = format!("udp://127.0.0.1:{}", port_of_nobody("udp"));
    let closed = format!("tcp://127.0.0.1:{}", port_of_nobody("tcp"));
    let quick = ["--warm-up", "0s", "-d", "100ms", "--rounds", "1"];
    for (args, code, word) in [
        (&[&url, "--fail-if", "min>1000s"][..], 0, ""),
        (&[&url, "--fail-if", "min<1000s"], 1, ""),
        (&[&url, "--fail-if", "nonsense"], 64, "nonsense"),
        (&[], 64, "name the server"),
        (&[&url, "--idle", "1,2"], 64, "--compare"),
        (&["udp://127.0.0.1:7", "--idle", "1"], 64, "datagrams have none"),
        (&["tcp://192.0.2.1:7"], 64, "add --remote"),
        (&[&url, "--rate", "5", "--window", "2"], 64, "cannot be used with"),
        (&[&url, "--idle", "2000000000"], 71, "ulimit -Hn"),
        (&[&nobody, "--rate", "100"], 69, "no answer"),
        (&[&closed], 69, "cannot reach"),
    ] {
        Launch::new().args(&["bench"]).args(args).args(&quick).run().expect(code, &[word]);
    }
    // No machine sends so many from one thread. Some of them it sends: the round is long against any pause.
    let strict = ["--rate", "1000M", "--strict", "--warm-up", "0s", "-d", "2s", "--rounds", "1"];
    Launch::new().args(&["bench", &url]).args(&strict).run().expect(75, &["schedule-not-held"]);
}

/// For people: what was sent, what came, how long it took, and no percentile of too few.
#[test]
fn the_text_says_all_that_was_found_out() {
    let echod = Echod::start(&it(""));
    let args = ["--warm-up", "0s", "-d", "100ms", "--rounds", "2", "--rate", "100", "--connections", "2"];
    let told = Launch::new().args(&["bench", &url(&echod, "it")]).args(&args).args(&PATIENT).run();
    told.expect(0, &[]);
    for word in [
        "  2 connections, 64 bytes, open loop 100/s, 2 rounds of ",
        "(planned 20, skipped ",
        "   ok 100 %, late 0, lost 0, corrupt 0",
        "from the planned moment",
        "from the actual send",
        "  connect ",
        "CPU ",
        " |#",
    ] {
        assert!(told.stdout.contains(word), "no {word:?} in\n{}", told.stdout);
    }
    let response = told.stdout.lines().find(|line| line.starts_with("  response")).unwrap();
    assert!(response.split_whitespace().filter(|word| *word == "-").count() >= 4, "{response}");
    // Nothing draws a bar where nobody looks.
    assert!(!told.stderr.contains("round 1 of"), "{}", told.stderr);
}
