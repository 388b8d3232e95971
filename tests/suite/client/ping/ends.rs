//! How a run ends: by its count, its deadline or a signal, and with which exit code.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{PATIENT, faults::faulty, ping, report, text::summary};
use crate::{
    cli::probe::url,
    harness::{self, Echod, Killed, eventually, listener, port_of_nobody},
};

/// A run under way.
struct Pinging {
    child: Killed,
    stdout: BufReader<std::process::ChildStdout>,
    text: String,
}

impl Pinging {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_echod"));
        command.arg("ping").args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child: Child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child: Killed(child), stdout, text: String::new() }
    }

    /// Reads on until a line has these words.
    #[track_caller]
    fn wait_for(&mut self, words: &str) {
        while !self.text.lines().last().is_some_and(|line| line.contains(words)) {
            let length = self.stdout.read_line(&mut self.text).unwrap();
            assert!(length > 0, "it ended before {words:?}: {}", self.text);
        }
    }

    /// Reads on until so many answers are told.
    #[track_caller]
    fn wait_for_answers(&mut self, count: usize) {
        (0..count).for_each(|_| {
            self.wait_for(" bytes from ");
            self.text.push('\n');
        });
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.0.id().try_into().unwrap()), signal).unwrap();
    }

    /// The exit code, and all that was said on both ways.
    fn end(mut self) -> (Option<i32>, String, String) {
        self.stdout.read_to_string(&mut self.text).unwrap();
        let mut stderr = String::new();
        self.child.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.child.0.wait().unwrap().code(), self.text, stderr)
    }
}

#[test]
fn a_signal_ends_it_with_a_summary() {
    let echod = Echod::start(&listener("it", "udp", ""));
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut pinging = Pinging::start(&["-i", "10ms", "-W", PATIENT, &url(&echod, "it")]);
        pinging.wait_for_answers(3);
        pinging.signal(signal);
        let (code, text, stderr) = pinging.end();
        assert_eq!(code, Some(0), "{text}{stderr}");
        let found = summary(&text);
        assert!(found.transmitted >= 3 && found.received == found.transmitted, "{text}");
    }
}

/// The first signal waits for what is missing, the second does not.
#[test]
fn a_second_signal_ends_it_at_once() {
    let (tell, arrived) = mpsc::channel();
    // Fails only once the test has seen enough.
    let silent = faulty(move |_, _, _| _ = tell.send(()));
    let mut pinging = Pinging::start(&["-i", "10ms", "-W", "1h", &silent.url]);
    // Before that there is nothing to wait for, and the first signal would be the end.
    arrived.recv_timeout(harness::PATIENCE).unwrap();
    // Two that come together are one.
    eventually("the end at the second signal", || {
        pinging.signal(Signal::SIGINT);
        pinging.child.0.try_wait().unwrap()
    });
    let (code, text, stderr) = pinging.end();
    assert_eq!(code, Some(130), "{text}{stderr}");
    assert!(!text.contains("statistics"), "{text}");
}

#[test]
fn it_says_how_it_stands_when_asked() {
    let echod = Echod::start(&listener("it", "udp", ""));
    let mut pinging = Pinging::start(&["-i", "10ms", "-W", PATIENT, &url(&echod, "it")]);
    pinging.wait_for_answers(2);
    pinging.signal(Signal::SIGQUIT);
    let mut stderr = BufReader::new(pinging.child.0.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains(" packets, 0% loss, min/avg/ewma/max = "), "{line}");
    pinging.child.0.stderr = Some(stderr.into_inner());
    pinging.signal(Signal::SIGINT);
    assert_eq!(pinging.end().0, Some(0));
    let asked = ["-c", "40", "-i", "10ms", "-W", PATIENT, "--report-every", "50ms"];
    let every = ping(&[&asked[..], &[&url(&echod, "it")]].concat());
    every.expect(0, &[" packets, "]);
}

#[test]
fn a_deadline_ends_it_and_each_probe_has_its_time() {
    let echod = Echod::start(&listener("it", "udp", ""));
    let text = ping(&["-w", "400ms", "-i", "50ms", "-W", "200ms", &url(&echod, "it")]);
    let found = summary(&text.stdout);
    assert!((1..=9).contains(&found.transmitted), "{}", text.stdout);
    let silent = faulty(|_, _, _| {});
    // Shorter than the time of a probe: one is sent all the same.
    let text = ping(&["-w", "50ms", "-W", "1h", &silent.url]);
    text.expect(69, &[]);
    assert_eq!(summary(&text.stdout).transmitted, 1, "{}", text.stdout);
}

/// A client that was stopped sends what is due, and skips what is too late for it.
#[test]
fn a_plan_that_was_not_held_is_told() {
    let echod = Echod::start(&listener("it", "udp", ""));
    let mut pinging = Pinging::start(&["-i", "10ms", "-W", PATIENT, "--strict", &url(&echod, "it")]);
    pinging.wait_for_answers(2);
    pinging.signal(Signal::SIGSTOP);
    let since = Instant::now();
    eventually("so much that some probes are too late", || {
        (since.elapsed() > Duration::from_millis(200)).then_some(())
    });
    pinging.signal(Signal::SIGCONT);
    pinging.wait_for("skipped: ");
    pinging.signal(Signal::SIGINT);
    let (code, text, stderr) = pinging.end();
    assert_eq!(code, Some(75), "{text}{stderr}");
    assert!(stderr.contains("schedule-not-held"), "{stderr}");
}

/// Whoever reads no further ends it.
#[test]
fn a_reader_that_goes_ends_it() {
    let echod = Echod::start(&listener("it", "udp", ""));
    let mut pinging = Pinging::start(&["-i", "10ms", "-W", PATIENT, &url(&echod, "it")]);
    pinging.wait_for_answers(1);
    let Pinging { mut child, stdout, .. } = pinging;
    drop(stdout);
    let status = eventually("the end of a client without a reader", || child.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn exit_codes_are_those_of_the_table() {
    let echod = Echod::start(&(listener("it", "udp", "") + &listener("tcp", "tcp", "")));
    let (udp, tcp) = (url(&echod, "it"), url(&echod, "tcp"));
    let nobody = format!("udp://127.0.0.1:{}", port_of_nobody("udp"));
    let one = ["-c", "1", "-W", PATIENT];
    let table: [(i32, &[&str], &str); 22] = [
        (0, &[&udp], ""),
        (0, &[&udp, "--fail-if", "loss>0%"], ""),
        (1, &[&udp, "--fail-if", "max>0ns"], ""),
        (64, &[], "name a server"),
        (64, &["echo://127.0.0.1:7"], "echo"),
        (64, &["udp://127.0.0.1:0"], "one port"),
        (64, &["-i", "1ms", "udp://192.0.2.7:7"], "a network is shared"),
        (64, &["-i", "0", &udp], "no interval"),
        (64, &["-W", "0", &udp], "no time"),
        (64, &["-s", "65508", &udp], "65507"),
        (64, &["-s", "0", &tcp], "no empty messages"),
        (64, &["--flows", "2", &tcp], "--flows has no effect"),
        (64, &["--connect", &udp], "--connect has no effect"),
        (64, &["--dscp", "EF", "unix:@x"], "--dscp has no effect"),
        (64, &["--source", "::1", &udp], "same family"),
        (64, &[&udp, "--fail-if", "p50>"], ""),
        (68, &["udp://nobody.invalid:7"], "nobody.invalid"),
        (69, &[&nobody], "no answer from"),
        (69, &[&udp, &nobody], "no answer from"),
        (71, &["--source", "192.0.2.254", &udp], "cannot send from"),
        (74, &["--save", "nowhere/report.json", &udp], "nowhere"),
        (77, &["udp://127.255.255.255:7"], "permission denied"),
    ];
    for (code, args, words) in table {
        let usual = if args.contains(&"-W") { &one[..2] } else { &one };
        let finished = ping(&[usual, args].concat());
        assert_eq!(finished.status.code(), Some(code), "{args:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(words), "{args:?}: {}", finished.stderr);
    }
    // A run without an answer has a report all the same.
    assert_eq!(report(69, &["-c", "1", &nobody])["targets"][0]["probes"]["refused"], 1);
}
