//! Refusals: counted by reason, logged for each connection at level debug, and otherwise at most once a minute.

use std::{net::Shutdown, os::fd::AsRawFd};

use log::{Level, debug, warn};
use nix::sys::socket::{MsgFlags, send};
use rustix::io::Errno;
use socket2::Socket;

use crate::{
    config::WhenFull,
    report::{log_event::LogEvent, refusal_reason::RefusalReason},
    serve::context::ListenerContext,
    socket::address::Peer,
    sys::{clock, credentials::peer_user, record},
};

impl ListenerContext {
    /// Refuses `count` connections or datagrams for one reason. Each reason is logged at most once a minute, with one
    /// `source` as an example, which is formatted only then.
    pub fn refuse(&self, reason: RefusalReason, count: u64, source: impl FnOnce() -> String) {
        self.stats.refuse(reason, count);
        if let Some(count) = self.stats.refusals_to_log(reason, clock::now()) {
            let name = self.settings.name.as_str();
            let (line, source, cure) = (reason.line(), source(), reason.help());
            warn!(
                event = LogEvent::ClientsRefused, listener = name, count, reason = reason.word(),
                source = source.as_str();
                "listener \"{name}\": {count} refused ({reason}): {line}, the last from {source}; {cure}"
            );
        }
    }

    /// Refuses a connection. Only at a limit of open connections is the reason sent to the client, if `when-full` asks
    /// for it. False if the socket is to be closed at once; true if only after the client has closed, so that it can
    /// read the message.
    pub(super) fn refuse_client(&self, socket: &Socket, peer: &Peer, reason: RefusalReason) -> bool {
        let lingers =
            matches!(reason, RefusalReason::Full | RefusalReason::SourceFull) && self.send_refusal(socket);
        let (name, line) = (self.settings.name.as_str(), reason.line());
        let process = self.process_at(socket, Level::Debug);
        let url = peer.source(self.settings.protocol, None).of(process);
        debug!(
            event = LogEvent::ConnectionRefused, listener = name, peer:% = url, reason = reason.word();
            "listener \"{name}\": {url} refused ({reason}): {line}"
        );
        self.refuse(reason, 1, || match peer {
            Peer::Inet(_) => url.to_string(),
            // Nearly all clients of a unix socket are unnamed.
            _ => peer_user(socket).map_or_else(|_| url.to_string(), |user| format!("user {user}")),
        });
        lingers
    }

    /// Sends the message and half-closes, without waiting. What has arrived is discarded: closing a socket with unread
    /// input resets the connection, and the reset may overtake the message. True if a message was sent and more input
    /// may arrive.
    fn send_refusal(&self, socket: &Socket) -> bool {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let mut lingers = false;
        if self.settings.when_full == WhenFull::Message {
            let message = format!("{}\n", self.settings.refusal);
            lingers = send(socket.as_raw_fd(), message.as_bytes(), flags).is_ok();
        }
        let _ = socket.shutdown(Shutdown::Write);
        for _ in 0..16 {
            match record::discard(socket) {
                Ok(Some(_)) => {}
                Err(Errno::AGAIN) => return lingers,
                _ => return false,
            }
        }
        lingers
    }
}
