//! The answers to a batch: made in the buffers of the requests, and sent together.

use std::{
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering::Relaxed,
};

use log::{Level, debug, error, log_enabled};

use crate::{
    config::Payload,
    faults::Faults,
    report::{close_reason::CloseReason, log_event::LogEvent, payload, refusal_reason::RefusalReason},
    serve::{
        context::{AnswerRoom, ListenerContext},
        datagram::describe,
        unsent::log_unsent,
    },
    service::Service,
    socket::{address::Peer, listener::Listener},
    sys::mmsg::{Batch, Request, SendRoom},
};

/// Answers the admitted datagrams of a batch.
pub fn answer(context: &ListenerContext, listener: &Listener, batch: &mut Batch) {
    if context.settings.payload != Payload::Off || log_enabled!(Level::Debug) {
        show(context, batch);
    }
    let allow_amplification = context.settings.allow_amplification;
    let refuse = |reason: RefusalReason, request: Request<'_>| {
        context.refuse(reason, 1, || super::source(context, request));
        None
    };
    let make = |buffer: &mut [u8], request: Request<'_>| {
        reply(&*context.service, buffer, request.length(), allow_amplification)
            .unwrap_or_else(|reason| refuse(reason, request))
    };
    let describe = |buffer: &mut [u8], request: Request<'_>| {
        describe::reply(context, listener, buffer, request).unwrap_or_else(|reason| refuse(reason, request))
    };
    let describes = context.settings.service.describes_requests();
    let by_plan = |faults: &Faults, batch: &mut Batch| {
        batch.answer_tagged(|buffer, request, tag| {
            let length = if describes { describe(buffer, request) } else { make(buffer, request) }?;
            faults.reply(listener.as_fd(), buffer, length, request, tag)
        });
    };
    let mut make_all = || match &context.faults {
        Some(faults) => by_plan(faults, batch),
        None if describes => batch.answer(describe),
        None => batch.answer(make),
    };
    // A panic of the service costs one datagram, not the batch.
    while catch_unwind(AssertUnwindSafe(&mut make_all)).is_err() {
        context.stats.died.fetch_add(1, Relaxed);
        context.stats.errors.fetch_add(1, Relaxed);
        let name = context.settings.name.as_str();
        error!(
            event = LogEvent::DatagramLost, listener = name, reason = CloseReason::Panicked.word();
            "listener \"{name}\": the service panicked; one datagram is lost"
        );
    }
    let mut room = context.unread.as_ref().map(|unread| unread.room(listener));
    let send_room = room.as_mut().map(|room| room as &mut dyn SendRoom);
    let sent = batch.send(listener.as_fd(), super::has_error_queue(context, listener), send_room);
    context.stats.sent(sent.bytes);
    context.faults.iter().for_each(|faults| faults.note_sent(batch));
    if sent.has_feedback {
        super::drain_error_queue(context, listener);
    }
    if let Some(peer) = room.as_ref().and_then(AnswerRoom::withheld_from) {
        context
            .refuse(RefusalReason::Unread, sent.withheld, || peer.url(context.settings.protocol).to_string());
    }
    if sent.error != 0 {
        log_unsent(&context.settings.name, &context.stats, Some(listener), &sent);
    }
}

/// Makes the answer to a datagram, and returns its length. An answer longer than its request is refused: a client that
/// forges its source address could use it to amplify an attack. It is not truncated either, which would be a wrong
/// answer.
pub(super) fn reply(
    service: &dyn Service,
    buffer: &mut [u8],
    request: usize,
    allow_amplification: bool,
) -> Result<Option<usize>, RefusalReason> {
    match service.datagram(buffer, request) {
        Some(length) if length > request && !allow_amplification => Err(RefusalReason::Amplifying),
        reply => Ok(reply),
    }
}

/// Logs the requests that are answered.
#[cold]
fn show(context: &ListenerContext, batch: &Batch) {
    let (name, how) = (context.settings.name.as_str(), context.settings.payload);
    for (i, request) in batch.requests().enumerate().filter(|(i, _)| batch.refused() & (1 << i) == 0) {
        let peer = Peer::from(&request.source());
        let (url, length) = (peer.url(context.settings.protocol), request.length());
        if how != Payload::Off {
            payload::log(name, url, batch.payload(i), how);
        }
        debug!(
            event = LogEvent::DatagramReceived, listener = name, peer:% = url, bytes = length;
            "listener \"{name}\": {url} sent a datagram of {length} bytes"
        );
    }
}
