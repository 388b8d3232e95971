//! How many connections and datagrams may come in, and how fast, beyond the places of the gate.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, atomic::AtomicU64},
};

use super::sources::{Place, Source, Sources};
use crate::access::rate::Pace;
use crate::{config, report::refusal_reason::Reason, sys::shared::Slots};

/// The limits of one listener. What it counts lies in memory that its forked processes share.
pub struct Limits {
    connection_rate: Option<Pace>,
    arrivals: Slots<AtomicU64>,
    sources: Option<Arc<Sources>>,
}

impl Limits {
    /// Those of a listener; `None` if there are none.
    pub fn of(settings: &config::Listener) -> io::Result<Option<Limits>> {
        let connection_rate = settings.connection_rate.as_ref().map(Pace::new);
        let sources = Sources::of(settings)?.map(Arc::new);
        if connection_rate.is_none() && sources.is_none() {
            return Ok(None);
        }
        Ok(Some(Limits { connection_rate, arrivals: Slots::new(1)?, sources }))
    }

    /// Lets in a connection to the listener as a whole, at the time `now`.
    pub fn arrive(&self, now: u64) -> Result<(), Reason> {
        let pace = self.connection_rate.as_ref();
        let within = pace.is_none_or(|pace| pace.take(&self.arrivals[0], 1, now));
        within.then_some(()).ok_or(Reason::ConnectionRate)
    }

    /// Lets in a connection of a source. Its place, if it needs one, is given back when it is dropped.
    pub fn connect(&self, source: Source, now: u64) -> Result<Option<Place>, Reason> {
        self.sources.as_ref().map_or(Ok(None), |sources| sources.connect(source, now))
    }

    /// Lets in a datagram of so many bytes.
    pub fn datagram(&self, source: IpAddr, bytes: usize, now: u64) -> Result<(), Reason> {
        self.sources.as_ref().map_or(Ok(()), |sources| sources.datagram(source, bytes, now))
    }

    /// Gives back the place of a process that died, by its [number](Place::number).
    pub fn leave(&self, place: u32) {
        if let Some(sources) = &self.sources {
            sources.leave(place);
        }
    }
}
