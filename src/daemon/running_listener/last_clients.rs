//! The last clients of an address that is no longer served, or by another socket from now on: those in the backlog, and those
//! whose handshake the kernel still completes. They are served by the old settings; then the socket accepts no more.

use std::time::{Duration, Instant};

use super::RunningListener;
use crate::socket::{
    address::Peer,
    listener::{Listener, SocketOwner},
};

/// How long a client may take from its first packet to the backlog: twice the way around the world.
const ARRIVAL: Duration = Duration::from_secs(1);

/// How often the backlog is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// How often workers are told again to stop accepting: a wake-up may come a moment too early.
const LEAVE_INTERVAL: Duration = Duration::from_millis(5);

/// The wait for the last clients.
pub(super) struct LastClients {
    check: Instant,
    end: Instant,
    /// Whether the workers were told to stop accepting.
    leaving: bool,
}

impl LastClients {
    /// When to check next.
    pub(super) fn due(&self) -> Instant {
        self.check
    }
}

impl RunningListener {
    /// Serves the clients that have come to its sockets, which may wait for that for `patience`, and no others.
    pub fn leave(&mut self, patience: Duration) {
        // New clients still reach an abstract name, and a passed socket is served by another process in the next moment:
        // neither has a last client.
        let is_reachable = |socket: &Listener| {
            socket.owner() == SocketOwner::Activated || matches!(socket.address(), Peer::Abstract(_))
        };
        if self.sockets().iter().any(is_reachable) {
            return self.retire(patience);
        }
        self.superseded = true;
        self.sockets().iter().for_each(Listener::keep_clients_away);
        let now = Instant::now();
        self.last =
            Some(LastClients { check: now + ARRIVAL, end: now + patience.max(ARRIVAL), leaving: false });
    }

    pub(super) fn check_last_clients(&mut self) {
        let now = Instant::now();
        let Some(mut last) = self.last.take_if(|last| last.check <= now) else { return };
        if !last.leaving && self.has_waiting_clients() {
            if last.end <= now {
                return self.retire(Duration::ZERO);
            }
        } else {
            if !last.leaving {
                last.leaving = true;
                self.hand_over();
            }
            if self.has_left(now) {
                return;
            }
        }
        last.check = now + if last.leaving { LEAVE_INTERVAL } else { CHECK_INTERVAL };
        self.last = Some(last);
    }
}
