//! A thread for each connection or datagram, or a fixed pool of threads.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{backlog_drain, work, workers};
use crate::modes::threading::pool::Threads;
use crate::{
    access::gate::Permit,
    serve::{
        context::{Door, Duty},
        datagram::{self, Desk},
        listener_set::LingerList,
    },
    socket::listener::Listener,
    stream::connection::SCRATCH,
    sys::{mmsg::Batch, shared::Pages},
};

pub(super) mod pool;

/// A thread for each connection (`ThreadingMixIn`).
pub(super) fn stream(duty: &Arc<Duty>, sockets: &mut Vec<Listener>) -> io::Result<()> {
    if !duty.startup.meet() {
        return Ok(());
    }
    let threads = Threads::new(
        duty,
        || Pages::new(SCRATCH),
        |duty, guest, scratch| {
            duty.serve(guest, scratch);
        },
    );
    let (ended, refused) = duty.at_door(|post| {
        let mut door = Door::new(duty, sockets, post, false)?;
        while let Some(guest) = door.accept() {
            threads.give(guest);
        }
        io::Result::Ok(door.end())
    })?;
    if backlog_drain::is_due(duty) {
        // As many as there are places for have come in.
        backlog_drain::serve(duty, sockets, refused);
    } else {
        backlog_drain::refuse(duty, sockets);
        refused.finish();
    }
    sockets.clear();
    threads.finish();
    ended
}

/// A thread for each datagram: this one receives, the others only answer.
pub(super) fn datagrams(duty: &Arc<Duty>, sockets: &Arc<Vec<Listener>>) -> io::Result<()> {
    let unused = Arc::new(Mutex::new(vec![datagram::batch(duty, sockets.iter(), 1)?]));
    if !duty.startup.meet() {
        return Ok(());
    }
    let threads = Threads::new(
        duty,
        || Ok(()),
        |duty, mut job: Job, ()| {
            datagram::answer(duty, &job.sockets[job.socket], &mut job.batch);
            lock(&job.unused).push(job.batch);
        },
    );
    duty.at_door(|post| {
        let mut desk = Desk::new(duty, super::all(sockets), post, false)?;
        while let Some(mut permit) = duty.gate.enter() {
            let spare = lock(&unused).pop();
            let mut batch = spare.map_or_else(|| desk.batch(1), Ok)?;
            let Some(from) = desk.receive(&mut batch) else { break };
            let socket = sockets.iter().position(|s| std::ptr::eq(s, from)).unwrap_or_default();
            permit.open();
            let (sockets, unused) = (Arc::clone(sockets), Arc::clone(&unused));
            threads.give(Job { sockets, socket, batch, unused, _permit: permit });
        }
        io::Result::Ok(())
    })?;
    threads.finish();
    Ok(())
}

/// A datagram that was received, and what it takes to answer it.
struct Job {
    sockets: Arc<Vec<Listener>>,
    socket: usize,
    batch: Batch,
    /// Where the batch goes afterwards, for the next datagram.
    unused: Arc<Mutex<Vec<Batch>>>,
    _permit: Permit,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fixed number of threads, each of them iterative.
pub(super) fn pool(duty: &Arc<Duty>, sockets: &[Listener], workers: usize) -> io::Result<()> {
    let live = |worker| move || workers::keep(duty, || work(duty, sockets, worker, workers));
    workers::spawn(duty, (0..workers).map(live), || {
        duty.gate.wait_until_closed();
        if backlog_drain::is_due(duty) {
            // The workers may be busy for long.
            backlog_drain::serve(duty, sockets, LingerList::default());
        } else {
            backlog_drain::refuse(duty, sockets);
        }
        Ok(())
    })
}
