//! Admission: the one place that decides about somebody who was accepted. Whoever is refused is closed before any service
//! runs.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Instant,
};

use socket2::Socket;

use crate::serve::context::{Accepted, Admitted, ListenerContext};
use crate::{
    access::{
        limits::Limits,
        slots::{Permit, PoolProcess},
        sources::{SourceKey, SourceSlot},
    },
    config::WhenFull,
    report::refusal_reason::RefusalReason,
    socket::{address::Peer, listener::AcceptError},
    sys::{
        clock,
        credentials::{peer_is_in, peer_user},
    },
};

impl ListenerContext {
    /// What becomes of a client that was `accepted` after a request was claimed. The permit is taken by a guest only.
    pub fn receive(
        &self,
        accepted: Result<(Socket, Peer), AcceptError>,
        permit: &mut Option<Permit>,
    ) -> Result<Admitted, AcceptError> {
        let admitted = accepted.map(|(socket, peer)| self.decide(socket, peer, permit));
        // Who is refused is none of `max-requests`.
        self.slots.commit(1, usize::from(matches!(admitted, Ok(Admitted::Accepted(_)))));
        admitted
    }

    fn decide(&self, socket: Socket, peer: Peer, permit: &mut Option<Permit>) -> Admitted {
        match self.admit(&socket, &peer, permit) {
            Ok(mut permit) => {
                permit.open();
                self.stats.served.fetch_add(1, Relaxed);
                self.greet(&socket, &peer);
                Admitted::Accepted(Accepted { socket, peer, permit, opened: Instant::now() })
            }
            Err(reason) => match self.refuse_client(&socket, &peer, reason) {
                true => Admitted::Lingers(socket),
                false => Admitted::Refused,
            },
        }
    }

    /// Decides about a peer that was accepted, and takes the permit if it may stay.
    pub fn admit(
        &self,
        socket: &Socket,
        peer: &Peer,
        permit: &mut Option<Permit>,
    ) -> Result<Permit, RefusalReason> {
        // Of whom a proxy speaks is decided later.
        let awaits_header = self.awaits_header(peer)?;
        match peer {
            Peer::Inet(_) if awaits_header => {}
            Peer::Inet(address) => self.judge(address.ip())?,
            Peer::Path(_) | Peer::Abstract(_) | Peer::Unnamed => self.judge_user(socket)?,
        }
        let Some(mut taken) = permit.take().or_else(|| self.slots.try_acquire()) else {
            return Err(RefusalReason::Full);
        };
        if let Some(limits) = &self.limits {
            match self.limit(limits, socket, peer, awaits_header) {
                Ok(place) => taken.hold(place),
                Err(reason) => {
                    *permit = Some(taken);
                    return Err(reason);
                }
            }
        }
        Ok(taken)
    }

    /// What a connection takes of the limits: first of its source, so that one alone cannot use up those of the listener.
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
            // Who cannot be asked for is under the limits of the listener alone.
            _ => peer_user(socket).ok().map(SourceKey::User),
        };
        let place = source.map_or(Ok(None), |source| limits.connect(source, now))?;
        limits.arrive(now)?;
        Ok(place)
    }

    /// Decides about a connection whose address a proxy tells of: `allow`, `deny` and the limits of its source. To be called once, when
    /// the address is known; the place is given back when it is dropped.
    pub fn admit_address(&self, source: IpAddr) -> Result<Option<SourceSlot>, RefusalReason> {
        self.judge(source)?;
        let limits = self.limits.as_ref();
        limits.map_or(Ok(None), |limits| limits.connect(SourceKey::Ip(source), clock::now()))
    }

    /// Takes a datagram of so many bytes that came at `now` off what its source may send.
    pub fn limit_datagram(
        &self,
        source: impl Into<IpAddr>,
        bytes: usize,
        now: u64,
    ) -> Result<(), RefusalReason> {
        self.limits.as_ref().map_or(Ok(()), |limits| limits.datagram(source.into(), bytes, now))
    }

    /// Whether clients wait in the backlog while all places are taken; otherwise they are told.
    pub fn queues_when_full(&self) -> bool {
        self.settings.when_full == WhenFull::Wait
    }

    /// Takes back what a process of a pool had open when it died.
    pub fn reclaim(&self, worker: &PoolProcess) {
        self.stats.died.fetch_add(1, Relaxed);
        self.stats.open.fetch_sub(worker.open.swap(0, Relaxed), Relaxed);
        self.release_source(&worker.place);
    }

    /// Takes back the place of a source that a process has told of in `place`: one more than its number.
    pub fn release_source(&self, place: &AtomicU32) {
        let place = place.swap(0, Relaxed);
        if let (Some(limits), Some(place)) = (&self.limits, place.checked_sub(1)) {
            limits.leave(place);
        }
    }

    /// Whether an address may come in: `allow` and `deny`. For datagrams too, and for an address that a proxy tells of.
    pub fn judge(&self, source: impl Into<IpAddr>) -> Result<(), RefusalReason> {
        self.rules.as_ref().map_or(Ok(()), |rules| rules.judge(source.into()).result())
    }

    /// Whether the user at the other end of a unix socket may come in: `allow-users` and `allow-groups`.
    fn judge_user(&self, socket: &Socket) -> Result<(), RefusalReason> {
        let (users, groups) = (&self.settings.allow_users, &self.settings.allow_groups);
        if users.is_empty() && groups.is_empty() {
            return Ok(());
        }
        // Who cannot be asked for is nobody we know.
        let is_user = || peer_user(socket).is_ok_and(|user| users.iter().any(|owner| owner.id == user));
        let groups: Vec<u32> = groups.iter().map(|group| group.id).collect();
        let known = is_user() || peer_is_in(socket, &groups).unwrap_or(false);
        known.then_some(()).ok_or(RefusalReason::User)
    }
}
