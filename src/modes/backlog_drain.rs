//! What waits in the backlog when a listener stops and its workers are busy: served side by side and without a limit, by an event
//! loop that accepts what is there, closes the sockets and ends with the last connection, or when the time to drain is over.

use std::io;

use log::warn;

use super::event_loop;
use crate::{
    serve::{context::ListenerContext, listener_set::LingerList},
    socket::listener::Listener,
    sys::poller::Poll,
};

/// Serves who waits at `sockets` to the end, and refuses clients from then on; those `refused` before may read why. The gate must
/// have been stopped.
pub(super) fn serve(context: &ListenerContext, sockets: &[Listener], refused: LingerList) {
    let again: io::Result<Vec<Listener>> = sockets.iter().map(Listener::try_clone).collect();
    let served = again.and_then(|mut again| event_loop::serve_on(context, &mut again, refused, Poll::new()));
    if let Err(error) = served {
        let name = &context.settings.name;
        warn!(
            "listener \"{name}\": cannot serve the clients that wait at the stop: {error}; they are refused"
        );
    }
    sockets.iter().for_each(Listener::refuse);
}

/// Whether there is anybody to serve: clients that wait when the daemon stops, at sockets that nobody else has.
pub(super) fn is_due(context: &ListenerContext) -> bool {
    context.settings.protocol.is_stream() && context.slots.is_stopped() && !context.slots.is_handed_over()
}

/// Refuses clients from now on, and those who wait, unless somebody else has the sockets: the next generation, or the one before,
/// where this one does not begin.
pub(super) fn refuse(context: &ListenerContext, sockets: &[Listener]) {
    if context.settings.protocol.is_stream() && context.startup.has_begun() && !context.slots.is_handed_over()
    {
        sockets.iter().for_each(Listener::refuse);
    }
}
