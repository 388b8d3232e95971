//! Worker threads of a listener: event loops, pools, and the single acceptor of modes that have one. They start together, and
//! a worker that fails is restarted.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

use log::{error, warn};

use crate::{
    modes::threading::pool::STACK,
    report::log_event::{LogEvent, millis},
    serve::{
        backoff::{Backoff, HEALTHY},
        context::ListenerContext,
    },
};

/// Longest back-off before a worker is restarted; its sockets stay open, and clients wait in the backlog.
const LONGEST: Duration = Duration::from_secs(1);

/// Back-off after the second failure in a row; after the first, the worker restarts at once.
const FIRST: Duration = Duration::from_millis(50);

/// Failures in a row after which the listener stops.
const MOST: u32 = 10;

/// Runs each of `bodies` in a thread, and `own` in the calling thread, until all have ended.
///
/// # Errors
/// The first failure that ended a worker for good.
pub(super) fn spawn<L: FnOnce() -> io::Result<()> + Send>(
    context: &ListenerContext,
    bodies: impl Iterator<Item = L>,
    own: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    thread::scope(|scope| {
        let mut started = Vec::new();
        for body in bodies {
            match thread::Builder::new().stack_size(STACK).spawn_scoped(scope, body) {
                Ok(thread) => started.push(thread),
                Err(error) => {
                    context.give_up_start(Some(error));
                    break;
                }
            }
        }
        let ours = own();
        let panicked = |_| Err(io::Error::other("a worker panicked"));
        started.into_iter().fold(ours, |ended, thread| ended.and(thread.join().unwrap_or_else(panicked)))
    })
}

/// Runs `work`, and restarts it with a back-off when it fails or panics. After `MOST` failures in a row the listener stops,
/// so that no socket stays open at which no worker accepts. A failure before the start is complete fails the start instead.
pub(super) fn keep(context: &ListenerContext, mut work: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let name = &context.settings.name;
    let mut failures = 0;
    let mut backoff = Backoff::new(FIRST, LONGEST);
    loop {
        let since = Instant::now();
        let Err(cause) = catch(&mut work) else { return Ok(()) };
        if !context.startup.has_begun() {
            context.give_up_start(Some(cause));
            return Ok(());
        }
        if context.slots.is_closed() {
            return Err(cause);
        }
        if since.elapsed() >= HEALTHY {
            failures = 0;
            backoff.reset();
        } else {
            failures += 1;
        }
        if failures >= MOST {
            error!(
                event = LogEvent::WorkerFailed, listener = name, error:% = cause, failures;
                "listener \"{name}\": a worker has failed {failures} times in a row: {cause}; the listener stops"
            );
            context.stop();
            return Err(cause);
        }
        let rest = match failures {
            0 | 1 => Duration::ZERO,
            _ => backoff.wait(),
        };
        warn!(
            event = LogEvent::WorkerLost, listener = name, error:% = cause, retry_ms = millis(rest);
            "listener \"{name}\": a worker was lost: {cause}; it starts again in {rest:?}"
        );
        context.slots.wait(rest);
    }
}

/// Turns a panic into an error. The caller must close, and not use, what the panic left half done.
pub(super) fn catch(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let panicked = |_| Err(io::Error::other("it panicked"));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}
