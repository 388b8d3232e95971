//! How many connections and datagrams may come in, and how fast, beyond the places of the gate.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, atomic::AtomicU64},
};

use super::sources::{SourceKey, SourceSlot, SourceTable};
use crate::access::rate::RateLimiter;
use crate::{config, report::refusal_reason::RefusalReason, sys::shared::SharedArray};

/// The limits of one listener. What it counts lies in memory that its forked processes share.
pub struct Limits {
    connection_rate: Option<RateLimiter>,
    arrivals: SharedArray<AtomicU64>,
    sources: Option<Arc<SourceTable>>,
}

impl Limits {
    /// Those of a listener; `None` if there are none.
    pub fn of(settings: &config::Listener) -> io::Result<Option<Limits>> {
        let connection_rate = settings.connection_rate.as_ref().map(RateLimiter::new);
        let sources = SourceTable::of(settings)?.map(Arc::new);
        if connection_rate.is_none() && sources.is_none() {
            return Ok(None);
        }
        Ok(Some(Limits { connection_rate, arrivals: SharedArray::new(1)?, sources }))
    }

    /// Lets in a connection to the listener as a whole, at the time `now`.
    pub fn arrive(&self, now: u64) -> Result<(), RefusalReason> {
        let limiter = self.connection_rate.as_ref();
        let within = limiter.is_none_or(|limiter| limiter.take(&self.arrivals[0], 1, now));
        within.then_some(()).ok_or(RefusalReason::ConnectionRate)
    }

    /// Lets in a connection of a source. Its place, if it needs one, is given back when it is dropped.
    pub fn connect(&self, source: SourceKey, now: u64) -> Result<Option<SourceSlot>, RefusalReason> {
        self.sources.as_ref().map_or(Ok(None), |sources| sources.connect(source, now))
    }

    /// Lets in a datagram of so many bytes.
    pub fn datagram(&self, source: IpAddr, bytes: usize, now: u64) -> Result<(), RefusalReason> {
        self.sources.as_ref().map_or(Ok(()), |sources| sources.datagram(source, bytes, now))
    }

    /// Gives back the place of a process that died, by its [number](Place::number).
    pub fn leave(&self, place: u32) {
        if let Some(sources) = &self.sources {
            sources.leave(place);
        }
    }
}
