//! Refusing: counted by reason, told once per connection at level debug, and otherwise at most once a minute.

use std::{net::Shutdown, os::fd::AsRawFd};

use log::{debug, warn};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv, send},
};
use socket2::Socket;

use super::Duty;
use crate::{config::WhenFull, peer::Peer, reason::Reason, sys::clock};

impl Duty {
    /// Refuses `count` datagrams for one reason. The log tells of that reason at most once a minute.
    pub fn refuse(&self, reason: Reason, count: u64) {
        self.stats.refuse(reason, count);
        if let Some(count) = self.stats.tell_refusals(reason, clock::now()) {
            let name = self.settings.name.as_str();
            let line = reason.line();
            warn!(
                listener = name, reason = reason.word();
                "listener \"{name}\": {count} refused ({reason}): {line}"
            );
        }
    }

    /// Counts `count` answers that were withheld, the first of them from `peer`, which does not read. The log names it, once a minute.
    pub fn withhold(&self, count: u64, peer: &Peer) {
        let reason = Reason::Unread;
        self.stats.refuse(reason, count);
        if let Some(count) = self.stats.tell_refusals(reason, clock::now()) {
            let (name, url) = (self.settings.name.as_str(), peer.url(self.settings.protocol));
            let line = reason.line();
            warn!(
                listener = name, reason = reason.word();
                "listener \"{name}\": {count} refused ({reason}), the last from {url}: {line}"
            );
        }
    }

    /// Refuses a connection. Where there are too many the peer is told, as `when-full` says; nobody else learns why. False if
    /// the socket is to be closed at once, true if only when the peer has ended, so that it can read the message.
    pub(super) fn turn_away(&self, socket: &Socket, peer: &Peer, reason: Reason) -> bool {
        let lingers = matches!(reason, Reason::Full | Reason::SourceFull) && self.tell(socket);
        let (name, url, line) =
            (self.settings.name.as_str(), peer.url(self.settings.protocol), reason.line());
        debug!(
            listener = name, reason = reason.word();
            "listener \"{name}\": {url} refused ({reason}): {line}"
        );
        self.refuse(reason, 1);
        lingers
    }

    /// Says good-bye without waiting for anybody: what fits is sent, and what has come is read, because closing a socket that has
    /// not been read resets the connection, and a reset may overtake the words. True if there are words, and more may come.
    fn tell(&self, socket: &Socket) -> bool {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let mut lingers = false;
        if self.settings.when_full == WhenFull::Message {
            let words = format!("{}\n", self.settings.refusal);
            lingers = send(socket.as_raw_fd(), words.as_bytes(), flags).is_ok();
        }
        let _ = socket.shutdown(Shutdown::Write);
        let mut thrown_away = [0; 4096];
        for _ in 0..16 {
            match recv(socket.as_raw_fd(), &mut thrown_away, flags) {
                Ok(1..) => {}
                Err(Errno::EAGAIN) => return lingers,
                _ => return false,
            }
        }
        lingers
    }
}
