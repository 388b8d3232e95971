//! Where the log goes: a file, syslog, the journal.

use std::{fs, os::unix::net::UnixDatagram};

use nix::sys::signal::Signal;

use crate::common::{Launch, PATIENCE, eventually, it, may_mount, skipped};

/// As logrotate does it: the file is moved away, the daemon is told, and goes on in a new one; also the process of a forking
/// listener, and also when the configuration is broken.
#[test]
fn a_log_file_is_opened_again() {
    for mode in ["threading", "forking"] {
        let toml = format!("[log]\ntarget = \"file\"\nfile = \"log\"\n{}", it(&format!("mode = \"{mode}\"")));
        let mut daemon = Launch::new().config(&toml).start();
        daemon.client("it").echo(b"before");
        let read = |name: &str| fs::read_to_string(daemon.path(name)).unwrap_or_default();
        eventually("the first line", || read("log").contains("6 bytes in").then_some(()));
        fs::rename(daemon.path("log"), daemon.path("log.1")).unwrap();
        daemon.signal(Signal::SIGHUP);
        eventually("the new file", || read("log").contains("reloaded: ").then_some(()));
        daemon.client("it").echo(b"and after");
        eventually("a line in it", || read("log").contains("9 bytes in").then_some(()));
        fs::rename(daemon.path("log"), daemon.path("log.2")).unwrap();
        fs::write(daemon.path("echod.toml"), "nonsense").unwrap();
        daemon.signal(Signal::SIGHUP);
        eventually("the file after", || read("log").contains("not reloaded: ").then_some(()));
        assert!(!read("log.1").contains("9 bytes in"));
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
    let socket = UnixDatagram::bind(launch.dir().join(socket)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
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
    assert!(header.starts_with("<30>") && header.as_bytes()[13] == b':', "{header}");
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
    assert!(
        lines[0].starts_with(
            "PRIORITY=6\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=echod\nMESSAGE=listener \"it\": serving"
        ),
        "{lines:?}"
    );
    let last = lines.last().unwrap();
    assert!(
        last.contains("\nECHOD_LISTENER=it\nMESSAGE=listener \"it\": tcp://") && last.ends_with('\n'),
        "{last}"
    );
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
