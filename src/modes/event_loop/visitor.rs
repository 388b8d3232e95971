//! A connection of an event loop.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use socket2::Socket;

use crate::{
    access::gate::Permit,
    report::close_reason::End,
    serve::context::Duty,
    stream::connection::{Appetite, Connection, Wait},
    sys::poller::{Interest, Poller},
};

/// One connection. Dropping it closes the socket and gives its place back.
pub(super) struct Visitor {
    pub(super) socket: Socket,
    pub(super) connection: Connection,
    pub(super) interest: Interest,
    /// Whether its key is in `again` already.
    pub(super) queued: bool,
    pub(super) opened: Instant,
    // Last, so that a place is free when its descriptor is.
    pub(super) permit: Permit,
}

impl Visitor {
    /// Lets it do what it can. A service that panics loses this connection only.
    pub(super) fn step<P: Poller>(
        &mut self,
        poller: &mut P,
        scratch: &mut [u8],
        duty: &Duty,
        appetite: Appetite,
    ) -> Wait {
        let Visitor { socket, connection, permit, .. } = self;
        let line = &mut poller.line(socket, scratch);
        // What the panic left half done is not looked at again.
        let step = || match connection.advance(line, &duty.context(), appetite) {
            Wait::Introduced => match duty.introduce(connection) {
                Ok(place) => {
                    place.into_iter().for_each(|place| permit.hold(Some(place)));
                    // There may be no more that would be told.
                    connection.advance(line, &duty.context(), Appetite::All)
                }
                Err(reason) => Wait::Closed(End::Refused(reason)),
            },
            wait => wait,
        };
        catch_unwind(AssertUnwindSafe(step)).unwrap_or(Wait::Closed(End::Panicked))
    }
}
