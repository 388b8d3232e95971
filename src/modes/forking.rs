//! A process for each connection or datagram, or a fixed pool of processes. Runs in a process of its own that never has
//! a second thread (see `fork_server`), so that its forks are safe.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use log::{error, warn};
use nix::{sys::wait::WaitStatus, unistd::Pid};

use super::{backlog_drain, work};
use crate::modes::forking::{
    per_request::ForkPerRequest,
    pool_start::PoolStart,
    process_group::{ProcessGroup, cause},
};
use crate::{
    access::slots::PoolProcess,
    report::logging,
    serve::{
        backoff::Backoff,
        context::{Acceptor, ListenerContext, Startup},
        datagram::{self, DatagramReceiver},
        listener_set::LingerList,
    },
    socket::listener::Listener,
    stream::connection::SCRATCH,
    sys::shared::{Mapping, SharedArray},
};

pub(super) mod child_report;
pub(super) mod child_table;
pub(super) mod per_request;
pub(super) mod pool_start;
pub(super) mod process_group;

/// How often workers that are to leave the door are nudged.
const WAKE_INTERVAL: Duration = Duration::from_millis(1);

/// A process for each connection (`ForkingMixIn`).
pub(super) fn stream(context: &ListenerContext, sockets: Vec<Listener>) -> io::Result<()> {
    let mut children = ForkPerRequest::new(context, &sockets)?;
    let mut scratch = Mapping::new(SCRATCH)?;
    if !context.startup.meet() {
        return Ok(());
    }
    let (ended, refused) = context.worker_states.register(|worker| {
        let mut acceptor = Acceptor::new(context, &sockets, worker, true)?;
        while let Some(accepted) = children.accept(&mut acceptor) {
            children.serve(accepted, &mut scratch);
        }
        io::Result::Ok(acceptor.end())
    })?;
    children.finish(refused);
    ended
}

/// A process for each datagram: this one receives, the others only answer.
pub(super) fn datagrams(context: &ListenerContext, sockets: Vec<Listener>) -> io::Result<()> {
    let mut children = ForkPerRequest::new(context, &sockets)?;
    let mut batch = datagram::batch(context, sockets.iter(), 1)?;
    if !context.startup.meet() {
        return Ok(());
    }
    context.worker_states.register(|worker| {
        let mut receiver = DatagramReceiver::new(context, super::all(&sockets), worker, true)?;
        while let Some((permit, socket)) = children.receive(&mut receiver, &mut batch) {
            children.answer(permit, || datagram::answer(context, socket, &mut batch));
        }
        io::Result::Ok(())
    })?;
    children.finish(LingerList::default());
    Ok(())
}

/// A fixed number of processes, each of them iterative. One that dies is replaced.
pub(super) fn pool(context: &ListenerContext, sockets: Vec<Listener>, workers: usize) -> io::Result<()> {
    let group = ProcessGroup::new(&context.stats)?;
    let busy: Arc<SharedArray<PoolProcess>> = Arc::new(SharedArray::new(workers)?);
    let mut alive: HashMap<Pid, (usize, Instant)> = HashMap::new();
    let mut missing: Vec<(usize, Instant)> = Vec::new();
    let start = PoolStart::new()?;
    for worker in 0..workers {
        let pid = group.fork(|| run(context, &sockets, &busy, (worker, workers), start.of_worker()))?;
        alive.insert(pid, (worker, Instant::now()));
    }
    // If it fails they end with this process.
    start.wait(&group, workers)?;
    if !context.startup.meet() {
        return Ok(());
    }
    start.begin();
    let mut backoff = Backoff::default();
    let mut told = false;
    let mut left = false;
    loop {
        context.stats.answer();
        if group.is_told_to_hand_over() && !left {
            context.slots.hand_over();
            // Who is busy looks up when its client has gone.
            let with_worker =
                |worker: usize| busy.get(worker).is_some_and(|busy| busy.open.load(Relaxed) == 0);
            let mut idle =
                alive.iter().filter(|(_, (worker, _))| with_worker(*worker)).map(|(pid, _)| *pid).peekable();
            left = idle.peek().is_none();
            group.wake(idle);
            if left {
                context.say_left();
            }
        }
        if group.is_told_to_stop() && !told && context.slots.is_handed_over() {
            told = true;
            group.stop(alive.keys().copied());
        }
        if group.is_told_to_stop() && !told {
            told = true;
            context.slots.stop();
            group.stop(alive.keys().copied());
            // The workers may be busy for long.
            if let Some(pid) = group.close(context, &sockets, LingerList::default()) {
                alive.insert(pid, (workers, Instant::now()));
            }
        }
        while let Some((pid, status)) = group.reap() {
            let Some((worker, since)) = alive.remove(&pid) else { continue };
            if status == WaitStatus::Exited(pid, 0) && context.slots.is_closed_for_all() {
                continue;
            }
            if worker == workers {
                continue;
            }
            let name = &context.settings.name;
            let wait = backoff.after(since.elapsed());
            let cause = cause(status);
            warn!("listener \"{name}\": a worker was lost: {cause}; another one starts in {wait:?}");
            context.reclaim(&busy[worker]);
            missing.push((worker, Instant::now() + wait));
        }
        let closed = context.slots.is_closed_for_all();
        if closed {
            missing.clear();
            if !told {
                // A worker has taken the last of `max-requests`, and may be busy with it for long.
                backlog_drain::refuse(context, &sockets);
            }
        }
        let now = Instant::now();
        while let Some(due) = missing.iter().position(|(_, due)| *due <= now) {
            let (worker, _) = missing.swap_remove(due);
            match group.fork(|| run(context, &sockets, &busy, (worker, workers), Ok(Startup::begun()))) {
                Ok(pid) => _ = alive.insert(pid, (worker, now)),
                Err(error) => {
                    error!("listener \"{}\": cannot fork: {error}", context.settings.name);
                    missing.push((worker, now + backoff.after(Duration::ZERO)));
                }
            }
        }
        if alive.is_empty() && missing.is_empty() {
            return Ok(());
        }
        let again = (context.slots.is_handed_over() && !left).then(|| now + WAKE_INTERVAL);
        let next = missing.iter().map(|(_, due)| *due).chain(again).min();
        let event = (!closed).then(|| context.slots.closed());
        group.pause_until(event, next.map(|due| due.saturating_duration_since(now)));
    }
}

fn run(
    context: &ListenerContext,
    sockets: &[Listener],
    busy: &Arc<SharedArray<PoolProcess>>,
    (worker, workers): (usize, usize),
    startup: io::Result<Startup>,
) -> i32 {
    logging::keep_lines();
    let context = startup.and_then(|startup| context.of_worker(Arc::clone(busy), worker, startup));
    let status = match context.and_then(|context| work(&context, sockets, worker, workers)) {
        Ok(()) => 0,
        Err(error) => {
            error!("a worker cannot serve: {error}");
            1
        }
    };
    logging::finish();
    status
}
