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
    per_request::Children,
    pool_start::PoolStart,
    process_group::{Family, cause},
};
use crate::{
    access::gate::Worker,
    report::logging,
    serve::{
        backoff::Backoff,
        context::{Door, Duty, Startup},
        datagram::{self, Desk},
        listener_set::LingerList,
    },
    socket::listener::Listener,
    stream::connection::SCRATCH,
    sys::shared::{Pages, Slots},
};

pub(super) mod child_report;
pub(super) mod child_table;
pub(super) mod per_request;
pub(super) mod pool_start;
pub(super) mod process_group;

/// How often workers that are to leave the door are nudged.
const NUDGES: Duration = Duration::from_millis(1);

/// A process for each connection (`ForkingMixIn`).
pub(super) fn stream(duty: &Duty, sockets: Vec<Listener>) -> io::Result<()> {
    let mut children = Children::new(duty, &sockets)?;
    let mut scratch = Pages::new(SCRATCH)?;
    if !duty.startup.meet() {
        return Ok(());
    }
    let (ended, refused) = duty.posts.take(|post| {
        let mut door = Door::new(duty, &sockets, post, true)?;
        while let Some(guest) = children.accept(&mut door) {
            children.serve(guest, &mut scratch);
        }
        io::Result::Ok(door.end())
    })?;
    children.finish(refused);
    ended
}

/// A process for each datagram: this one receives, the others only answer.
pub(super) fn datagrams(duty: &Duty, sockets: Vec<Listener>) -> io::Result<()> {
    let mut children = Children::new(duty, &sockets)?;
    let mut batch = datagram::batch(duty, sockets.iter(), 1)?;
    if !duty.startup.meet() {
        return Ok(());
    }
    duty.posts.take(|post| {
        let mut desk = Desk::new(duty, super::all(&sockets), post, true)?;
        while let Some((permit, socket)) = children.receive(&mut desk, &mut batch) {
            children.answer(permit, || datagram::answer(duty, socket, &mut batch));
        }
        io::Result::Ok(())
    })?;
    children.finish(LingerList::default());
    Ok(())
}

/// A fixed number of processes, each of them iterative. One that dies is replaced.
pub(super) fn pool(duty: &Duty, sockets: Vec<Listener>, workers: usize) -> io::Result<()> {
    let family = Family::new(&duty.stats)?;
    let busy: Arc<Slots<Worker>> = Arc::new(Slots::new(workers)?);
    let mut alive: HashMap<Pid, (usize, Instant)> = HashMap::new();
    let mut missing: Vec<(usize, Instant)> = Vec::new();
    let start = PoolStart::new()?;
    for worker in 0..workers {
        let pid = family.fork(|| run(duty, &sockets, &busy, (worker, workers), start.of_worker()))?;
        alive.insert(pid, (worker, Instant::now()));
    }
    // If it fails they end with this process.
    start.wait(&family, workers)?;
    if !duty.startup.meet() {
        return Ok(());
    }
    start.begin();
    let mut backoff = Backoff::default();
    let mut told = false;
    let mut left = false;
    loop {
        duty.stats.answer();
        if family.is_told_to_hand_over() && !left {
            duty.gate.hand_over();
            // Who is busy looks up when its client has gone.
            let at_door = |worker: usize| busy.get(worker).is_some_and(|busy| busy.open.load(Relaxed) == 0);
            let mut idle =
                alive.iter().filter(|(_, (worker, _))| at_door(*worker)).map(|(pid, _)| *pid).peekable();
            left = idle.peek().is_none();
            family.nudge(idle);
            if left {
                duty.say_left();
            }
        }
        if family.is_told_to_stop() && !told && duty.gate.is_handed_over() {
            told = true;
            family.stop(alive.keys().copied());
        }
        if family.is_told_to_stop() && !told {
            told = true;
            duty.gate.stop();
            family.stop(alive.keys().copied());
            // The workers may be busy for long.
            if let Some(pid) = family.close(duty, &sockets, LingerList::default()) {
                alive.insert(pid, (workers, Instant::now()));
            }
        }
        while let Some((pid, status)) = family.reap() {
            let Some((worker, since)) = alive.remove(&pid) else { continue };
            if status == WaitStatus::Exited(pid, 0) && duty.gate.is_closed_for_all() {
                continue;
            }
            if worker == workers {
                continue;
            }
            let name = &duty.settings.name;
            let wait = backoff.after(since.elapsed());
            let cause = cause(status);
            warn!("listener \"{name}\": a worker was lost: {cause}; another one starts in {wait:?}");
            duty.bury(&busy[worker]);
            missing.push((worker, Instant::now() + wait));
        }
        let closed = duty.gate.is_closed_for_all();
        if closed {
            missing.clear();
            if !told {
                // A worker has taken the last of `max-requests`, and may be busy with it for long.
                backlog_drain::refuse(duty, &sockets);
            }
        }
        let now = Instant::now();
        while let Some(due) = missing.iter().position(|(_, due)| *due <= now) {
            let (worker, _) = missing.swap_remove(due);
            match family.fork(|| run(duty, &sockets, &busy, (worker, workers), Ok(Startup::begun()))) {
                Ok(pid) => _ = alive.insert(pid, (worker, now)),
                Err(error) => {
                    error!("listener \"{}\": cannot fork: {error}", duty.settings.name);
                    missing.push((worker, now + backoff.after(Duration::ZERO)));
                }
            }
        }
        if alive.is_empty() && missing.is_empty() {
            return Ok(());
        }
        let again = (duty.gate.is_handed_over() && !left).then(|| now + NUDGES);
        let next = missing.iter().map(|(_, due)| *due).chain(again).min();
        let event = (!closed).then(|| duty.gate.closed());
        family.pause_until(event, next.map(|due| due.saturating_duration_since(now)));
    }
}

fn run(
    duty: &Duty,
    sockets: &[Listener],
    busy: &Arc<Slots<Worker>>,
    (worker, workers): (usize, usize),
    startup: io::Result<Startup>,
) -> i32 {
    logging::keep_lines();
    let duty = startup.and_then(|startup| duty.of_worker(Arc::clone(busy), worker, startup));
    let status = match duty.and_then(|duty| work(&duty, sockets, worker, workers)) {
        Ok(()) => 0,
        Err(error) => {
            error!("a worker cannot serve: {error}");
            1
        }
    };
    logging::finish();
    status
}
