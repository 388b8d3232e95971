//! Modes: how many clients of one listener are served at a time, and whether a thread, a process or an event loop waits while
//! a client is slow. Every mode is a function that serves until the listener is closed and its last connection has ended.
//! There is no trait: the `match` in [`serve`] is the only place that knows all modes.
//!
//! In: the context of a listener and its listening sockets. Out: accepted connections for `stream`, batches of datagrams for
//! `serve::datagram`, and the failure that ended the listener, if any.
//!
//! Read `iterative`, `threading` and `forking` side by side: one loop, which differs only in what serves the client. Then
//! `threading/pool` and `forking/per_request` (what serves it), and `event_loop` (many clients in one thread). `workers`
//! restarts threads that fail, `backlog_drain` serves the backlog at shutdown, `availability` decides whether io_uring can be
//! had.

use std::{io, sync::Arc};

use crate::{
    config::{self, Mode, Workers},
    serve::context::ListenerContext,
    socket::listener::Listener,
    sys::task_name::name_task,
};

mod availability;
mod backlog_drain;
mod event_loop;
mod forking;
mod iterative;
mod threading;
mod workers;

pub use availability::resolve_fallbacks;

pub(crate) use crate::modes::forking::process_group::HAND_OVER;

/// Serves `sockets` until the listener is closed and its last connection has ended. A forking listener must be served in a
/// single-threaded process of its own.
///
/// # Errors
/// The failure that ended the listener. A failure to start is reported through [`crate::serve::context::Startup`] instead.
pub fn serve(context: &Arc<ListenerContext>, mut sockets: Vec<Listener>) -> io::Result<()> {
    let stream = context.settings.protocol.is_stream();
    name_task(&context.settings.name, context.settings.mode);
    if !context.settings.mode.is_event_loop() {
        sockets = sockets.into_iter().flat_map(Listener::separate).collect();
    }
    match (context.settings.mode, stream, context.pool()) {
        // A pool of one: while its worker is busy, the calling thread closes the listening sockets at shutdown.
        (Mode::Iterative, true, _) => threading::pool(context, &sockets, 1),
        (Mode::Iterative, false, _) => {
            workers::keep(context, || iterative::datagrams(context, &all(&sockets)))
        }
        (Mode::Threading, true, None) => {
            let ended = workers::keep(context, || threading::stream(context, &mut sockets));
            backlog_drain::refuse(context, &sockets);
            ended
        }
        (Mode::Threading, false, None) => {
            let sockets = Arc::new(sockets);
            workers::keep(context, || threading::datagrams(context, &sockets))
        }
        (Mode::Threading, _, Some(workers)) => threading::pool(context, &sockets, workers),
        (Mode::Forking, true, None) => forking::stream(context, sockets),
        (Mode::Forking, false, None) => forking::datagrams(context, sockets),
        (Mode::Forking, _, Some(workers)) => forking::pool(context, sockets, workers),
        (Mode::Select | Mode::Poll | Mode::Epoll | Mode::IoUring, _, workers) => {
            crate::modes::event_loop::start::serve(context, sockets, workers.unwrap_or(1))
        }
    }
}

/// Number of workers that report to [`crate::serve::context::Startup`] that they are prepared. It is 1 for a forking
/// listener: its process reports for all of its workers.
pub fn workers(settings: &config::Listener) -> usize {
    let is_pool = !matches!(settings.mode, Mode::Iterative | Mode::Forking);
    if is_pool && settings.workers != Workers::PerRequest { settings.pool() } else { 1 }
}

/// The body of a pool worker, thread or process: mode iterative.
fn work(context: &ListenerContext, sockets: &[Listener], worker: usize, workers: usize) -> io::Result<()> {
    name_task(&context.settings.name, format_args!("worker-{}", worker + 1));
    if context.settings.protocol.is_stream() {
        return iterative::stream(context, sockets);
    }
    // A datagram never keeps a worker busy, so no worker has to watch all sockets; one with a single socket receives without
    // polling.
    let count = sockets.len();
    let share: Vec<&Listener> = match workers >= count {
        true => vec![&sockets[worker % count]],
        false => sockets.iter().skip(worker).step_by(workers).collect(),
    };
    iterative::datagrams(context, &share)
}

fn all(sockets: &[Listener]) -> Vec<&Listener> {
    sockets.iter().collect()
}
