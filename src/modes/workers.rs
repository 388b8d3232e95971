//! Workers that are threads of the daemon: event loops, pools, and the one thread that accepts. They start together, and one that
//! ends before its time starts again.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

use log::{error, warn};

use crate::modes::threading::pool::STACK;
use crate::serve::context::ListenerContext;

/// The longest rest before a worker starts again: its sockets stay open meanwhile, and clients wait there.
const LONGEST: Duration = Duration::from_secs(1);

/// The rest after the second failure in a row; the first one is followed by none.
const FIRST: Duration = Duration::from_millis(50);

/// So many failures in a row end the listener.
const MOST: u32 = 10;

/// A worker that has lived for so long did not fail because of its start.
const HEALTHY: Duration = Duration::from_secs(10);

/// Serves with a thread for each of `lives`, and with the calling thread, which does `own`.
///
/// # Errors
/// The first failure that has ended a worker for good, and the others with it.
pub(super) fn spawn<L: FnOnce() -> io::Result<()> + Send>(
    context: &ListenerContext,
    lives: impl Iterator<Item = L>,
    own: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    thread::scope(|scope| {
        let mut started = Vec::new();
        for live in lives {
            match thread::Builder::new().stack_size(STACK).spawn_scoped(scope, live) {
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

/// Does `work` until it ends in its time. What fails before the start is over is the failure of the start. Afterwards a worker
/// that fails or panics starts again, and ends the whole listener if that does not help: no socket stays open that nobody
/// accepts at.
pub(super) fn keep(context: &ListenerContext, mut work: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let name = &context.settings.name;
    let mut failures = 0;
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
        failures = if since.elapsed() >= HEALTHY { 0 } else { failures + 1 };
        if failures >= MOST {
            error!(listener = name; "listener \"{name}\": a worker has failed {failures} times in a row: {cause}; the listener stops");
            context.stop();
            return Err(cause);
        }
        let rest = match failures {
            0 | 1 => Duration::ZERO,
            n => (FIRST * 2u32.saturating_pow(n - 2)).min(LONGEST),
        };
        warn!(listener = name; "listener \"{name}\": a worker was lost: {cause}; it starts again in {rest:?}");
        context.slots.rest(rest);
    }
}

/// A panic as an error. What it left half done is not to be used any more, but to be closed.
pub(super) fn catch(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let panicked = |_| Err(io::Error::other("it panicked"));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}
