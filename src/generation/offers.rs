//! What the stations of one generation have to give to the next.

use std::{collections::HashSet, io};

use crate::{config, listener::Listener, peer::Peer, station::Station};

/// Sockets that the next generation may have.
pub(super) struct Offers<'a> {
    list: Vec<Offer<'a>>,
    /// The numbers of the stations that have given one away.
    pub(super) inherited: HashSet<usize>,
}

struct Offer<'a> {
    station: &'a Station,
    socket: &'a Listener,
    taken: bool,
}

impl<'a> Offers<'a> {
    pub(super) fn new(stations: impl Iterator<Item = &'a Station>) -> Offers<'a> {
        let of_one = |station: &'a Station| {
            station.sockets().iter().map(move |socket| Offer { station, socket, taken: false })
        };
        Offers { list: stations.flat_map(of_one).collect(), inherited: HashSet::new() }
    }

    /// All sockets that a service manager gave to the listener of this name.
    pub(super) fn named(&mut self, settings: &config::Listener) -> io::Result<Vec<Listener>> {
        let fits = |offer: &Offer<'_>| offer.socket.is_named() && offer.station.name() == settings.name;
        let mut found = Vec::new();
        while let Some(socket) = self.take(settings, fits)? {
            found.push(socket);
        }
        Ok(found)
    }

    /// The sockets of stations that have given others away.
    pub(super) fn left(&self) -> io::Result<Vec<(config::Listener, Vec<Listener>)>> {
        let mut left: Vec<(usize, config::Listener, Vec<Listener>)> = Vec::new();
        for Offer { station, socket, taken } in &self.list {
            let number = station.number();
            if *taken || !self.inherited.contains(&number) {
                continue;
            }
            let socket = socket.try_clone()?;
            match left.last_mut() {
                Some((last, _, sockets)) if *last == number => sockets.push(socket),
                _ => left.push((number, station.settings().clone(), vec![socket])),
            }
        }
        Ok(left.into_iter().map(|(_, settings, sockets)| (settings, sockets)).collect())
    }

    pub(super) fn at(&mut self, settings: &config::Listener, place: &Peer) -> io::Result<Option<Listener>> {
        self.take(settings, |offer| offer.socket.is_at(place))
    }

    fn take(
        &mut self,
        settings: &config::Listener,
        fits: impl Fn(&Offer<'_>) -> bool,
    ) -> io::Result<Option<Listener>> {
        let suits = |offer: &&mut Offer<'_>| {
            !offer.taken && offer.socket.protocol() == settings.protocol && fits(offer)
        };
        let Some(offer) = self.list.iter_mut().find(suits) else { return Ok(None) };
        offer.taken = true;
        self.inherited.insert(offer.station.number());
        offer.socket.try_clone().map(Some)
    }
}
