//! Shutdown while all workers are busy: an event loop over poll(2) accepts the whole backlog, without a connection limit,
//! closes the listening sockets, and ends with the last connection or at the drain timeout.

use std::io;

use log::warn;

use super::event_loop;
use crate::{
    report::log_event::LogEvent,
    serve::{context::ListenerContext, listener_set::LingerList},
    socket::listener::Listener,
    sys::poller::Poll,
};

/// Ends accepting: at shutdown serves the backlog, because workers may stay busy with their clients or be at the limit; otherwise
/// refuses it. Lingers on clients `refused` earlier that have not read the reason yet.
pub(super) fn close(context: &ListenerContext, sockets: &[Listener], refused: LingerList) {
    match is_due(context) {
        true => serve(context, sockets, refused),
        false => {
            refuse(context, sockets);
            refused.finish();
        }
    }
}

/// Serves the clients in the backlog of `sockets` to the end, then refuses further clients. Also lingers on clients `refused`
/// earlier that have not read the reason yet. The listener must have been stopped.
pub(super) fn serve(context: &ListenerContext, sockets: &[Listener], refused: LingerList) {
    let cloned: io::Result<Vec<Listener>> = sockets.iter().map(Listener::try_clone).collect();
    let served =
        cloned.and_then(|mut cloned| event_loop::serve_on(context, &mut cloned, refused, Poll::new()));
    if let Err(error) = served {
        let name = context.settings.name.as_str();
        warn!(
            event = LogEvent::BacklogRefused, listener = name, error:% = error;
            "listener \"{name}\": cannot serve the clients that wait at the stop: {error}; they are refused"
        );
    }
    sockets.iter().for_each(Listener::refuse);
}

/// Whether the backlog is to be served: at shutdown, unless another generation has the sockets.
pub(super) fn is_due(context: &ListenerContext) -> bool {
    context.settings.protocol.is_stream() && context.slots.is_stopped() && !context.slots.is_handed_over()
}

/// Refuses clients from now on, including those in the backlog. Does nothing if another generation serves the sockets: the
/// next one, or the previous one where this one never began.
pub(super) fn refuse(context: &ListenerContext, sockets: &[Listener]) {
    if context.settings.protocol.is_stream() && context.startup.has_begun() && !context.slots.is_handed_over()
    {
        sockets.iter().for_each(Listener::refuse);
    }
}
