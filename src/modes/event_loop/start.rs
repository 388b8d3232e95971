//! The event loops of a listener: a thread each, over the mechanism that its mode names.

use std::io;

use crate::modes::{backlog_drain, event_loop, workers};
use crate::{
    config::{Mode, Trigger},
    serve::context::ListenerContext,
    socket::listener::Listener,
    sys::{
        poller::{Epoll, Poll, Select},
        ring::Ring,
        task_name::name_task,
    },
};

/// Serves `sockets` with so many loops. A socket that has twins (`SO_REUSEPORT`, socket(7)) gives each loop one of its
/// own, among which the kernel shares out the clients; any other socket is shared by all loops.
pub(crate) fn serve(context: &ListenerContext, mut sockets: Vec<Listener>, workers: usize) -> io::Result<()> {
    let mut shares = Vec::new();
    for _ in 1..workers {
        let share: io::Result<Vec<Listener>> = sockets.iter_mut().map(Listener::reuseport_sibling).collect();
        shares.push(share?);
    }
    // A generation before this one may have had more loops.
    sockets = sockets.into_iter().flat_map(Listener::separate).collect();
    let lives = shares.into_iter().zip(2..).map(|(share, number)| move || live(context, share, number));
    workers::spawn(context, lives, || live(context, sockets, 1))
}

fn live(context: &ListenerContext, mut sockets: Vec<Listener>, number: usize) -> io::Result<()> {
    let mechanism = context.settings.mode.to_string();
    name_task(&context.settings.name, format_args!("{}-{number}", mechanism.trim_start_matches("io-")));
    let ended = workers::keep(context, || work(context, &mut sockets));
    // Those of a loop that has failed for good. Others have copies, so that they would stay open.
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
