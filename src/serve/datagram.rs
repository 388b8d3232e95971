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
    report::logging::Seldom,
    serve::{
        context::Duty,
        listener_set::{Patience, Ready, Watch},
    },
    socket::{address::Peer, listener::Listener},
    sys::{
        error_queue,
        mmsg::{Batch, Request},
        post::Post,
    },
};
pub use answer::answer;

/// The rest after a receive that failed for want of memory.
const REST: Duration = Duration::from_millis(100);

/// Where datagrams come in: what a [`crate::serve::context::Door`] is to connections.
pub struct Desk<'a> {
    duty: &'a Duty,
    watch: Watch<'a>,
}

/// A batch of up to `size` datagrams that suits all of these sockets.
pub fn batch<'l>(
    duty: &Duty,
    sockets: impl Iterator<Item = &'l Listener> + Clone,
    size: usize,
) -> io::Result<Batch> {
    let mut batch = Batch::new(size, sockets.clone().any(Listener::has_many_addresses))?;
    // They are of one protocol.
    if let Some(socket) = sockets.clone().next()
        && duty.settings.gso
        && size > 1
    {
        batch.join_answers(socket.as_fd());
    }
    Ok(batch)
}

/// Who sent a request, for people.
fn source(duty: &Duty, request: Request<'_>) -> String {
    match Peer::from(&request.source()) {
        Peer::Unnamed => "a socket without a name".to_owned(),
        peer => peer.url(duty.settings.protocol).to_string(),
    }
}

/// What happened at the desk.
pub enum Arrival<'a> {
    /// The batch holds datagrams from this socket.
    Batch(&'a Listener),
    /// Nothing yet: a signal, or a datagram that went to somebody else.
    Nothing,
    /// Nothing comes any more.
    Closed,
}

impl<'a> Desk<'a> {
    /// A desk for `sockets`, see [`Watch::new`].
    pub fn new(
        duty: &'a Duty,
        sockets: Vec<&'a Listener>,
        post: &'a Post<'a>,
        by_signals: bool,
    ) -> io::Result<Desk<'a>> {
        Ok(Desk { duty, watch: Watch::new(sockets, &duty.gate, post, by_signals)? })
    }

    /// A batch of `size` that suits these sockets.
    pub fn batch(&self, size: usize) -> io::Result<Batch> {
        batch(self.duty, self.watch.sockets(), size)
    }

    /// Fills the batch, and tells from which socket. `None` when nothing comes any more.
    pub fn receive(&mut self, batch: &mut Batch) -> Option<&'a Listener> {
        loop {
            match self.look(batch, &Patience::default()) {
                Arrival::Batch(listener) => return Some(listener),
                Arrival::Nothing => {}
                Arrival::Closed => return None,
            }
        }
    }

    /// Waits for datagrams once.
    pub fn look(&mut self, batch: &mut Batch, patience: &Patience) -> Arrival<'a> {
        let listener = match self.watch.wait(patience) {
            Ready::Socket(listener) => listener,
            Ready::Nothing => return Arrival::Nothing,
            Ready::Closed => return Arrival::Closed,
        };
        let waits = self.watch.blocks();
        let taken = self.watch.call(|| take(self.duty, listener, batch, waits));
        self.watch.leave();
        match taken {
            Ok(0) => Arrival::Nothing,
            Ok(_) if batch.is_all_refused() => Arrival::Nothing,
            Ok(_) => Arrival::Batch(listener),
            // A socket that was blocking does not block any more: we were asked to stop, and all is answered.
            Err(e) if e.kind() == ErrorKind::WouldBlock && self.watch.is_asked_to_stop() => Arrival::Closed,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Arrival::Nothing,
            Err(_) if self.duty.gate.rest(REST) => Arrival::Nothing,
            Err(_) => Arrival::Closed,
        }
    }
}

/// Fills the batch from a socket, and counts; `wait`s for the first datagram where the socket blocks.
///
/// # Errors
/// EINTR and EAGAIN, and what is wrong with the socket, or the kernel's memory; that is counted and logged.
pub fn take(duty: &Duty, listener: &Listener, batch: &mut Batch, wait: bool) -> io::Result<usize> {
    let claimed = duty.gate.claim(batch.size());
    if claimed == 0 {
        return Ok(0);
    }
    let received = batch.receive(listener.as_fd(), claimed, wait);
    let let_in = if received.is_ok() { admit::admit(duty, listener, batch) } else { 0 };
    duty.gate.settle(claimed, let_in);
    match &received {
        Ok(_) => _ = duty.stats.served.fetch_add(let_in as u64, Relaxed),
        Err(e) if e.kind() == ErrorKind::Interrupted => {}
        Err(e) if e.kind() == ErrorKind::WouldBlock => {
            // What woke us may have been the error queue: it is not to do so again.
            if !wait {
                hear_complaints(duty, listener);
            }
        }
        Err(error) if hears_complaints(duty, listener) && error_queue::may_tell(error) => {
            hear_complaints(duty, listener);
            return Err(ErrorKind::Interrupted.into());
        }
        Err(error) => cannot_receive(duty, listener, error),
    }
    received
}

/// Whether a socket is told what became of its answers.
fn hears_complaints(duty: &Duty, listener: &Listener) -> bool {
    duty.guard.is_some() && guard::wants_feedback(&duty.settings, listener.place())
}

/// Empties the error queue of a socket that has one, and tells the guard who wants no answers.
fn hear_complaints(duty: &Duty, listener: &Listener) {
    if let Some(guard) = duty.guard.as_ref().filter(|_| hears_complaints(duty, listener)) {
        error_queue::drain(listener.as_fd(), |address, port| guard.complain(address, port));
    }
}

fn cannot_receive(duty: &Duty, listener: &Listener, error: &io::Error) {
    static SELDOM: Seldom = Seldom::new(Duration::from_secs(10));
    duty.stats.errors.fetch_add(1, Relaxed);
    if SELDOM.allow().is_some() {
        let name = &duty.settings.name;
        warn!("listener \"{name}\": cannot receive at {}: {error}", listener.url());
    }
}

#[cfg(test)]
mod tests;
