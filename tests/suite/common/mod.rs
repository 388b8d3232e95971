//! What every test needs: a daemon of its own, clients with deadlines, and a look into `/proc`.

mod client;
mod daemon;
mod launch;
mod manager;
pub(crate) mod netns;
mod port;
pub(crate) mod proc;
mod toml;

use std::{
    process::Child,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

pub(crate) use client::{Client, Endpoint, LONG, MIB, pattern};
pub(crate) use daemon::Echod;
pub(crate) use launch::{Finished, Launch, is_locked_in, locked_in};
pub(crate) use manager::Manager;
pub(crate) use port::port_of_nobody;
pub(crate) use toml::{it, listener};

/// How long anything may take before a test gives up: far more than it ever needs, so that only a hang meets it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `probe` again and again until it has an answer. The one place in the suite that sleeps.
///
/// # Panics
/// Says `what` was awaited when there is no answer within [`PATIENCE`].
pub(crate) fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    poll(probe).unwrap_or_else(|| panic!("waited {PATIENCE:?} in vain for {what}"))
}

/// As [`eventually`], for those who have something to do before they panic.
pub(crate) fn poll<T>(mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = probe();
        if answer.is_some() || Instant::now() > deadline {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Ends the threads of a test that look at it, also when the test fails.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A process that ends with its test, also when that fails.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
