//! Connections in the log: the start at level debug, the close in one line; the close is counted as well.

use std::{fmt, sync::atomic::Ordering::Relaxed, time::Duration};

use log::{Level, debug, log, log_enabled};
use socket2::Socket;

use crate::{
    report::{
        close_reason::CloseReason,
        decimal::{Decimal, HumanDuration},
        log_event::{LogEvent, micros},
    },
    serve::context::ListenerContext,
    socket::address::Peer,
    stream::blocking::ConnectionSummary,
    sys::credentials::{PeerProcess, peer_process},
};

impl ListenerContext {
    /// Logs that a connection was opened.
    pub(super) fn log_open(&self, socket: &Socket, peer: &Peer) {
        if log_enabled!(Level::Debug) {
            let name = self.settings.name.as_str();
            let process = self.process_at(socket, Level::Debug);
            let url = peer.source(self.settings.protocol, None).of(process);
            debug!(
                event = LogEvent::ConnectionOpened, listener = name, peer:% = url;
                "listener \"{name}\": {url} connected"
            );
        }
    }

    /// Counts and logs the close of a connection.
    pub fn log_close(&self, peer: &Peer, summary: ConnectionSummary) {
        self.count_close(&summary, || {
            peer.source(self.settings.protocol, summary.proxied_source).to_string()
        });
        self.log_close_line(peer, summary);
    }

    /// The first half of [`ListenerContext::log_close`]; `source` formats the client's address.
    pub fn count_close(&self, summary: &ConnectionSummary, source: impl FnOnce() -> String) {
        self.stats.ended(summary.end, summary.lasted);
        if summary.is_empty() {
            self.stats.empty.fetch_add(1, Relaxed);
        }
        if let CloseReason::Refused(reason) = summary.end {
            self.refuse(reason, 1, source);
        }
    }

    /// Whether such a close is logged at the current level.
    pub fn logs_close(&self, summary: &ConnectionSummary) -> bool {
        self.close_level(summary) <= log::max_level()
    }

    /// The process at the other end of a unix socket, if such a close is logged.
    pub fn process_to_log(&self, socket: &Socket, summary: &ConnectionSummary) -> Option<PeerProcess> {
        self.process_at(socket, self.close_level(summary))
    }

    /// The process at the other end of a unix socket, if lines of this level are logged.
    pub(super) fn process_at(&self, socket: &Socket, level: Level) -> Option<PeerProcess> {
        let is_logged = self.settings.protocol.is_unix() && level <= log::max_level();
        is_logged.then(|| peer_process(socket)).flatten()
    }

    /// The second half of [`ListenerContext::log_close`], which may come later.
    pub fn log_close_line(&self, peer: &Peer, summary: ConnectionSummary) {
        let level = self.close_level(&summary);
        let ConnectionSummary { received, sent, end, proxied_source, process, lasted, lingered } = summary;
        let (received, sent) = (Decimal(received), Decimal(sent));
        let name = self.settings.name.as_str();
        let url = peer.source(self.settings.protocol, proxied_source).of(process);
        let time = Open { lasted, lingered };
        match end {
            CloseReason::Refused(reason) => log!(
                level, event = LogEvent::ConnectionRefused, listener = name, peer:% = url,
                duration_us = micros(lasted), reason = reason.word();
                "listener \"{name}\": {url} refused ({reason}) after {time}: {end}"
            ),
            end if end.is_fault() => log!(
                level, event = LogEvent::ConnectionLost, listener = name, peer:% = url,
                duration_us = micros(lasted), reason = end.word(), signal = end.signal();
                "listener \"{name}\": {url} lost after {time}: {end}"
            ),
            _ => log!(
                level, event = LogEvent::ConnectionClosed, listener = name, peer:% = url,
                bytes_received = received.0, bytes_sent = sent.0, duration_us = micros(lasted),
                lingered_us = (!lingered.is_zero()).then(|| micros(lingered)), reason = end.word(),
                errno = end.errno();
                "listener \"{name}\": {url} closed after {time}, {received} bytes in, {sent} bytes out: {end}"
            ),
        }
    }

    /// The log level of a close. A client that came and went without a byte would fill the log with lines that say nothing: a
    /// health check does so every few seconds.
    fn close_level(&self, summary: &ConnectionSummary) -> Level {
        use CloseReason::{PeerClosed, PeerReset, Refused, ServiceClosed};
        match summary.end {
            Refused(_) => Level::Debug,
            end if end.is_fault() => Level::Warn,
            PeerClosed | PeerReset | ServiceClosed
                if summary.is_empty() && !self.settings.log_empty_connections =>
            {
                Level::Debug
            }
            _ => Level::Info,
        }
    }
}

/// How long a connection was open: `1.001s`, or `1.001s (lingered 2.000s)`.
struct Open {
    lasted: Duration,
    lingered: Duration,
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HumanDuration(self.lasted).fmt(f)?;
        match self.lingered {
            Duration::ZERO => Ok(()),
            lingered => write!(f, " (lingered {})", HumanDuration(lingered)),
        }
    }
}
