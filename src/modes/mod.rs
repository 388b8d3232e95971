//! How a listener is served: who waits while a client is.
//!
//! Every strategy is a function that serves until the listener's gate is closed and its last client is gone. There is
//! no trait: the match below is all that knows them.

use std::{io, sync::Arc};

use crate::{
    config::{self, Mode, Workers},
    serve::context::Duty,
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
pub fn serve(duty: &Arc<Duty>, mut sockets: Vec<Listener>) -> io::Result<()> {
    let stream = duty.settings.protocol.is_stream();
    name_task(&duty.settings.name, duty.settings.mode);
    if !duty.settings.mode.is_event_loop() {
        sockets = sockets.into_iter().flat_map(Listener::separate).collect();
    }
    match (duty.settings.mode, stream, duty.pool()) {
        // A pool of one: somebody must be there to close the door while the worker is busy.
        (Mode::Iterative, true, _) => threading::pool(duty, &sockets, 1),
        (Mode::Iterative, false, _) => workers::keep(duty, || iterative::datagrams(duty, &all(&sockets))),
        (Mode::Threading, true, None) => {
            let ended = workers::keep(duty, || threading::stream(duty, &mut sockets));
            backlog_drain::refuse(duty, &sockets);
            ended
        }
        (Mode::Threading, false, None) => {
            let sockets = Arc::new(sockets);
            workers::keep(duty, || threading::datagrams(duty, &sockets))
        }
        (Mode::Threading, _, Some(workers)) => threading::pool(duty, &sockets, workers),
        (Mode::Forking, true, None) => forking::stream(duty, sockets),
        (Mode::Forking, false, None) => forking::datagrams(duty, sockets),
        (Mode::Forking, _, Some(workers)) => forking::pool(duty, sockets, workers),
        (Mode::Select | Mode::Poll | Mode::Epoll | Mode::IoUring, _, workers) => {
            crate::modes::event_loop::start::serve(duty, sockets, workers.unwrap_or(1))
        }
    }
}

/// How many workers of a listener report that they are prepared; of a forking one the process does, for all.
pub fn workers(settings: &config::Listener) -> usize {
    let is_pool = !matches!(settings.mode, Mode::Iterative | Mode::Forking);
    if is_pool && settings.workers != Workers::PerRequest { settings.pool() } else { 1 }
}

/// What one worker of a pool does, a thread and a process alike: the iterative mode.
fn work(duty: &Duty, sockets: &[Listener], worker: usize, workers: usize) -> io::Result<()> {
    name_task(&duty.settings.name, format_args!("worker-{}", worker + 1));
    if duty.settings.protocol.is_stream() {
        return iterative::stream(duty, sockets);
    }
    // No datagram holds a worker up: with a socket to itself it need not ask which one to read.
    let count = sockets.len();
    let share: Vec<&Listener> = match workers >= count {
        true => vec![&sockets[worker % count]],
        false => sockets.iter().skip(worker).step_by(workers).collect(),
    };
    iterative::datagrams(duty, &share)
}

fn all(sockets: &[Listener]) -> Vec<&Listener> {
    sockets.iter().collect()
}
