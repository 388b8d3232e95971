//! One batch of datagrams: receive, filter, answer, send.
//!
//! The receiver also filters, so that no thread is woken and no process is forked for a datagram that is not answered.

use std::{
    io::{self, ErrorKind},
    os::fd::AsFd,
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use log::warn;

mod admit;
mod answer;
mod describe;

pub use crate::sys::mmsg::MOST;
use crate::{
    access::guard,
    config::{DontFragment, Dscp},
    report::{log_event::LogEvent, logging::LogThrottle},
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

/// Back-off after a receive that failed for lack of memory.
const REST: Duration = Duration::from_millis(100);

/// Receives batches of datagrams for one worker: what a [`crate::serve::acceptor::Acceptor`] is to connections.
pub struct DatagramReceiver<'a> {
    context: &'a ListenerContext,
    listener_set: ListenerSet<'a>,
}

/// A batch of up to `size` datagrams that suits all of `sockets`.
pub fn batch<'l>(
    context: &ListenerContext,
    sockets: impl Iterator<Item = &'l Listener> + Clone,
    size: usize,
) -> io::Result<Batch> {
    let reflects = context.settings.dscp == Some(Dscp::Reflect);
    let has_control = reflects || context.settings.service.describes_requests();
    let mut batch = Batch::new(size, has_control || sockets.clone().any(Listener::has_many_addresses))?;
    if reflects {
        batch.reflect_tos();
    }
    // All sockets of a listener have one protocol.
    if let Some(socket) = sockets.clone().next()
        && context.settings.gso
        && context.faults.is_none()
        && size > 1
    {
        batch.join_answers(socket.as_fd());
    }
    if context.settings.dont_fragment == DontFragment::On {
        batch.never_fragment();
    }
    Ok(batch)
}

/// The source of a request, as text.
fn source(context: &ListenerContext, request: Request<'_>) -> String {
    match Peer::from(&request.source()) {
        Peer::Unnamed => "a socket without a name".to_owned(),
        peer => peer.url(context.settings.protocol).to_string(),
    }
}

/// The outcome of one receive.
pub enum ReceiveOutcome<'a> {
    /// The batch holds datagrams from this socket.
    Batch(&'a Listener),
    /// None yet: a signal arrived, another worker was faster, or all of them were refused.
    Nothing,
    /// The listener is closed.
    Closed,
}

impl<'a> DatagramReceiver<'a> {
    /// A receiver for `sockets`, see [`ListenerSet::new`].
    pub fn new(
        context: &'a ListenerContext,
        sockets: Vec<&'a Listener>,
        worker: &'a WorkerState<'a>,
        by_signals: bool,
    ) -> io::Result<DatagramReceiver<'a>> {
        Ok(DatagramReceiver {
            context,
            // The lock of a plan of faults must not be held in a call that waits.
            listener_set: ListenerSet::new(
                sockets,
                &context.slots,
                worker,
                by_signals || context.faults.is_some(),
            )?,
        })
    }

    /// A batch of up to `size` datagrams that suits these sockets.
    pub fn batch(&self, size: usize) -> io::Result<Batch> {
        batch(self.context, self.listener_set.sockets(), size)
    }

    /// Fills the batch, and returns the socket it is from. `None` once the listener is closed.
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
    pub fn look(&mut self, batch: &mut Batch, options: &WaitOptions) -> ReceiveOutcome<'a> {
        let listener = match self.listener_set.wait(options) {
            Ready::Socket(listener) => listener,
            Ready::Nothing => return ReceiveOutcome::Nothing,
            Ready::Closed => return ReceiveOutcome::Closed,
        };
        let waits = self.listener_set.blocks();
        let received = self.listener_set.call(|| take(self.context, listener, batch, waits));
        self.listener_set.leave();
        match received {
            Ok(0) => ReceiveOutcome::Nothing,
            Ok(_) if batch.is_all_refused() => ReceiveOutcome::Nothing,
            Ok(_) => ReceiveOutcome::Batch(listener),
            // EAGAIN on a blocking socket: an interrupt made it non-blocking, and the socket is empty.
            Err(e) if e.kind() == ErrorKind::WouldBlock && self.listener_set.is_asked_to_stop() => {
                ReceiveOutcome::Closed
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                ReceiveOutcome::Nothing
            }
            Err(_) if self.context.slots.wait(REST) => ReceiveOutcome::Nothing,
            Err(_) => ReceiveOutcome::Closed,
        }
    }
}

/// Fills the batch from a socket, filters and counts; with `wait` and a blocking socket it waits for the first
/// datagram.
///
/// # Errors
/// EINTR and EAGAIN; other errors of the socket, and a lack of kernel memory, which are counted and logged.
pub fn take(
    context: &ListenerContext,
    listener: &Listener,
    batch: &mut Batch,
    wait: bool,
) -> io::Result<usize> {
    let reserved = context.slots.reserve(batch.size());
    if reserved == 0 {
        return Ok(0);
    }
    let faults = context.faults.as_ref();
    // Other workers must not receive before these are numbered.
    let locked = faults.map(|faults| faults.lock());
    let received = batch.receive(listener.as_fd(), reserved, wait);
    let admitted = if received.is_ok() { admit::admit(context, listener, batch) } else { 0 };
    if let (Some(faults), Some(locked)) = (faults, locked.filter(|_| received.is_ok())) {
        faults.number(&locked, batch);
    }
    context.slots.commit(reserved, admitted);
    match &received {
        Ok(_) => _ = context.stats.served.fetch_add(admitted as u64, Relaxed),
        Err(e) if e.kind() == ErrorKind::Interrupted => {}
        Err(e) if e.kind() == ErrorKind::WouldBlock => {
            // The error queue may have woken us (POLLERR): empty it, so that it does not do so again.
            if !wait {
                drain_error_queue(context, listener);
            }
        }
        Err(error) if has_error_queue(context, listener) && error_queue::may_be_feedback(error) => {
            drain_error_queue(context, listener);
            return Err(ErrorKind::Interrupted.into());
        }
        Err(error) => cannot_receive(context, listener, error),
    }
    received
}

/// Whether the socket has an error queue, with ICMP errors about its answers.
fn has_error_queue(context: &ListenerContext, listener: &Listener) -> bool {
    context.access.guard.is_some() && guard::wants_feedback(&context.settings, listener.place())
}

/// Empties the error queue of a socket that has one, and passes unreachable ports to the guard.
fn drain_error_queue(context: &ListenerContext, listener: &Listener) {
    if let Some(guard) = context.access.guard.as_ref().filter(|_| has_error_queue(context, listener)) {
        error_queue::drain(listener.as_fd(), |address, port| guard.on_port_unreachable(address, port));
    }
}

fn cannot_receive(context: &ListenerContext, listener: &Listener, error: &io::Error) {
    static THROTTLE: LogThrottle = LogThrottle::new(Duration::from_secs(10));
    context.stats.errors.fetch_add(1, Relaxed);
    if THROTTLE.allow().is_some() {
        let (name, url) = (context.settings.name.as_str(), listener.url());
        warn!(
            event = LogEvent::SocketReceiveFailed, listener = name, address:% = url, error:% = error;
            "listener \"{name}\": cannot receive at {url}: {error}"
        );
    }
}

#[cfg(test)]
mod tests;
