//! Limits of a listener besides its connection slots: how fast it accepts, and what one source may have.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, atomic::AtomicU64},
};

use super::{
    memory::TableMemory,
    sources::{SourceKey, SourceSlot, SourceTable},
    state::SourceState,
};
use crate::{
    access::rate::RateLimiter, config, report::refusal_reason::RefusalReason, sys::shared::SharedArray,
};

/// The limits of one listener. The counters are in memory that its forked processes share.
pub struct Limits {
    connection_rate: Option<RateLimiter>,
    arrivals: SharedArray<AtomicU64>,
    sources: Option<Arc<SourceTable>>,
}

impl Limits {
    /// The limits of a listener; `None` if it has none.
    pub fn of(settings: &config::Listener, memory: &mut TableMemory<'_>) -> io::Result<Option<Limits>> {
        let connection_rate = settings.connection_rate.as_ref().map(RateLimiter::new);
        let sources = SourceTable::of(settings, memory)?.map(Arc::new);
        if connection_rate.is_none() && sources.is_none() {
            return Ok(None);
        }
        Ok(Some(Limits { connection_rate, arrivals: memory.array(1)?, sources }))
    }

    /// Charges a connection to the rate of the listener, at the time `now` in nanoseconds.
    pub fn arrive(&self, now: u64) -> Result<(), RefusalReason> {
        let limiter = self.connection_rate.as_ref();
        let within = limiter.is_none_or(|limiter| limiter.take(&self.arrivals[0], 1, now));
        within.then_some(()).ok_or(RefusalReason::ConnectionRate)
    }

    /// Charges a connection to its source. The slot of the source, if it takes one, is released on drop.
    pub fn connect(&self, source: SourceKey, now: u64) -> Result<Option<SourceSlot>, RefusalReason> {
        self.sources.as_ref().map_or(Ok(None), |sources| sources.connect(source, now))
    }

    /// Charges a datagram of `bytes` bytes to its source.
    pub fn datagram(&self, source: IpAddr, bytes: usize, now: u64) -> Result<(), RefusalReason> {
        self.sources.as_ref().map_or(Ok(()), |sources| sources.datagram(source, bytes, now))
    }

    /// What is known of a source at the time `now`; `None` if nothing is limited by source.
    pub fn look(&self, source: SourceKey, now: u64) -> Option<SourceState> {
        self.sources.as_ref().map(|sources| sources.look(source, now))
    }

    /// Releases the slots of all sources, after all processes that had connections have died.
    pub fn release_all(&self) {
        self.sources.iter().for_each(|sources| sources.release_all());
    }

    /// Releases the slot of a process that died, by its [number](SourceSlot::number).
    pub fn leave(&self, place: u32) {
        if let Some(sources) = &self.sources {
            sources.leave(place);
        }
    }
}
