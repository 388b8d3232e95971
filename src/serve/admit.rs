//! Admission: the one place that decides about an accepted client. A refused client is closed before any service runs.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use socket2::Socket;

use crate::{
    access::{
        limits::Limits,
        slots::{Permit, PoolProcess},
        sources::{SourceKey, SourceSlot},
    },
    config::{Dscp, WhenFull},
    faults::stream::ConnectionFaults,
    report::{close_reason::CloseKind, refusal_reason::RefusalReason},
    serve::context::{Accepted, ListenerContext},
    socket::{address::Peer, listener::AcceptError, options},
    sys::{
        clock,
        credentials::{peer_is_in, peer_user},
    },
};

/// The decision about an accepted client.
pub enum Admitted {
    /// Admitted.
    Accepted(Accepted),
    /// Refused, and closed.
    Refused,
    /// Refused with a message: its input is to be discarded until the client closes or its time is over.
    Lingers(Socket),
}

impl ListenerContext {
    /// Decides about a client that was accepted with a reserved request. Only an admitted client uses up the permit.
    pub fn receive(
        &self,
        accepted: Result<(Socket, Peer), AcceptError>,
        permit: &mut Option<Permit>,
    ) -> Result<Admitted, AcceptError> {
        let admitted = accepted.map(|(socket, peer)| self.decide(socket, peer, permit));
        // A refused client does not count towards `max-requests`.
        self.slots.commit(1, usize::from(matches!(admitted, Ok(Admitted::Accepted(_)))));
        admitted
    }

    fn decide(&self, socket: Socket, peer: Peer, permit: &mut Option<Permit>) -> Admitted {
        match self.admit(&socket, &peer, permit) {
            Ok(mut permit) => {
                permit.open();
                if self.settings.dscp == Some(Dscp::Reflect) {
                    options::reflect_dscp(&socket);
                }
                self.stats.served.fetch_add(1, Relaxed);
                self.log_open(&socket, &peer);
                let faults = self.faults_of(&peer);
                Admitted::Accepted(Accepted { socket, peer, permit, opened: Instant::now(), faults })
            }
            Err(reason) => match self.refuse_client(&socket, &peer, reason) {
                true => Admitted::Lingers(socket),
                false => Admitted::Refused,
            },
        }
    }

    /// What the plan of the listener does to the next connection from this peer, if anything.
    pub fn faults_of(&self, peer: &Peer) -> Option<Box<ConnectionFaults>> {
        let awaits_header = self.awaits_header(peer).unwrap_or(false);
        self.faults.as_ref().and_then(|faults| faults.connect(peer, awaits_header))
    }

    /// Decides about an accepted peer, and takes the permit if it is admitted.
    pub fn admit(
        &self,
        socket: &Socket,
        peer: &Peer,
        permit: &mut Option<Permit>,
    ) -> Result<Permit, RefusalReason> {
        // A proxied client is decided on later, when its address is known.
        let awaits_header = self.awaits_header(peer)?;
        match peer {
            Peer::Inet(_) if awaits_header => {}
            Peer::Inet(address) => self.access.judge(address.ip())?,
            Peer::Path(_) | Peer::Abstract(_) | Peer::Unnamed => self.judge_user(socket)?,
        }
        let Some(mut taken) = permit.take().or_else(|| self.slots.try_acquire()) else {
            return Err(RefusalReason::Full);
        };
        if let Some(limits) = &self.access.limits {
            match self.limit(limits, socket, peer, awaits_header) {
                Ok(slot) => taken.hold(slot),
                Err(reason) => {
                    *permit = Some(taken);
                    return Err(reason);
                }
            }
        }
        Ok(taken)
    }

    /// Charges a connection to the limits: first to those of its source, so that one source cannot use up those of the
    /// listener.
    fn limit(
        &self,
        limits: &Limits,
        socket: &Socket,
        peer: &Peer,
        awaits_header: bool,
    ) -> Result<Option<SourceSlot>, RefusalReason> {
        let now = clock::now();
        let source = match peer {
            _ if awaits_header => None,
            Peer::Inet(address) => Some(SourceKey::Ip(address.ip())),
            // A peer whose user is unknown is under the limits of the listener alone.
            _ => peer_user(socket).ok().map(SourceKey::User),
        };
        let slot = source.map_or(Ok(None), |source| limits.connect(source, now))?;
        limits.arrive(now)?;
        Ok(slot)
    }

    /// Whether clients wait in the backlog while all slots are taken; otherwise they are refused.
    pub fn queues_when_full(&self) -> bool {
        self.settings.when_full == WhenFull::Wait
    }

    /// Reclaims what a pool process had open when it died, and counts the connection that ended with it.
    pub fn reclaim(&self, worker: &PoolProcess, end: CloseKind) {
        self.stats.died.fetch_add(1, Relaxed);
        let open = worker.open.swap(0, Relaxed);
        if open > 0 {
            let since = worker.since.load(Relaxed);
            self.stats.count_end(end, Duration::from_nanos(clock::now().saturating_sub(since)));
        }
        self.stats.open.fetch_sub(open, Relaxed);
        self.access.release_source(&worker.place);
    }

    /// Checks the user at the other end of a unix socket against `allow-users` and `allow-groups`.
    fn judge_user(&self, socket: &Socket) -> Result<(), RefusalReason> {
        let (users, groups) = (&self.settings.allow_users, &self.settings.allow_groups);
        if users.is_empty() && groups.is_empty() {
            return Ok(());
        }
        // A peer whose user is unknown is on no list.
        let is_user = || peer_user(socket).is_ok_and(|user| users.iter().any(|owner| owner.id == user));
        let groups: Vec<u32> = groups.iter().map(|group| group.id).collect();
        let known = is_user() || peer_is_in(socket, &groups).unwrap_or(false);
        known.then_some(()).ok_or(RefusalReason::User)
    }
}
