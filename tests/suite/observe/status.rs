//! `echod status` and `echod metrics`: what a running daemon says of itself.

use std::process::{Command, Stdio};

use super::observed;
use crate::harness::{BINARY, Echod, Finished, Launch, eventually, is_root, listener, skipped};

/// What a command says of the daemon in whose directory it runs.
pub(crate) fn told(daemon: &Echod, args: &[&str]) -> Finished {
    let output =
        Command::new(BINARY).args(args).current_dir(daemon.path("")).stdin(Stdio::null()).output().unwrap();
    Finished {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        dir: tempfile::tempdir().unwrap(),
    }
}

#[test]
fn the_listeners_of_a_running_daemon_are_shown() {
    let daemon = observed(&(listener("one", "tcp", "mode = \"threading\"") + &listener("two", "udp", "")));
    daemon.client("one").echo(b"hello");
    eventually("the line of the client", || {
        let told = told(&daemon, &["status", "--config", "echod.toml"]);
        assert_eq!(told.status.code(), Some(0), "{}", told.stderr);
        let row = told.stdout.lines().find(|line| line.trim_start().starts_with("one ")).unwrap().to_owned();
        let cells: Vec<_> = row.split_whitespace().collect();
        assert_eq!(cells[..4], ["one", "tcp", "threading", "echo"], "{row}");
        cells.join(" ").contains(" 1 5 B 5 B ").then_some(())
    });
    let json = told(&daemon, &["status", "--config", "echod.toml", "-o", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["listeners"][1]["name"], "two");
    assert_eq!(json["pid"], daemon.pid());
    let by_path = told(&daemon, &["status", "--address", "./observe.sock"]);
    assert!(by_path.stdout.starts_with(&format!(
        "echod {}, pid {}",
        env!("CARGO_PKG_VERSION"),
        daemon.pid()
    )));
    let metrics = told(&daemon, &["metrics", "--address", "unix:observe.sock"]);
    assert!(
        metrics.stdout.contains("echod_received_bytes_total{listener=\"one\"} 5\n"),
        "{}",
        metrics.stdout
    );
}

#[test]
fn what_keeps_from_asking_is_told_with_its_cure() {
    let without = Launch::new().args(&["status", "--config", "it.toml"]);
    std::fs::write(without.dir().join("it.toml"), listener("it", "tcp", "")).unwrap();
    without.run().expect(69, &["has no [observe]", "address = \"unix:/run/echod/observe.sock\""]);
    let gone = Launch::new().args(&["status", "--address", "unix:gone.sock"]);
    gone.run().expect(69, &["unix:gone.sock", "no such file"]);
    Launch::new().args(&["status", "--address", "nonsense"]).run().expect(64, &["--address"]);
}

#[test]
fn who_may_not_ask_is_told_what_to_do() {
    if !is_root() {
        return skipped("only root can ask as another user");
    }
    let daemon = observed(&listener("it", "tcp", ""));
    let path = daemon.path("observe.sock");
    let mut directory = std::fs::metadata(daemon.path("")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut directory, 0o755);
    std::fs::set_permissions(daemon.path(""), directory).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["status", "--address"]).arg(&path).stdin(Stdio::null());
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    let output = match command.output() {
        Ok(output) => output,
        // The binary may be where nobody else can reach it.
        Err(error) => return skipped(format_args!("another user cannot run the binary: {error}")),
    };
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{text}");
    assert!(text.contains("permission denied") && text.contains("socket-mode"), "{text}");
}
