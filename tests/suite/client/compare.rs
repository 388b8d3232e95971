//! `echod bench --compare`: every mode has its row, and no server outlives the command.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::report::assert_valid;
use crate::harness::{BINARY, Finished, Killed, Launch, eventually, has_mode, proc};

/// An answer that is this late is as good as lost; no machine is so slow.
const QUICK: [&str; 8] = ["-W", "20s", "-d", "20ms", "--rounds", "1", "--warm-up", "1ms"];

fn compare(args: &[&str]) -> Finished {
    let finished = Launch::new().args(&["bench"]).args(&QUICK).args(args).run();
    assert_eq!(left_in(finished.dir.path()), [0; 0], "servers are left");
    finished
}

/// What still works in the directory where the command was started.
fn left_in(dir: &Path) -> Vec<i32> {
    proc::working_in(dir)
}

#[test]
fn each_mode_has_a_row_for_each_number_of_idle_connections() {
    let some = "iterative,forking,epoll";
    let finished = compare(&["--idle", "30,0", "--connections", "2", "-o", "json", "--compare", some]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_valid(&report);
    assert_eq!(report["kind"], "compare");
    let mut expected = Vec::new();
    for mode in ["forking", "epoll"] {
        expected.extend([0, 30].map(|idle| (mode.to_owned(), idle)));
    }
    let rows = report["targets"].as_array().unwrap();
    let server = |row: &Value| row["server"].clone();
    let found: Vec<_> = rows
        .iter()
        .map(|row| (server(row)["mode"].as_str().unwrap().to_owned(), server(row)["idle"].as_u64().unwrap()))
        .collect();
    assert_eq!(found, expected);
    for row in rows {
        let (idle, mode) = (server(row)["idle"].as_u64().unwrap(), server(row)["mode"].clone());
        assert_eq!(row["probes"]["ok"], row["probes"]["sent"], "{row:#}");
        assert_eq!(row["rounds"].as_array().unwrap().len(), 1);
        // Its memory and descriptors with all connections.
        assert!(server(row)["descriptors"].as_u64().unwrap() >= idle + 2, "{row:#}");
        assert!(server(row)["memory_bytes"].as_u64().unwrap() > 100_000, "{row:#}");
        let processes = server(row)["processes"].as_u64().unwrap();
        assert!(if mode == "forking" { processes > idle + 2 } else { processes == 1 }, "{row:#}");
    }
    // The one that serves a connection at a time is named, and left out.
    let warnings = report["warnings"].as_array().unwrap();
    let of = |warning: &&Value| {
        warning["id"] == "left-out" && warning["text"].as_str().unwrap().starts_with("iterative")
    };
    assert_eq!(warnings.iter().filter(of).count(), 2, "{warnings:#?}");
}

#[test]
fn all_modes_are_compared_if_none_is_named() {
    let finished = compare(&["-o", "csv", "--compare"]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let found: Vec<&str> =
        finished.stdout.lines().skip(1).map(|line| line.split(',').nth(2).unwrap()).collect();
    let all = ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"];
    let expected: Vec<&str> = all.into_iter().filter(|mode| has_mode(mode)).collect();
    assert_eq!(found, expected, "{}", finished.stderr);
}

#[test]
fn a_comparison_is_a_table_and_a_picture() {
    let finished =
        compare(&["--compare", "poll,epoll", "--idle", "0,20", "--plot", "a.svg", "--fail-if", "min>1000s"]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let lines: Vec<&str> = finished.stdout.lines().collect();
    let heading: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(heading[..3], ["mode", "idle", "echoes/s"], "{}", finished.stdout);
    for (line, words) in
        lines[1..].iter().zip([["poll", "0"], ["poll", "20"], ["epoll", "0"], ["epoll", "20"]])
    {
        let found: Vec<&str> = line.split_whitespace().take(2).collect();
        assert_eq!(found, words, "{}", finished.stdout);
    }
    assert!(finished.stdout.contains("ok: min<=1000s"), "{}", finished.stdout);
    let svg = std::fs::read_to_string(finished.dir.path().join("a.svg")).unwrap();
    // Of so short a run it may be empty: no curve has fewer than eleven times. The unit tests look at what is drawn.
    assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"), "{svg}");
}

#[test]
fn datagrams_and_unix_sockets_are_compared_too() {
    for url in ["udp://", "unix:", "unix-seqpacket:", "unix-datagram:"] {
        let finished = compare(&[url, "-o", "csv", "--compare", "epoll,epoll-edge"]);
        assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
        let [headings, level, edge] = finished.stdout.lines().collect::<Vec<_>>()[..] else {
            panic!("{}", finished.stdout)
        };
        assert!(headings.starts_with("url,model,mode,idle,"), "{headings}");
        assert!(level.starts_with(url) && level.contains(",closed,epoll,0,"), "{level}");
        assert!(edge.starts_with(url) && edge.contains(",closed,epoll-edge,0,"), "{edge}");
    }
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_starts() {
    for (args, word) in [
        (&["--compare", "kqueue"][..], "io-uring"),
        (&["tcp://127.0.0.1:7", "--compare"], "starts its own servers"),
        (&["udp://", "--compare", "epoll", "--idle", "9"], "datagrams have none"),
        (&["--compare", "epoll", "--hdr", "f"], "--save"),
        (&["--compare", "epoll", "--fail-if", "p9x>1s"], "p9x"),
    ] {
        compare(args).expect(64, &[word]);
    }
    compare(&["--compare", "iterative", "--connections", "2"]).expect(69, &["nothing was measured"]);
}

/// However the command ends, its server ends too.
#[test]
fn no_server_outlives_the_command() {
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(BINARY);
        command.args(["bench", "--compare", "forking", "-d", "600s", "--rounds", "1", "--warm-up", "0s"]);
        command.current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut run = Killed(command.spawn().unwrap());
        let pid: i32 = run.0.id().try_into().unwrap();
        // The daemon, its fork server and the process of a connection.
        eventually("a server with a client", || (proc::descendants(pid).len() >= 3).then_some(()));
        kill(Pid::from_raw(pid), signal).unwrap();
        eventually("the end of the command", || run.0.try_wait().unwrap());
        eventually("the end of its servers", || left_in(dir.path()).is_empty().then_some(()));
    }
}
