//! Answers to datagrams that could not be sent: counted, and logged once a minute for each reason.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use log::warn;

use crate::{
    report::{log_event::LogEvent, stats::Stats},
    socket::listener::Listener,
    sys::{clock, mmsg::Sent, shared::Shared},
};

/// What to do with answers that a plan of faults has held and that could not be sent: as with others, but where they were sent from
/// is not known any more.
pub fn on_unsent(name: &str, stats: &Arc<Shared<Stats>>) -> Box<dyn Fn(&Sent) + Send + Sync> {
    let (name, stats) = (name.to_owned(), Arc::clone(stats));
    Box::new(move |sent| log_unsent(&name, &stats, None, sent))
}

/// Counts the answers that could not be sent, and logs why the last one failed, once a minute for each reason.
#[cold]
pub fn log_unsent(name: &str, stats: &Stats, listener: Option<&Listener>, sent: &Sent) {
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
