//! The answers to a batch: made in the buffers of the requests, and sent together.

use std::{
    io,
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use log::{Level, debug, error, log_enabled, warn};

use crate::{
    config::Payload,
    faults::Faults,
    report::{
        close_reason::CloseReason, log_event::LogEvent, payload, refusal_reason::RefusalReason, stats::Stats,
    },
    serve::{
        context::{AnswerRoom, ListenerContext},
        datagram::describe,
    },
    service::Service,
    socket::{address::Peer, listener::Listener},
    sys::{
        clock,
        mmsg::{Batch, Request, SendRoom, Sent},
        shared::Shared,
    },
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

/// What to do with answers that a plan of faults has held and that could not be sent: as with others, but where they were sent from
/// is not known any more.
pub fn on_unsent(name: &str, stats: &Arc<Shared<Stats>>) -> Box<dyn Fn(&Sent) + Send + Sync> {
    let (name, stats) = (name.to_owned(), Arc::clone(stats));
    Box::new(move |sent| log_unsent(&name, &stats, None, sent))
}

/// Counts the answers that could not be sent, and logs why the last one failed, once a minute for each reason.
#[cold]
fn log_unsent(name: &str, stats: &Stats, listener: Option<&Listener>, sent: &Sent) {
    let &Sent { dropped, forbidden, unreachable, oversize, failed, error, .. } = sent;
    stats.dropped.fetch_add(dropped, Relaxed);
    stats.forbidden.fetch_add(forbidden, Relaxed);
    stats.unreachable.fetch_add(unreachable, Relaxed);
    stats.oversize.fetch_add(oversize, Relaxed);
    stats.errors.fetch_add(failed, Relaxed);
    let (kind, count, why) = match error {
        libc::EAGAIN | libc::ENOBUFS => {
            (0, dropped, "; the peer does not read them, or `send-buffer` is too small")
        }
        libc::EPERM | libc::EACCES => (1, forbidden, "; a rule of the packet filter or a route forbids it"),
        libc::EHOSTUNREACH | libc::ENETUNREACH => (2, unreachable, "; no route leads to the peer"),
        libc::EMSGSIZE => (3, oversize, "; they are too long for their way"),
        _ => (4, failed, ""),
    };
    if stats.may_log_unsent(kind, clock::now()) {
        let error = io::Error::from_raw_os_error(error);
        let (url, s) = (listener.map(Listener::url), if count == 1 { "" } else { "s" });
        let from = url.as_ref().map(|url| format!(" from {url}")).unwrap_or_default();
        warn!(
            event = LogEvent::AnswersUnsent, listener = name, address = url.map(|url| url.to_string()), count,
            error:% = error;
            "listener \"{name}\": cannot send {count} answer{s}{from}: {error}{why}"
        );
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
