//! Admission: the one place that decides about somebody who was accepted. Whoever is refused is closed before any service
//! runs.

use std::{net::IpAddr, sync::atomic::Ordering::Relaxed, time::Instant};

use socket2::Socket;

use super::{Duty, Guest};
use crate::{
    admission::Permit,
    listener::Refusal,
    peer::Peer,
    reason::Reason,
    sys::credentials::{peer_is_in, peer_user},
};

impl Duty {
    /// What becomes of somebody who was `accepted` after a request was claimed: a guest, or `None` if that one was refused.
    /// The permit is taken by a guest only.
    pub fn receive(
        &self,
        accepted: Result<(Socket, Peer), Refusal>,
        permit: &mut Option<Permit>,
    ) -> Result<Option<Guest>, Refusal> {
        let guest = accepted.map(|(socket, peer)| self.receive_settled(socket, peer, permit));
        // Who is refused is none of `max-requests`.
        self.gate.settle(1, usize::from(matches!(guest, Ok(Some(_)))));
        guest
    }

    /// As [`Duty::receive`], for somebody whose claim was settled before.
    pub(super) fn receive_settled(
        &self,
        socket: Socket,
        peer: Peer,
        permit: &mut Option<Permit>,
    ) -> Option<Guest> {
        match self.admit(&socket, &peer, permit) {
            Ok(mut permit) => {
                permit.open();
                self.stats.served.fetch_add(1, Relaxed);
                Some(Guest { socket, peer, permit, opened: Instant::now() })
            }
            Err(reason) => {
                self.turn_away(&peer, reason);
                None
            }
        }
    }

    /// Decides about a peer that was accepted, and takes the permit if it may stay.
    pub fn admit(&self, socket: &Socket, peer: &Peer, permit: &mut Option<Permit>) -> Result<Permit, Reason> {
        match peer {
            Peer::Inet(address) => self.judge(address.ip())?,
            Peer::Path(_) | Peer::Abstract(_) | Peer::Unnamed => self.judge_user(socket)?,
        }
        permit.take().ok_or(Reason::Full)
    }

    /// Whether an address may come in: `allow` and `deny`. For datagrams too, and for an address that a proxy tells of.
    pub fn judge(&self, source: IpAddr) -> Result<(), Reason> {
        self.rules.as_ref().map_or(Ok(()), |rules| rules.judge(source).result())
    }

    /// Whether the user at the other end of a unix socket may come in: `allow-users` and `allow-groups`.
    fn judge_user(&self, socket: &Socket) -> Result<(), Reason> {
        let (users, groups) = (&self.settings.allow_users, &self.settings.allow_groups);
        if users.is_empty() && groups.is_empty() {
            return Ok(());
        }
        // Who cannot be asked for is nobody we know.
        let is_user = || peer_user(socket).is_ok_and(|user| users.iter().any(|owner| owner.id == user));
        let groups: Vec<u32> = groups.iter().map(|group| group.id).collect();
        let known = is_user() || peer_is_in(socket, &groups).unwrap_or(false);
        known.then_some(()).ok_or(Reason::User)
    }
}
