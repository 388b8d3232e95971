//! Starts the event loops of a listener: one thread each, over the poller that its mode names.

use std::io;

use crate::{
    config::{Mode, Trigger},
    modes::{backlog_drain, event_loop, workers},
    serve::context::ListenerContext,
    socket::listener::Listener,
    sys::{
        poller::{Epoll, Poll, Select},
        ring::Ring,
        task_name::name_task,
    },
};

/// Serves `sockets` with `workers` loops. A socket in a SO_REUSEPORT group gives each loop a sibling of its own, among which
/// the kernel distributes the clients (socket(7)); any other socket is shared by all loops.
pub(crate) fn serve(context: &ListenerContext, mut sockets: Vec<Listener>, workers: usize) -> io::Result<()> {
    let mut shares = Vec::new();
    for _ in 1..workers {
        let share: io::Result<Vec<Listener>> = sockets.iter_mut().map(Listener::reuseport_sibling).collect();
        shares.push(share?);
    }
    // An earlier generation may have had more loops: the siblings left over are served as well.
    sockets = sockets.into_iter().flat_map(Listener::separate).collect();
    let bodies = shares.into_iter().zip(2..).map(|(share, number)| move || run(context, share, number));
    workers::spawn(context, bodies, || run(context, sockets, 1))
}

fn run(context: &ListenerContext, mut sockets: Vec<Listener>, number: usize) -> io::Result<()> {
    let mechanism = context.settings.mode.to_string();
    name_task(&context.settings.name, format_args!("{}-{number}", mechanism.trim_start_matches("io-")));
    let ended = workers::keep(context, || work(context, &mut sockets));
    // A loop that failed for good must refuse clients itself: closing its sockets would not, because other threads have
    // copies.
    backlog_drain::refuse(context, &sockets);
    ended
}

fn work(context: &ListenerContext, sockets: &mut Vec<Listener>) -> io::Result<()> {
    match (context.settings.mode, context.settings.trigger) {
        (Mode::Select, _) => event_loop::serve(context, sockets, Select::new()),
        (Mode::Poll, _) => event_loop::serve(context, sockets, Poll::new()),
        (Mode::IoUring, _) => event_loop::serve(context, sockets, Ring::new()?),
        (_, Trigger::Level) => event_loop::serve(context, sockets, Epoll::<false>::new()?),
        (_, Trigger::Edge) => event_loop::serve(context, sockets, Epoll::<true>::new()?),
    }
}
