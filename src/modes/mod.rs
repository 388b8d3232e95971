//! How a listener is served: who waits while a client is.
//!
//! Every strategy is a function that serves until the listener's gate is closed and its last client is gone. There is
//! no trait: the match below is all that knows them.

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

pub use availability::settle;

pub(crate) use crate::modes::forking::process_group::HAND_OVER;

/// Serves `sockets` to the end. A forking listener must be served in a process of its own, with a single thread.
///
/// # Errors
/// A failure that has ended it. One of the start is told to who waits for that, see [`crate::serve::context::Startup`].
pub fn serve(context: &Arc<ListenerContext>, mut sockets: Vec<Listener>) -> io::Result<()> {
    let stream = context.settings.protocol.is_stream();
    name_task(&context.settings.name, context.settings.mode);
    if !context.settings.mode.is_event_loop() {
        sockets = sockets.into_iter().flat_map(Listener::separate).collect();
    }
    match (context.settings.mode, stream, context.pool()) {
        // A pool of one: somebody must be there to close the door while the worker is busy.
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

/// How many workers of a listener report that they are prepared; of a forking one the process does, for all.
pub fn workers(settings: &config::Listener) -> usize {
    let is_pool = !matches!(settings.mode, Mode::Iterative | Mode::Forking);
    if is_pool && settings.workers != Workers::PerRequest { settings.pool() } else { 1 }
}

/// What one worker of a pool does, a thread and a process alike: the iterative mode.
fn work(context: &ListenerContext, sockets: &[Listener], worker: usize, workers: usize) -> io::Result<()> {
    name_task(&context.settings.name, format_args!("worker-{}", worker + 1));
    if context.settings.protocol.is_stream() {
        return iterative::stream(context, sockets);
    }
    // No datagram holds a worker up: with a socket to itself it need not ask which one to read.
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
