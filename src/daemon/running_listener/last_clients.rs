//! The last clients of an address that is served no more, or by another socket from now on: those that have come, and those that the
//! kernel is about to let in. They are served as if nothing had changed, and nobody is accepted any more once they are.

use std::time::{Duration, Instant};

use super::RunningListener;
use crate::socket::{
    address::Peer,
    listener::{Listener, SocketOwner},
};

/// So long a client may take from its first packet to the backlog: a way around the world, twice.
const ARRIVAL: Duration = Duration::from_secs(1);

/// How often it is looked whether any wait still.
const LOOK: Duration = Duration::from_millis(100);

/// How often those who accept them are told to leave: it may be a moment too early.
const TOLD: Duration = Duration::from_millis(5);

/// Until when they are waited for.
pub(super) struct LastClients {
    look: Instant,
    end: Instant,
    /// Whether those who accept them were told to leave.
    told: bool,
}

impl LastClients {
    /// When to look.
    pub(super) fn due(&self) -> Instant {
        self.look
    }
}

impl RunningListener {
    /// Serves those who have come to its sockets, who may wait for that for `patience`, and nobody else.
    pub fn leave(&mut self, patience: Duration) {
        // Clients find the way to all others; what was passed others serve in the next moment.
        let finds = |socket: &Listener| {
            socket.owner() == SocketOwner::Activated || matches!(socket.address(), Peer::Abstract(_))
        };
        if self.sockets().iter().any(finds) {
            return self.retire(patience);
        }
        self.superseded = true;
        self.sockets().iter().for_each(Listener::keep_clients_away);
        let now = Instant::now();
        self.last = Some(LastClients { look: now + ARRIVAL, end: now + patience.max(ARRIVAL), told: false });
    }

    pub(super) fn look_for_last_clients(&mut self) {
        let now = Instant::now();
        let Some(mut last) = self.last.take_if(|last| last.look <= now) else { return };
        if !last.told && self.is_called() {
            if last.end <= now {
                return self.retire(Duration::ZERO);
            }
        } else {
            if !last.told {
                last.told = true;
                self.hand_over();
            }
            if self.has_left(now) {
                return;
            }
        }
        last.look = now + if last.told { TOLD } else { LOOK };
        self.last = Some(last);
    }
}
