//! One batch of datagrams: receive, guard, answer, send.
//!
//! Whoever receives also guards, so that no thread is woken and no process is forked for a datagram that is not answered.

use std::{
    io::{self, ErrorKind},
    os::fd::AsFd,
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use log::warn;

mod admit;
mod answer;

pub use crate::sys::mmsg::MOST;
use crate::{
    access::guard,
    report::logging::LogThrottle,
    serve::{
        context::ListenerContext,
        listener_set::{ListenerSet, Ready, WaitOptions},
    },
    socket::{address::Peer, listener::Listener},
    sys::{
        error_queue,
        mmsg::{Batch, Request},
        worker_state::WorkerState,
    },
};
pub use answer::answer;

/// The rest after a receive that failed for want of memory.
const REST: Duration = Duration::from_millis(100);

/// Where datagrams come in: what a [`crate::serve::context::Acceptor`] is to connections.
pub struct DatagramReceiver<'a> {
    context: &'a ListenerContext,
    listener_set: ListenerSet<'a>,
}

/// A batch of up to `size` datagrams that suits all of these sockets.
pub fn batch<'l>(
    context: &ListenerContext,
    sockets: impl Iterator<Item = &'l Listener> + Clone,
    size: usize,
) -> io::Result<Batch> {
    let mut batch = Batch::new(size, sockets.clone().any(Listener::has_many_addresses))?;
    // They are of one protocol.
    if let Some(socket) = sockets.clone().next()
        && context.settings.gso
        && size > 1
    {
        batch.join_answers(socket.as_fd());
    }
    Ok(batch)
}

/// Who sent a request, for people.
fn source(context: &ListenerContext, request: Request<'_>) -> String {
    match Peer::from(&request.source()) {
        Peer::Unnamed => "a socket without a name".to_owned(),
        peer => peer.url(context.settings.protocol).to_string(),
    }
}

/// What happened at the desk.
pub enum ReceiveOutcome<'a> {
    /// The batch holds datagrams from this socket.
    Batch(&'a Listener),
    /// Nothing yet: a signal, or a datagram that went to somebody else.
    Nothing,
    /// Nothing comes any more.
    Closed,
}

impl<'a> DatagramReceiver<'a> {
    /// A desk for `sockets`, see [`ListenerSet::new`].
    pub fn new(
        context: &'a ListenerContext,
        sockets: Vec<&'a Listener>,
        worker: &'a WorkerState<'a>,
        by_signals: bool,
    ) -> io::Result<DatagramReceiver<'a>> {
        Ok(DatagramReceiver {
            context,
            listener_set: ListenerSet::new(sockets, &context.slots, worker, by_signals)?,
        })
    }

    /// A batch of `size` that suits these sockets.
    pub fn batch(&self, size: usize) -> io::Result<Batch> {
        batch(self.context, self.listener_set.sockets(), size)
    }

    /// Fills the batch, and tells from which socket. `None` when nothing comes any more.
    pub fn receive(&mut self, batch: &mut Batch) -> Option<&'a Listener> {
        loop {
            match self.look(batch, &WaitOptions::default()) {
                ReceiveOutcome::Batch(listener) => return Some(listener),
                ReceiveOutcome::Nothing => {}
                ReceiveOutcome::Closed => return None,
            }
        }
    }

    /// Waits for datagrams once.
    pub fn look(&mut self, batch: &mut Batch, patience: &WaitOptions) -> ReceiveOutcome<'a> {
        let listener = match self.listener_set.wait(patience) {
            Ready::Socket(listener) => listener,
            Ready::Nothing => return ReceiveOutcome::Nothing,
            Ready::Closed => return ReceiveOutcome::Closed,
        };
        let waits = self.listener_set.blocks();
        let taken = self.listener_set.call(|| take(self.context, listener, batch, waits));
        self.listener_set.leave();
        match taken {
            Ok(0) => ReceiveOutcome::Nothing,
            Ok(_) if batch.is_all_refused() => ReceiveOutcome::Nothing,
            Ok(_) => ReceiveOutcome::Batch(listener),
            // A socket that was blocking does not block any more: we were asked to stop, and all is answered.
            Err(e) if e.kind() == ErrorKind::WouldBlock && self.listener_set.is_asked_to_stop() => {
                ReceiveOutcome::Closed
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                ReceiveOutcome::Nothing
            }
            Err(_) if self.context.slots.rest(REST) => ReceiveOutcome::Nothing,
            Err(_) => ReceiveOutcome::Closed,
        }
    }
}

/// Fills the batch from a socket, and counts; `wait`s for the first datagram where the socket blocks.
///
/// # Errors
/// EINTR and EAGAIN, and what is wrong with the socket, or the kernel's memory; that is counted and logged.
pub fn take(
    context: &ListenerContext,
    listener: &Listener,
    batch: &mut Batch,
    wait: bool,
) -> io::Result<usize> {
    let claimed = context.slots.reserve(batch.size());
    if claimed == 0 {
        return Ok(0);
    }
    let received = batch.receive(listener.as_fd(), claimed, wait);
    let let_in = if received.is_ok() { admit::admit(context, listener, batch) } else { 0 };
    context.slots.commit(claimed, let_in);
    match &received {
        Ok(_) => _ = context.stats.served.fetch_add(let_in as u64, Relaxed),
        Err(e) if e.kind() == ErrorKind::Interrupted => {}
        Err(e) if e.kind() == ErrorKind::WouldBlock => {
            // What woke us may have been the error queue: it is not to do so again.
            if !wait {
                hear_complaints(context, listener);
            }
        }
        Err(error) if hears_complaints(context, listener) && error_queue::may_be_feedback(error) => {
            hear_complaints(context, listener);
            return Err(ErrorKind::Interrupted.into());
        }
        Err(error) => cannot_receive(context, listener, error),
    }
    received
}

/// Whether a socket is told what became of its answers.
fn hears_complaints(context: &ListenerContext, listener: &Listener) -> bool {
    context.guard.is_some() && guard::wants_feedback(&context.settings, listener.place())
}

/// Empties the error queue of a socket that has one, and tells the guard who wants no answers.
fn hear_complaints(context: &ListenerContext, listener: &Listener) {
    if let Some(guard) = context.guard.as_ref().filter(|_| hears_complaints(context, listener)) {
        error_queue::drain(listener.as_fd(), |address, port| guard.on_port_unreachable(address, port));
    }
}

fn cannot_receive(context: &ListenerContext, listener: &Listener, error: &io::Error) {
    static THROTTLE: LogThrottle = LogThrottle::new(Duration::from_secs(10));
    context.stats.errors.fetch_add(1, Relaxed);
    if THROTTLE.allow().is_some() {
        let name = &context.settings.name;
        warn!("listener \"{name}\": cannot receive at {}: {error}", listener.url());
    }
}

#[cfg(test)]
mod tests;
