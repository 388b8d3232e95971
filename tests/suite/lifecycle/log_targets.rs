//! Where the log goes: a file, syslog, the journal.

use std::fs;

use echod::report::log_event::LogEvent;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Launch, Patient, events_in, eventually, it, may_mount, skipped};

/// As logrotate does it: the file is moved away, the daemon is told, and goes on in a new one; also the process of a forking
/// listener, and also when the configuration is broken.
#[test]
fn a_log_file_is_opened_again() {
    for mode in ["threading", "forking"] {
        let log = "[log]\ntarget = \"file\"\nfile = \"log\"\nformat = \"json\"\n";
        let toml = format!("{log}{}", it(&format!("mode = \"{mode}\"")));
        let mut daemon = Launch::new().config(&toml).start();
        daemon.client("it").echo(b"before");
        let read = |name: &str| fs::read_to_string(daemon.path(name)).unwrap_or_default();
        let has = |name: &str, event, key: &str, value: Value| {
            events_in(&read(name), event).iter().any(|found| found[key] == value)
        };
        let received = |bytes: u64| has("log", LogEvent::ConnectionClosed, "bytes_received", bytes.into());
        eventually("the first line", || received(6).then_some(()));
        fs::rename(daemon.path("log"), daemon.path("log.1")).unwrap();
        daemon.signal(Signal::SIGHUP);
        let reloaded = || has("log", LogEvent::ReloadDone, "listeners", 1.into());
        eventually("the new file", || reloaded().then_some(()));
        daemon.client("it").echo(b"and after");
        eventually("a line in it", || received(9).then_some(()));
        fs::rename(daemon.path("log"), daemon.path("log.2")).unwrap();
        fs::write(daemon.path("echod.toml"), "nonsense").unwrap();
        daemon.signal(Signal::SIGHUP);
        let refused = || !events_in(&read("log"), LogEvent::ReloadRefused).is_empty();
        eventually("the file after", || refused().then_some(()));
        assert!(!has("log.1", LogEvent::ConnectionClosed, "bytes_received", 9.into()));
        daemon.stop();
        assert!(daemon.log().is_empty(), "nothing is on standard error: {}", daemon.log());
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_told() {
    let toml = |log: &str| format!("[log]\ntarget = \"file\"\n{log}\n{}", it(""));
    let run = |log: &str| Launch::new().config(&toml(log)).run();
    run("file = \"nowhere/log\"").expect(69, &["cannot log to nowhere/log: ", "choose another `target`"]);
    run("").expect(78, &["echod.toml:2:10", "this target needs a `file`"]);
    let daemon = Launch::new().config(&it("")).start();
    daemon.reload(&toml("file = \"nowhere/log\""));
    daemon.wait_log(|line| line.contains("cannot log to nowhere/log"));
    daemon.client("it").echo(b"as before");
}

/// systemd.exec(5): standard error that is the journal's is told to the service; then each line begins with its priority.
#[test]
fn lines_for_the_journal_have_priorities() {
    let script = "JOURNAL_STREAM=$(stat -Lc %d:%i /dev/stderr) exec \"$0\" \"$@\"";
    let launch = Launch::new().args(&["-l", "tcp://127.0.0.1:0?name=it&mode=forking"]).shell(script);
    let mut daemon = launch.env("NOTIFY_SOCKET", "/nowhere").start();
    daemon.client("it").echo(b"hello");
    daemon.stop();
    let log = daemon.log();
    assert!(log.contains("<6>listener \"it\": serving echo"), "{log}");
    assert!(log.contains("<6>listener \"it\": tcp://"), "{log}");
    assert!(log.contains("<4>cannot tell the service manager"), "{log}");
    assert!(log.lines().all(|line| line.starts_with('<')), "{log}");
}

/// Also what is said before there is a log: why the daemon does not start.
#[test]
fn what_prevents_a_start_is_an_error_in_the_journal() {
    let script = "JOURNAL_STREAM=$(stat -Lc %d:%i /dev/stderr) exec \"$0\" \"$@\"";
    let run = |arguments: &[&str]| Launch::new().args(arguments).shell(script).run();
    for (arguments, exit, word) in [
        (["-l", "tcp://127.0.0.1:0?max-conections=3"], 64, "did you mean"),
        (["-l", "unix:/nowhere/echod.sock?max-connections=9"], 69, "cannot bind"),
        (["--listne", "tcp://127.0.0.1:0"], 64, "--listen"),
    ] {
        let outcome = run(&arguments);
        outcome.expect(exit, &[word]);
        assert!(outcome.stderr.lines().all(|line| line.starts_with("<3>")), "{}", outcome.stderr);
    }
}

/// In a mount namespace of its own, because the addresses of both daemons are fixed.
const SYSLOG: &str = "exec unshare --mount sh -ec '
    mkdir dev; for each in null log; do touch dev/$each; done
    mount --bind /dev/null dev/null; mount --bind syslog dev/log; mount --rbind dev /dev
    exec \"$0\" \"$@\"' \"$0\" \"$@\"";

const NOT_SENT: &str = "nothing was sent to syslog or the journal";

const JOURNAL: &str = "exec unshare --mount sh -ec '
    mkdir -p run/systemd/journal; touch run/systemd/journal/socket
    mount --bind journal run/systemd/journal/socket; mount --rbind run /run
    exec \"$0\" \"$@\"' \"$0\" \"$@\"";

/// Starts a daemon that logs to `target`, and returns what arrives at `socket` until a connection has ended.
fn logged(target: &str, script: &'static str, socket: &str) -> Vec<String> {
    let toml = format!("[log]\ntarget = \"{target}\"\n{}", it("mode = \"forking\"\npayload = \"text\""));
    let launch = Launch::new().config(&toml).shell(script);
    let socket = Patient::unix(&launch.dir().join(socket));
    let mut daemon = launch.start();
    daemon.client("it").echo(b"hel\nlo");
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|line: &String| line.contains("6 bytes in")) {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("a line of the log");
        lines.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
    }
    // It is there if the whole suite is run so.
    lines.retain(|line| !line.contains("sandbox: "));
    daemon.stop();
    lines
}

#[test]
fn syslog_gets_each_line_as_a_datagram() {
    if !may_mount(NOT_SENT) {
        return;
    }
    let lines = logged("syslog", SYSLOG, "syslog");
    // <30> is daemon.info; then the time as in `Nov  3 07:05:09`.
    let (header, message) = lines[0].split_at("<30>Nov  3 07:05:09 ".len());
    assert!(header.starts_with("<30>") && header.as_bytes()[13] == b':', "{lines:?}");
    let (name, message) = message.split_once(": ").unwrap();
    assert!(name.starts_with("echod[") && name.ends_with(']'), "{name}");
    assert!(message.starts_with("listener \"it\": serving echo"), "{message}");
    assert!(lines.iter().any(|line| line.contains(" wrote 6 bytes: \"hel\\nlo\"")), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
}

#[test]
fn the_journal_gets_each_line_with_its_fields() {
    if !may_mount(NOT_SENT) {
        return;
    }
    let lines = logged("journald", JOURNAL, "journal");
    let first = "PRIORITY=6\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=echod\nECHOD_EVENT=listener.serving\n\
                 ECHOD_LISTENER=it\nECHOD_SERVICE=echo\nECHOD_ADDRESS=tcp://";
    assert!(
        lines[0].starts_with(first) && lines[0].contains("\nMESSAGE=listener \"it\": serving"),
        "{lines:?}"
    );
    let fields: Vec<_> = lines.last().unwrap().lines().collect();
    for field in [
        "ECHOD_EVENT=connection.closed",
        "ECHOD_LISTENER=it",
        "ECHOD_BYTES_RECEIVED=6",
        "ECHOD_BYTES_SENT=6",
        "ECHOD_REASON=peer-closed",
    ] {
        assert!(fields.contains(&field), "no {field} in {fields:?}");
    }
    let begins = |name: &str| fields.iter().any(|field| field.starts_with(name));
    assert!(begins("ECHOD_PEER=tcp://127.0.0.1:") && begins("ECHOD_DURATION_US="), "{fields:?}");
    assert!(begins("MESSAGE=listener \"it\": tcp://") && !begins("ECHOD_ERRNO"), "{fields:?}");
}

#[test]
fn a_log_daemon_that_is_not_there_is_told() {
    if fs::exists("/run/systemd/journal/socket").unwrap() {
        return skipped("there is a journal on this machine");
    }
    let toml = format!("[log]\ntarget = \"journald\"\n{}", it(""));
    Launch::new()
        .config(&toml)
        .run()
        .expect(69, &["cannot log to the journal: /run/systemd/journal/socket: "]);
}
