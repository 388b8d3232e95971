//! Turns signals into values: one thread waits for them and sends them to the supervisor. All other threads block them.

use std::{io, sync::mpsc::Sender};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1},
    iterator::Signals,
};

use super::named_thread;
use crate::sys::{interrupt, pending, worker_state};

/// The signals that the daemon acts on.
const HANDLED: [i32; 6] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGCHLD];

/// Blocks all signals in this thread and in those it starts, except for the two that interrupt and wake workers. To be called
/// first of all.
pub fn block() -> io::Result<()> {
    interrupt::on(interrupt::SIGNAL);
    worker_state::on();
    let mut all = interrupt::blockable();
    all.remove(Signal::SIGURG);
    all.remove(Signal::SIGWINCH);
    all.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    Ok(())
}

/// Whether a signal to stop is pending. Between [`block`] and [`forward`] no thread receives signals, so every wait in that time
/// has to check.
pub fn is_stop_pending() -> bool {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT].into_iter().any(pending::is_pending)
}

/// Starts the thread that sends each signal to `events`, until the receiver is dropped.
pub fn forward<E: Send + 'static>(
    events: Sender<E>,
    event: impl Fn(i32) -> E + Send + 'static,
) -> io::Result<()> {
    let mut signals = Signals::new(HANDLED)?;
    let wait = move || {
        let _ = SigSet::empty().thread_set_mask();
        for signal in signals.forever() {
            if events.send(event(signal)).is_err() {
                return;
            }
        }
    };
    named_thread::spawn("signals", 64 << 10, wait).map(|_| ())
}
