//! A listener that fails, fails aloud: at its start, at a reload, and later.

mod begin;
mod lost;
mod memory;
mod replaced;
mod shortage;

use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, getrlimit};

use crate::harness::{Echod, has_mode, proc, skipped};

/// Every mode that waits in its own way, with several workers where it can have them.
const MODES: [(&str, &str); 10] = [
    ("iterative", ""),
    ("threading", ""),
    ("threading", "workers = 3"),
    ("forking", ""),
    ("forking", "workers = 3"),
    ("select", "workers = 3"),
    ("poll", "workers = 3"),
    ("epoll", "workers = 3"),
    ("epoll", "trigger = \"edge\""),
    ("io-uring", "workers = 3"),
];

/// The modes that can be had here, and may come in later: see `reload`.
fn modes() -> impl Iterator<Item = (&'static str, String)> {
    let may = |mode: &str| {
        has_mode(mode) && !(crate::harness::is_locked_in() && ["forking", "io-uring"].contains(&mode))
    };
    MODES
        .into_iter()
        .filter(move |(mode, _)| may(mode))
        .map(|(mode, more)| (mode, format!("mode = \"{mode}\"\n{more}")))
}

/// Lets a daemon open descriptors below this number only; false, with a loud word, where that cannot be done. `None` takes that
/// back.
fn limit_descriptors(daemon: &Echod, below: Option<usize>) -> bool {
    let below = below.map_or(String::new(), |below| below.to_string());
    // Without a number before the colon the limit becomes the hard one.
    let limit = if below.is_empty() { hard_limit(daemon) } else { format!("{below}:") };
    let pid = daemon.pid().to_string();
    let done = Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={limit}")])
        .stdin(Stdio::null())
        .status();
    let done = done.is_ok_and(|status| status.success());
    if !done {
        skipped(
            "prlimit is not installed, or may not limit a daemon, which was not tested without descriptors",
        );
    }
    done
}

fn hard_limit(daemon: &Echod) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    format!("{}:", line.split_whitespace().nth(4).unwrap())
}

/// The lowest number that no descriptor of the daemon has, nor any above it.
fn end_of_descriptors(daemon: &Echod) -> usize {
    proc::descriptors(daemon.pid()).len()
}

/// Whether there can be so many open files; says so where there cannot.
fn can_have(descriptors: usize) -> bool {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let can = hard >= 2 * descriptors as u64;
    if !can {
        skipped(format_args!("the limit of open files is {hard}, too low for {descriptors} connections"));
    }
    can
}
