//! Mode threading: a thread for each connection or datagram, or a fixed pool of threads.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{backlog_drain, work, workers};
use crate::{
    access::slots::Permit,
    modes::threading::pool::Threads,
    serve::{
        acceptor::Acceptor,
        context::ListenerContext,
        datagram::{self, DatagramReceiver},
        listener_set::LingerList,
    },
    socket::listener::Listener,
    sys::mmsg::Batch,
};

pub(super) mod pool;

/// Accepts a connection, gives it to a thread of its own, accepts the next (`ThreadingMixIn`).
pub(super) fn stream(context: &Arc<ListenerContext>, sockets: &mut Vec<Listener>) -> io::Result<()> {
    let threads = Threads::new(context, ListenerContext::scratch, |context, accepted, scratch| {
        context.serve(accepted, scratch);
    });
    if !context.startup.meet() {
        return Ok(());
    }
    let (ended, refused) = context.with_worker(|worker| {
        let mut acceptor = Acceptor::new(context, sockets, worker, false)?;
        while let Some(accepted) = acceptor.accept() {
            threads.give(accepted);
        }
        io::Result::Ok(acceptor.end())
    })?;
    backlog_drain::close(context, sockets, refused);
    sockets.clear();
    threads.finish();
    ended
}

/// Receives a datagram, gives it to a thread that answers it, receives the next.
pub(super) fn datagrams(context: &Arc<ListenerContext>, sockets: &Arc<Vec<Listener>>) -> io::Result<()> {
    let unused = Arc::new(Mutex::new(vec![datagram::batch(context, sockets.iter(), 1)?]));
    if !context.startup.meet() {
        return Ok(());
    }
    let threads = Threads::new(
        context,
        |_| Ok(()),
        |context, mut job: Job, ()| {
            datagram::answer(context, &job.sockets[job.socket], &mut job.batch);
            lock(&job.unused).push(job.batch);
        },
    );
    context.with_worker(|worker| {
        let mut receiver = DatagramReceiver::new(context, super::all(sockets), worker, false)?;
        while let Some(mut permit) = context.slots.acquire() {
            let spare = lock(&unused).pop();
            let mut batch = spare.map_or_else(|| receiver.batch(1), Ok)?;
            let Some(from) = receiver.receive(&mut batch) else { break };
            let socket = sockets.iter().position(|s| std::ptr::eq(s, from)).unwrap_or_default();
            permit.open();
            let (sockets, unused) = (Arc::clone(sockets), Arc::clone(&unused));
            threads.give(Job { sockets, socket, batch, unused, _permit: permit });
        }
        io::Result::Ok(())
    })?;
    threads.finish();
    context.finish_replies();
    Ok(())
}

/// A received datagram, with what a thread needs to answer it.
struct Job {
    sockets: Arc<Vec<Listener>>,
    socket: usize,
    batch: Batch,
    /// Where the batch returns to, to be used for another datagram.
    unused: Arc<Mutex<Vec<Batch>>>,
    _permit: Permit,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fixed number of threads, each in mode iterative.
pub(super) fn pool(context: &Arc<ListenerContext>, sockets: &[Listener], workers: usize) -> io::Result<()> {
    let body = |worker| move || workers::keep(context, || work(context, sockets, worker, workers));
    workers::spawn(context, (0..workers).map(body), || {
        context.slots.wait_until_closed();
        backlog_drain::close(context, sockets, LingerList::default());
        Ok(())
    })
}
