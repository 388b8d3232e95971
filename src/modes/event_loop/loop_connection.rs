//! A connection of an event loop: socket, state machine and connection slot.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use socket2::Socket;

use crate::{
    access::slots::Permit,
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
        if self.faults.is_some() {
            return self.step_by_plan(scratch, context, mode);
        }
        let LoopConnection { socket, connection, permit, .. } = self;
        let transport = &mut poller.transport(socket, scratch);
        // After a panic the connection is closed, and its state not used again.
        let step = || match connection.advance(transport, &context.context(), mode) {
            Step::HeaderRead => match context.admit_proxied(connection) {
                Ok(source_slot) => {
                    source_slot.into_iter().for_each(|source_slot| permit.hold(Some(source_slot)));
                    // The header may have consumed the only event: read on until EAGAIN.
                    connection.advance(transport, &context.context(), ReadMode::UntilWouldBlock)
                }
                Err(reason) => Step::Closed(CloseReason::Refused(reason)),
            },
            wait => wait,
        };
        catch_unwind(AssertUnwindSafe(step)).unwrap_or(Step::Closed(CloseReason::Panicked))
    }
}
