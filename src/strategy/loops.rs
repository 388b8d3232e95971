//! The event loops of a listener: a thread each, over the mechanism that its mode names.

use std::{io, thread};

use super::{event_loop, threads::STACK};
use crate::{
    config::{Mode, Trigger},
    duty::Duty,
    listener::Listener,
    sys::{
        poller::{Epoll, Poll, Select},
        ring::Ring,
    },
};

/// Serves `sockets` with so many loops. A socket that has twins (`SO_REUSEPORT`, socket(7)) gives each loop one of its
/// own, among which the kernel shares out the clients; any other socket is shared by all loops.
pub(super) fn serve(duty: &Duty, mut sockets: Vec<Listener>, workers: usize) -> io::Result<()> {
    let mut shares = Vec::new();
    for _ in 1..workers {
        let share: io::Result<Vec<Listener>> = sockets.iter_mut().map(Listener::twin).collect();
        shares.push(share?);
    }
    // A generation before this one may have had more loops.
    sockets = sockets.into_iter().flat_map(Listener::separate).collect();
    thread::scope(|scope| {
        let start = |share| {
            let work = move || work(duty, share);
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work)
        };
        let started: Vec<_> = shares.into_iter().map(start).collect();
        if started.iter().any(Result::is_err) {
            duty.stop();
        }
        let ours = work(duty, sockets);
        if ours.is_err() {
            duty.stop();
        }
        started.into_iter().fold(ours, |ended, thread| match thread?.join() {
            Ok(other) => ended.and(other),
            Err(_) => Err(io::Error::other("an event loop panicked")),
        })
    })
}

fn work(duty: &Duty, sockets: Vec<Listener>) -> io::Result<()> {
    match (duty.settings.mode, duty.settings.trigger) {
        (Mode::Select, _) => event_loop::serve(duty, sockets, Select::new()),
        (Mode::Poll, _) => event_loop::serve(duty, sockets, Poll::new()),
        (Mode::IoUring, _) => event_loop::serve(duty, sockets, Ring::new()?),
        (_, Trigger::Level) => event_loop::serve(duty, sockets, Epoll::<false>::new()?),
        (_, Trigger::Edge) => event_loop::serve(duty, sockets, Epoll::<true>::new()?),
    }
}
