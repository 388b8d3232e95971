//! Accepts connections for one worker: waits for a client, takes its slot, accepts and admits it.

use std::{io, time::Duration};

use crate::{
    access::slots::Permit,
    config::WhenFull,
    serve::{
        admit::Admitted,
        backoff::Backoff,
        context::{Accepted, ListenerContext},
        listener_set::{LingerList, ListenerSet, Ready, WaitOptions},
    },
    socket::listener::{AcceptError, Listener},
    sys::worker_state::WorkerState,
};

/// Accepts connections for one worker, within the listener's limits.
pub struct Acceptor<'a> {
    context: &'a ListenerContext,
    listener_set: ListenerSet<'a>,
    backoff: Backoff,
    broken: Option<io::Error>,
}

/// The outcome of one accept.
pub enum AcceptOutcome {
    /// A client was accepted and admitted.
    Accepted(Accepted),
    /// None yet: a signal arrived, or the client is gone or was refused.
    NoClient,
    /// Descriptors or memory ran out: back off for so long.
    Shortage(Duration),
    /// The listener is closed.
    Closed,
}

impl<'a> Acceptor<'a> {
    /// An acceptor for `sockets`, see [`ListenerSet::new`].
    pub fn new(
        context: &'a ListenerContext,
        sockets: &'a [Listener],
        worker: &'a WorkerState<'a>,
        by_signals: bool,
    ) -> io::Result<Acceptor<'a>> {
        let polls = by_signals || context.settings.when_full == WhenFull::Message;
        let listener_set = ListenerSet::new(sockets.iter().collect(), &context.slots, worker, polls)?;
        Ok(Acceptor { context, listener_set, backoff: Backoff::of_shortage(), broken: None })
    }

    /// What broke the listening socket, if it was not just closed; and the refused clients that have not read their
    /// message yet.
    pub fn end(self) -> (io::Result<()>, LingerList) {
        (self.broken.map_or(Ok(()), Err), self.listener_set.lingering())
    }

    /// Accepts the next client; waits at the limit, and backs off when descriptors run out. `None` once the listener is
    /// closed.
    pub fn accept(&mut self) -> Option<Accepted> {
        let mut permit =
            if self.context.queues_when_full() { Some(self.context.slots.acquire()?) } else { None };
        loop {
            match self.look(permit, &WaitOptions::default()) {
                (AcceptOutcome::Accepted(accepted), _) => return Some(accepted),
                // Shutdown wins over back-off.
                (AcceptOutcome::Shortage(time), unused) if self.context.slots.wait(time) => permit = unused,
                (AcceptOutcome::NoClient, unused) => permit = unused,
                _ => return None,
            }
        }
    }

    /// Waits for a client once. An unused permit is returned. Without a permit the client is admitted if a slot is free
    /// when it is accepted, and refused otherwise.
    pub fn look(&mut self, permit: Option<Permit>, options: &WaitOptions) -> (AcceptOutcome, Option<Permit>) {
        match self.wait(options) {
            Ready::Socket(listener) => self.take(listener, permit),
            Ready::Nothing => (AcceptOutcome::NoClient, permit),
            Ready::Closed => (AcceptOutcome::Closed, permit),
        }
    }

    /// The first half of [`Acceptor::look`]: waits until one of the sockets is ready.
    pub fn wait(&mut self, options: &WaitOptions) -> Ready<'a> {
        self.listener_set.wait(options)
    }

    /// The second half: accepts a client from it.
    pub fn take(
        &mut self,
        listener: &Listener,
        mut permit: Option<Permit>,
    ) -> (AcceptOutcome, Option<Permit>) {
        let slots = &self.context.slots;
        if slots.reserve(1) == 0 {
            return (AcceptOutcome::NoClient, permit);
        }
        let accepted = self.listener_set.call(|| listener.accept());
        self.listener_set.leave();
        let outcome = match self.context.receive(accepted, &mut permit) {
            Ok(admitted) => {
                self.backoff.reset();
                match admitted {
                    Admitted::Accepted(accepted) => AcceptOutcome::Accepted(accepted),
                    Admitted::Refused => AcceptOutcome::NoClient,
                    Admitted::Lingers(socket) => {
                        self.listener_set.linger(socket);
                        AcceptOutcome::NoClient
                    }
                }
            }
            // EAGAIN on a blocking socket: an interrupt made it non-blocking, and the backlog is empty.
            Err(AcceptError::WouldBlock) if self.listener_set.is_asked_to_stop() => AcceptOutcome::Closed,
            Err(AcceptError::WouldBlock | AcceptError::Retry) => AcceptOutcome::NoClient,
            Err(AcceptError::Exhausted(error)) => {
                AcceptOutcome::Shortage(self.context.exhausted("accept", &error, &mut self.backoff))
            }
            // Not a fault: the listener was closed, and its socket shut down while this worker waited.
            Err(AcceptError::Fatal(_)) if slots.is_closed_for_all() => AcceptOutcome::Closed,
            Err(AcceptError::Fatal(error)) => {
                self.broken = Some(io::Error::other(format!("cannot accept at {}: {error}", listener.url())));
                slots.close();
                AcceptOutcome::Closed
            }
        };
        (outcome, permit)
    }
}
