//! A connection of an event loop: socket, state machine and connection slot.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use socket2::Socket;

use crate::{
    access::slots::Permit,
    faults,
    modes::event_loop::holds::HeldConnection,
    report::close_reason::CloseReason,
    serve::context::ListenerContext,
    stream::connection::{Connection, ReadMode, Step},
    sys::poller::{Interest, Poller},
};

/// One connection. Dropping it closes the socket and releases its slot.
pub(super) struct LoopConnection {
    pub(super) socket: Socket,
    pub(super) connection: Connection,
    pub(super) interest: Interest,
    /// Whether its key is in `ready_list`.
    pub(super) queued: bool,
    pub(super) opened: Instant,
    /// What a plan of faults does to it, and where that stands.
    pub(super) faults: Option<Box<HeldConnection>>,
    // Dropped last: a slot that is free has a free descriptor.
    pub(super) permit: Permit,
}

impl LoopConnection {
    /// Advances the connection by one step. A service that panics loses this connection only.
    pub(super) fn step<P: Poller>(
        &mut self,
        poller: &mut P,
        scratch: &mut [u8],
        context: &ListenerContext,
        mode: ReadMode,
    ) -> Step {
        // After a panic the connection is closed, and its state not used again.
        let step = || match self.advance(poller, scratch, context, mode) {
            Step::HeaderRead => match context.admit_proxied(&self.connection) {
                Ok(source_slot) => {
                    source_slot.into_iter().for_each(|source_slot| self.permit.hold(Some(source_slot)));
                    if let Some(held) = &mut self.faults {
                        held.faults.decide(&self.connection.client());
                    }
                    // The header may have consumed the only event: read on until EAGAIN.
                    self.advance(poller, scratch, context, ReadMode::UntilWouldBlock)
                }
                Err(reason) => {
                    self.faults.iter_mut().for_each(|held| faults::refuse(&self.socket, &mut held.faults));
                    Step::Closed(CloseReason::Refused(reason))
                }
            },
            wait => wait,
        };
        catch_unwind(AssertUnwindSafe(step)).unwrap_or(Step::Closed(CloseReason::Panicked))
    }

    /// The poller carries the bytes of a connection, but system calls those of one that a plan hits.
    fn advance<P: Poller>(
        &mut self,
        poller: &mut P,
        scratch: &mut [u8],
        context: &ListenerContext,
        mode: ReadMode,
    ) -> Step {
        let LoopConnection { socket, connection, faults, .. } = self;
        let context = context.context();
        match faults {
            None => connection.advance(&mut poller.transport(socket, scratch), &context, mode),
            Some(held) => faults::advance(connection, socket, scratch, &mut held.faults, &context, mode),
        }
    }
}
