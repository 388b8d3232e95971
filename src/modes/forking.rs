//! Mode forking: a process for each connection or datagram, or a fixed pool of processes. It runs in a process of its own
//! that never has a second thread (`daemon::fork_server`), because fork(2) is safe only in a single-threaded process.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use log::{error, warn};
use nix::{sys::wait::WaitStatus, unistd::Pid};

use super::{backlog_drain, work};
use crate::{
    access::slots::PoolProcess,
    modes::forking::{
        per_request::ForkPerRequest,
        pool_start::PoolStart,
        process_group::{ProcessGroup, cause},
    },
    report::{
        close_reason::CloseKind,
        log_event::{LogEvent, millis},
        logging,
    },
    serve::{
        acceptor::Acceptor,
        backoff::Backoff,
        context::{ListenerContext, Startup},
        datagram::{self, DatagramReceiver},
        listener_set::LingerList,
    },
    socket::listener::Listener,
    sys::shared::SharedArray,
};

pub(super) mod child_report;
pub(super) mod child_table;
pub(super) mod per_request;
pub(super) mod pool_start;
pub(super) mod process_group;

/// How often idle workers are woken during a hand-over. A wake-up just before the worker blocks is lost, so it is repeated
/// until all have stopped accepting.
const WAKE_INTERVAL: Duration = Duration::from_millis(1);

/// Accepts a connection, gives it to a child process of its own, accepts the next (`ForkingMixIn`).
pub(super) fn stream(context: &ListenerContext, sockets: Vec<Listener>) -> io::Result<()> {
    let mut children = ForkPerRequest::new(context, &sockets)?;
    let mut scratch = context.scratch()?;
    if !context.startup.meet() {
        return Ok(());
    }
    let (ended, refused) = context.workers.register(|worker| {
        let mut acceptor = Acceptor::new(context, &sockets, worker, true)?;
        while let Some(accepted) = children.accept(&mut acceptor) {
            children.serve(accepted, &mut scratch);
        }
        io::Result::Ok(acceptor.end())
    })?;
    children.finish(refused);
    ended
}

/// Receives a datagram, gives it to a child process that answers it, receives the next.
pub(super) fn datagrams(context: &ListenerContext, sockets: Vec<Listener>) -> io::Result<()> {
    let mut children = ForkPerRequest::new(context, &sockets)?;
    let mut batch = datagram::batch(context, sockets.iter(), 1)?;
    if !context.startup.meet() {
        return Ok(());
    }
    context.workers.register(|worker| {
        let mut receiver = DatagramReceiver::new(context, super::all(&sockets), worker, true)?;
        while let Some((permit, socket)) = children.receive(&mut receiver, &mut batch) {
            children.answer(permit, || datagram::answer(context, socket, &mut batch));
        }
        io::Result::Ok(())
    })?;
    children.finish(LingerList::default());
    Ok(())
}

/// A fixed number of processes, each in mode iterative. A worker that dies is replaced.
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
    // On failure this process exits, and its workers with it.
    start.wait(&group, workers)?;
    if !context.startup.meet() {
        return Ok(());
    }
    start.begin();
    let mut backoff = Backoff::of_process();
    let mut stopping = false;
    let mut all_left = false;
    loop {
        context.stats.acknowledge();
        if group.is_told_to_hand_over() && !all_left {
            context.slots.hand_over();
            // A busy worker sees the hand-over once its connection has closed; only idle ones must be woken.
            let is_idle = |worker: usize| busy.get(worker).is_some_and(|busy| busy.open.load(Relaxed) == 0);
            let mut idle =
                alive.iter().filter(|(_, (worker, _))| is_idle(*worker)).map(|(pid, _)| *pid).peekable();
            all_left = idle.peek().is_none();
            group.wake(idle);
            if all_left {
                context.report_left();
            }
        }
        if group.is_told_to_stop() && !stopping && context.slots.is_handed_over() {
            stopping = true;
            group.stop(alive.keys().copied());
        }
        if group.is_told_to_stop() && !stopping {
            stopping = true;
            context.slots.stop();
            group.stop(alive.keys().copied());
            // The workers may stay busy with their clients, so another child serves the backlog.
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
            let name = context.settings.name.as_str();
            let wait = backoff.wait_after(since.elapsed());
            let cause = cause(status);
            warn!(
                event = LogEvent::WorkerLost, listener = name, error:% = cause, retry_ms = millis(wait);
                "listener \"{name}\": a worker was lost: {cause}; another one starts in {wait:?}"
            );
            let end = match status {
                WaitStatus::Signaled(..) => CloseKind::Killed,
                _ => CloseKind::ChildExited,
            };
            context.reclaim(&busy[worker], end);
            missing.push((worker, Instant::now() + wait));
        }
        let closed = context.slots.is_closed_for_all();
        if closed {
            missing.clear();
            if !stopping {
                // A worker took the last of `max-requests` and may serve it for long: refuse further clients now.
                backlog_drain::refuse(context, &sockets);
            }
        }
        let now = Instant::now();
        while let Some(due) = missing.iter().position(|(_, due)| *due <= now) {
            let (worker, _) = missing.swap_remove(due);
            match group.fork(|| run(context, &sockets, &busy, (worker, workers), Ok(Startup::begun()))) {
                Ok(pid) => _ = alive.insert(pid, (worker, now)),
                Err(error) => {
                    let name = context.settings.name.as_str();
                    error!(
                        event = LogEvent::ForkFailed, listener = name, error:% = error;
                        "listener \"{name}\": cannot fork: {error}"
                    );
                    missing.push((worker, now + backoff.wait()));
                }
            }
        }
        if alive.is_empty() && missing.is_empty() {
            return Ok(());
        }
        let wake = (context.slots.is_handed_over() && !all_left).then(|| now + WAKE_INTERVAL);
        let next = missing.iter().map(|(_, due)| *due).chain(wake).min();
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
            error!(event = LogEvent::WorkerFailed, error:% = error; "a worker cannot serve: {error}");
            1
        }
    };
    logging::finish();
    status
}
