//! SIGHUP: the configuration is read again, and nobody notices but those whom it concerns.

mod addresses;
mod daemon;
mod listeners;
mod succession;
mod whole;

use crate::harness::is_locked_in;

/// Every mode that waits in its own way, with the workers that make it another one.
const MODES: [(&str, &str); 13] = [
    ("epoll", ""),
    ("iterative", ""),
    ("threading", ""),
    ("epoll", "workers = 3"),
    ("forking", ""),
    ("threading", "workers = 2"),
    ("select", ""),
    ("forking", "workers = 2"),
    ("io-uring", ""),
    ("poll", "workers = 2"),
    ("io-uring", "workers = 2"),
    ("epoll", "trigger = \"edge\""),
    ("epoll", ""),
];

/// Those that a reload may bring in: a sandbox is made without the system calls of the others.
pub(crate) fn modes() -> Vec<(&'static str, &'static str)> {
    let may = |mode: &str| !is_locked_in() || !["forking", "io-uring"].contains(&mode);
    MODES.into_iter().filter(|(mode, _)| may(mode)).collect()
}
