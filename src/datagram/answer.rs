//! The answers to a batch: made in the buffers of the requests, and sent together.

use std::{
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering::Relaxed,
};

use log::{Level, debug, error, info, log_enabled};

use crate::{
    config::Payload,
    duty::Duty,
    listener::Listener,
    payload::Shown,
    peer::Peer,
    reason::Reason,
    service::Service,
    sys::mmsg::{Batch, Sent},
};

/// Answers all datagrams of a batch that were let in, and sends the answers.
pub fn answer(duty: &Duty, listener: &Listener, batch: &mut Batch) {
    let shown = duty.settings.payload != Payload::Off || log_enabled!(Level::Debug);
    let mut at = 0;
    while at < batch.received() {
        // A service that panics loses one datagram, not the batch.
        let all = || {
            while at < batch.received() {
                at += 1;
                if !batch.is_refused(at - 1) {
                    consider(duty, batch, at - 1, shown);
                }
            }
        };
        if catch_unwind(AssertUnwindSafe(all)).is_err() {
            duty.stats.died.fetch_add(1, Relaxed);
            duty.stats.errors.fetch_add(1, Relaxed);
            error!("listener \"{}\": the service panicked; one datagram is lost", duty.settings.name);
        }
    }
    let sent = batch.send(listener.as_fd(), super::hears_complaints(duty, listener));
    duty.stats.sent(sent.bytes);
    if sent.told {
        super::hear_complaints(duty, listener);
    }
    let Sent { dropped, forbidden, unreachable, oversize, failed, .. } = sent;
    if dropped + forbidden + unreachable + oversize + failed > 0 {
        duty.stats.dropped.fetch_add(dropped, Relaxed);
        duty.stats.forbidden.fetch_add(forbidden, Relaxed);
        duty.stats.unreachable.fetch_add(unreachable, Relaxed);
        duty.stats.oversize.fetch_add(oversize, Relaxed);
        duty.stats.errors.fetch_add(failed, Relaxed);
    }
}

/// Shows one datagram where that is asked for, and answers it.
fn consider(duty: &Duty, batch: &mut Batch, i: usize, shown: bool) {
    if shown {
        show(duty, batch, i);
    }
    let request = batch.length(i);
    match reply(&*duty.service, batch.buffer(i), request, duty.settings.allow_amplification) {
        Ok(Some(length)) => batch.answer(i, length),
        Ok(None) => {}
        Err(reason) => duty.refuse(reason, 1),
    }
}

/// Makes the answer to a datagram, and returns its length. One that is longer than its request would let whoever forges a source
/// address aim more at the victim than he spends himself. It is not sent short either, which would be wrong.
pub(super) fn reply(
    service: &dyn Service,
    buffer: &mut [u8],
    request: usize,
    allow_amplification: bool,
) -> Result<Option<usize>, Reason> {
    match service.datagram(buffer, request) {
        Some(length) if length > request && !allow_amplification => Err(Reason::Amplifying),
        reply => Ok(reply),
    }
}

fn show(duty: &Duty, batch: &mut Batch, i: usize) {
    let (name, payload) = (duty.settings.name.as_str(), duty.settings.payload);
    let peer = Peer::from(&batch.source(i));
    let (url, length) = (peer.url(duty.settings.protocol), batch.length(i));
    if payload != Payload::Off {
        let shown = Shown::new(&batch.buffer(i)[..length], payload);
        info!(listener = name; "listener \"{name}\": {url} {shown}");
    }
    debug!(listener = name; "listener \"{name}\": {url} sent a datagram of {length} bytes");
}
