//! What the log says, and what a client cannot make it say.

use echod::report::log_event::LogEvent;
use serde_json::Value;

use crate::{
    harness::{Client, Echod, Launch, has_mode},
    matrix::{Combination, classes},
};

const JSON: &str = "[log]\nformat = \"json\"\n";

const LISTENER: &str = "[[listener]]\nname = \"it\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n";

const MODES: [&str; 7] = ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"];

#[test]
fn start_and_end_of_a_connection_are_told() {
    for mode in MODES.into_iter().filter(|mode| has_mode(mode)) {
        let daemon = Echod::start(&format!("{JSON}{LISTENER}mode = \"{mode}\"\n"));
        let port = daemon.port("it");
        let serving = daemon.wait_event(LogEvent::ListenerServing, |_| true);
        let expected = ["it", "echo", &format!("tcp://127.0.0.1:{port}"), mode];
        assert_eq!(["listener", "service", "address", "mode"].map(|key| &serving[key]), expected);
        let client = daemon.client("it");
        let peer = client.socket.local_addr().unwrap().as_socket().unwrap();
        client.echo(b"hello world\n");
        drop(client);
        let closed = daemon.wait_event(LogEvent::ConnectionClosed, |_| true);
        let expected = ["it", &format!("tcp://{peer}"), "peer-closed"];
        assert_eq!(["listener", "peer", "reason"].map(|key| &closed[key]), expected);
        assert_eq!(["bytes_received", "bytes_sent"].map(|key| &closed[key]), [12, 12]);
        assert!(closed["duration_us"].as_u64().is_some_and(|time| time > 0), "{closed}");
        assert!(closed.get("lingered_us").is_none() && closed.get("errno").is_none(), "{closed}");
    }
}

/// As people read it.
#[test]
fn the_text_of_a_line_has_what_its_fields_have() {
    let daemon = Echod::start(LISTENER);
    let port = daemon.port("it");
    let serving = format!("listener \"it\": serving echo at tcp://127.0.0.1:{port}, mode epoll, workers 1\n");
    daemon.wait_log(|line| line.ends_with(&serving));
    let client = daemon.client("it");
    let peer = client.socket.local_addr().unwrap().as_socket().unwrap();
    client.echo(b"hello world\n");
    drop(client);
    let line = daemon.wait_log(|line| line.contains("closed after"));
    assert!(line.contains(&format!("listener \"it\": tcp://{peer} closed after")), "{line}");
    assert!(line.ends_with("s, 12 bytes in, 12 bytes out: peer closed\n"), "{line}");
    let state = daemon.state("it");
    daemon.wait_log(|line| {
        line.contains("listener \"it\": open 0, served 1, received 12 bytes, sent 12 bytes")
    });
    assert_eq!(state["served"], 1);
}

#[test]
fn the_beginning_of_a_connection_is_told_at_debug() {
    for mode in MODES.into_iter().filter(|mode| has_mode(mode)) {
        for (protocol, address) in [("tcp", "127.0.0.1:0"), ("unix", "it.sock")] {
            let daemon = Combination { protocol, address, mode, workers: "" }.start_with_events("");
            let client = daemon.client("it");
            let address = client.socket.local_addr().unwrap().as_socket();
            let peer = address.map_or("unix: (pid ".to_owned(), |peer| format!("tcp://{peer}"));
            let opened = daemon.wait_event(LogEvent::ConnectionOpened, |_| true);
            assert_eq!(["level", "listener"].map(|key| &opened[key]), ["debug", "it"]);
            assert!(opened["peer"].as_str().unwrap().starts_with(&peer), "{opened}");
        }
    }
}

/// The address of a unix client says nothing about it.
#[test]
fn a_unix_client_is_told_by_its_process_and_user() {
    let process = format!("(pid {}, uid {})", std::process::id(), nix::unistd::geteuid());
    for mode in MODES.into_iter().filter(|mode| has_mode(mode)) {
        for workers in ["", "2"] {
            let (protocol, address) = ("unix", "it.sock");
            if mode == "iterative" && !workers.is_empty() {
                continue;
            }
            let daemon = Combination { protocol, address, mode, workers }.start_with_events("");
            daemon.client("it").echo(b"hello");
            let closed = daemon.wait_event(LogEvent::ConnectionClosed, |_| true);
            assert_eq!(closed["peer"], format!("unix: {process}"), "{closed}");
        }
    }
    let unix = Combination { protocol: "unix", address: "it.sock", mode: "epoll", workers: "" };
    let daemon = unix.start_with_events("allow-users = [\"4294967294\"]");
    assert!(daemon.client("it").is_ended());
    let refused = daemon.wait_event(LogEvent::ConnectionRefused, |_| true);
    assert_eq!(["peer", "reason"].map(|key| &refused[key]), [&format!("unix: {process}"), "user"]);
}

#[test]
fn state_counts_what_happened() {
    for class in classes().into_iter().filter(|class| matches!(class.protocol, "tcp" | "unix")) {
        let daemon = class.start();
        for _ in 0..3 {
            daemon.client("it").echo(b"hello world\n");
        }
        daemon.wait_state("it", |state| {
            ["open", "served", "received", "sent", "refused", "errors", "truncated"].map(|key| state[key])
                == [0, 3, 36, 36, 0, 0, 0]
        });
        let client = daemon.client("it");
        client.echo(b"!");
        assert_eq!(daemon.state("it")["open"], 1);
        drop(client);
        daemon.wait_state("it", |state| state["open"] == 0 && state["served"] == 4 && state["sent"] == 37);
    }
}

#[test]
fn state_counts_datagrams() {
    for class in classes().into_iter().filter(|class| matches!(class.protocol, "udp" | "unix-datagram")) {
        for workers in ["", "\"per-request\""] {
            if class.mode == "iterative" && !workers.is_empty() {
                continue;
            }
            let daemon = Combination { workers, ..class }.start();
            let client = daemon.client("it");
            (0..3).for_each(|_| client.echo(b"hello world\n"));
            assert_eq!(client.ask(b""), b"");
            daemon.wait_state("it", |state| {
                ["open", "served", "received", "sent", "refused"].map(|key| state[key]) == [0, 4, 36, 36, 0]
            });
        }
    }
}

/// Every process of a listener counts, and one of them tells: not a line for each datagram.
#[test]
fn refusals_are_told_seldom() {
    for mode in ["iterative", "threading", "forking", "epoll"] {
        let (protocol, address) = ("unix-datagram", "it.sock");
        let daemon = Combination { protocol, address, mode, workers: "" }.start_with_events("");
        let nameless = Client::nameless(&daemon.endpoint("it"));
        (0..50).for_each(|_| nameless.send(b"who am I?"));
        daemon.wait_state("it", |state| state["refused"] == 50 && state["unanswerable"] == 50);
        let refused = daemon.wait_events(LogEvent::ClientsRefused, 1).remove(0);
        let expected = ["warn", "it", "unanswerable", "a socket without a name"];
        assert_eq!(["level", "listener", "reason", "source"].map(|key| &refused[key]), expected);
        assert!(refused["count"].as_u64().is_some_and(|count| (1..=50).contains(&count)), "{refused}");
    }
}

/// Nothing that a client sends ends a line, colours a terminal, or looks like another entry.
#[test]
fn payload_cannot_forge_a_line() {
    for class in classes() {
        let daemon = class.start_with("", "payload = \"text\"");
        let client = daemon.client("it");
        let evil = b"\x1b[31mred\nINFO forged\r\x00\x07\x7f\xc2\x9b31m\xff\xe2\x80\xaeend";
        client.echo(evil);
        let line = daemon.wait_log(|line| line.contains("wrote "));
        assert!(line.contains(&format!("wrote {} bytes: \"", evil.len())), "{line}");
        for word in ["red\\n", "INFO forged\\r", "end\""] {
            assert!(line.contains(word), "no {word} in {line}");
        }
        let log = daemon.log_bytes();
        let bad = |byte: u8| byte.is_ascii_control() && byte != b'\n';
        assert!(!log.iter().any(|byte| bad(*byte)), "{line:?}");
        for sequence in [&b"\xc2\x9b"[..], b"\xe2\x80\xae", b"\xff", b"\nINFO forged"] {
            assert!(!log.windows(sequence.len()).any(|window| window == sequence), "{sequence:x?}");
        }
    }
}

#[test]
fn payload_tells_who_wrote_what() {
    for class in classes() {
        let daemon = class.start_with_events("payload = \"text\"");
        daemon.client("it").echo(b"hello world\n");
        let written = daemon.wait_event(LogEvent::PayloadReceived, |_| true);
        assert_eq!((&written["listener"], &written["bytes"]), (&"it".into(), &12.into()), "{written}");
        assert!(written["peer"].as_str().unwrap().starts_with(&format!("{}:", class.protocol)), "{written}");
        let message = written["message"].as_str().unwrap();
        assert!(message.ends_with("wrote 12 bytes: \"hello world\\n\""), "{message}");

        let daemon = class.start_with("", "payload = \"hex\"");
        daemon.client("it").echo(b"\x00\xff ~");
        daemon.wait_log(|line| line.trim_end().ends_with("wrote 4 bytes: 00 ff 20 7e"));

        let daemon = class.start();
        daemon.client("it").echo(b"secret");
        daemon.wait_state("it", |state| state["received"] == 6);
        assert!(!daemon.log().contains("secret"));
    }
}

#[test]
fn a_long_payload_is_cut_with_its_length() {
    let daemon = Echod::start(
        "[[listener]]\nname = \"it\"\nprotocol = \"udp\"\naddress = \"127.0.0.1:0\"\npayload = \"text\"\n",
    );
    daemon.client("it").echo(&[b'x'; 30_000]);
    let line = daemon.wait_log(|line| line.contains("wrote 30000 bytes"));
    assert!(line.len() < 2000, "{} bytes", line.len());
}

#[test]
fn json_lines_are_json() {
    let toml = "[log]\nlevel = \"debug\"\nformat = \"json\"\n".to_owned() + LISTENER + "payload = \"text\"\n";
    for (args, toml) in [
        (&[][..], toml.as_str()),
        (&["--log-format", "json"], &(LISTENER.to_owned() + "payload = \"hex\"\n")),
    ] {
        let mut daemon = Launch::new().config(toml).args(args).start();
        daemon.client("it").echo(b"\x1b\"quoted\"\n");
        daemon.state_is_said();
        daemon.stop();
        let log = daemon.log();
        assert!(log.lines().count() >= 3, "{log}");
        for line in log.lines() {
            let value = serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(["message", "level", "event"].iter().all(|key| value[key].is_string()), "{line}");
        }
    }
}

/// The flag beats the environment, which beats the file; `-v` and `-q` move from there.
#[test]
fn levels_have_an_order_of_precedence() {
    let quiet = format!("[log]\nlevel = \"error\"\n{LISTENER}");
    let says = |launch: Launch| {
        let mut daemon = launch.start();
        daemon.client("it").echo(b"x");
        daemon.stop();
        daemon.log().contains("serving echo")
    };
    assert!(says(Launch::new().config(LISTENER)));
    assert!(!says(Launch::new().config(&quiet)));
    assert!(says(Launch::new().config(&quiet).env("ECHOD_LOG", "info")));
    assert!(!says(Launch::new().config(LISTENER).env("ECHOD_LOG", "warn")));
    assert!(says(Launch::new().config(&quiet).env("ECHOD_LOG", "error").args(&["--log-level", "info"])));
    assert!(!says(Launch::new().config(LISTENER).args(&["-q"])));
    assert!(says(Launch::new().config(&quiet).args(&["-vv"])));
    assert!(says(Launch::new().config(&quiet).args(&["-v", "-v", "-v", "-q"])));
}

impl Echod {
    /// Makes the daemon log its state, in whatever format.
    fn state_is_said(&self) {
        self.signal(nix::sys::signal::Signal::SIGUSR1);
        self.wait_log(|line| line.contains("open 0, served 1") || line.contains("open 1, served 1"));
    }
}
