//! What a listener checks a client or a datagram against. Processes that serve the same listener share it all.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use crate::{
    access::{
        guard::Guard,
        limits::Limits,
        memory::TableMemory,
        rules::Rules,
        sources::{SourceKey, SourceSlot},
        state::AccessState,
    },
    config,
    report::{refusal_reason::RefusalReason, stats::Stats},
    sys::{clock, shared::Shared},
};

/// The rules, the limits and the guard of one listener, as far as it has them.
#[derive(Clone)]
pub struct Access {
    /// `allow` and `deny`, unless every address is allowed.
    rules: Option<Arc<Rules>>,
    /// Rates and limits per source, if there are any.
    pub limits: Option<Arc<Limits>>,
    /// Filter for datagrams that must not be answered, where the protocol needs one.
    pub guard: Option<Arc<Guard>>,
}

impl Access {
    /// The access to the listener with these `settings` and counters. Processes that share the counters share its tables.
    pub fn of(settings: &config::Listener, stats: &Shared<Stats>) -> io::Result<Access> {
        Access::within(settings, &mut TableMemory::of(stats))
    }

    /// The same, with its tables at the start of `memory`.
    pub fn within(settings: &config::Listener, memory: &mut TableMemory<'_>) -> io::Result<Access> {
        Ok(Access {
            rules: Rules::of(settings).map(Arc::new),
            limits: Limits::of(settings, memory)?.map(Arc::new),
            guard: Guard::new(settings, memory)?.map(Arc::new),
        })
    }

    /// Checks an address against `allow` and `deny`: of a peer, of a datagram, or from a PROXY header.
    pub fn judge(&self, source: impl Into<IpAddr>) -> Result<(), RefusalReason> {
        self.rules.as_ref().map_or(Ok(()), |rules| rules.judge(source.into()).result())
    }

    /// Decides about a client whose address a PROXY header names: `allow`, `deny` and the limits of its source. To be
    /// called once, when the address is known; the source slot is released on drop.
    pub fn admit_address(&self, source: IpAddr) -> Result<Option<SourceSlot>, RefusalReason> {
        self.judge(source)?;
        let limits = self.limits.as_ref();
        limits.map_or(Ok(None), |limits| limits.connect(SourceKey::Ip(source), clock::now()))
    }

    /// Charges a datagram of `bytes` bytes, received at `now` (nanoseconds), to its source.
    pub fn limit_datagram(
        &self,
        source: impl Into<IpAddr>,
        bytes: usize,
        now: u64,
    ) -> Result<(), RefusalReason> {
        self.limits.as_ref().map_or(Ok(()), |limits| limits.datagram(source.into(), bytes, now))
    }

    /// What is known of a client at the time `now` (nanoseconds). Looking changes nothing.
    pub fn look(&self, source: SourceKey, port: Option<u16>, now: u64) -> AccessState {
        let of_guard = |guard: &Arc<Guard>| match source {
            SourceKey::Ip(ip) => Some(guard.look(ip, port, now)),
            SourceKey::User(_) => None,
        };
        AccessState {
            source: self.limits.as_ref().and_then(|limits| limits.look(source, now)),
            peer: self.guard.as_ref().and_then(of_guard),
        }
    }

    /// Releases the source slots of all connections, after all processes that had them have died. Rates, cool-downs and
    /// victims stay.
    pub fn release_all_sources(&self) {
        self.limits.iter().for_each(|limits| limits.release_all());
    }

    /// Reclaims the source slot that a process recorded in `place`: its number plus one, or 0 for none.
    pub fn release_source(&self, place: &AtomicU32) {
        let place = place.swap(0, Relaxed);
        if let (Some(limits), Some(place)) = (&self.limits, place.checked_sub(1)) {
            limits.leave(place);
        }
    }
}
