//! What the stations of one generation have to give to the next.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    net::SocketAddr,
};

use crate::{
    config::{self, Address},
    daemon::{parked::Parked, running_listener::Station},
    socket::{
        address::Peer,
        listener::{Before, Listener, Whose},
    },
};

/// Sockets that the next generation may have.
pub(super) struct Offers<'a> {
    list: Vec<Offer<'a>>,
    /// Those that earlier reloads have replaced and that have not ended yet.
    superseded: Vec<&'a Station>,
    /// Twins for which those who have taken their sockets have no event loops.
    surplus: Vec<(&'a Station, Listener)>,
    /// The numbers of the stations that have given one away, or whose port another one has now.
    pub(super) inherited: HashSet<usize>,
}

struct Offer<'a> {
    /// None of those that are parked.
    station: Option<&'a Station>,
    socket: &'a Listener,
    /// Whether it is served on: by its station, or by another one.
    taken: bool,
}

impl<'a> Offers<'a> {
    /// What `stations` have, and what is `parked`. Those of a station that `stays` are not for others.
    pub(super) fn new(
        stations: &'a [Station],
        parked: &'a Parked,
        stays: impl Fn(&Station) -> bool,
    ) -> Offers<'a> {
        let (superseded, current): (Vec<_>, Vec<_>) =
            stations.iter().partition(|station| station.is_superseded());
        let of_one = |station: &'a Station| {
            let taken = stays(station);
            station.sockets().iter().map(move |socket| Offer { station: Some(station), socket, taken })
        };
        let parked = parked.sockets().iter().map(|socket| Offer { station: None, socket, taken: false });
        let list = current.into_iter().flat_map(of_one).chain(parked).collect();
        Offers { list, superseded, surplus: Vec::new(), inherited: HashSet::new() }
    }

    /// All sockets that a service manager passed by the name of this listener.
    pub(super) fn named(&mut self, settings: &config::Listener) -> io::Result<Vec<Listener>> {
        let mut found = Vec::new();
        while let Some(socket) = self.take(settings, |offer| offer.socket.is_named(settings))? {
            found.push(socket);
        }
        Ok(found)
    }

    /// The sockets of stations that have given others away.
    pub(super) fn left(&mut self) -> io::Result<Vec<(config::Listener, Vec<Listener>)>> {
        let mut left: BTreeMap<usize, (config::Listener, Vec<Listener>)> = BTreeMap::new();
        let mut leave = |station: &Station, socket| {
            let new = || (station.settings().clone(), Vec::new());
            left.entry(station.number()).or_insert_with(new).1.push(socket);
        };
        for Offer { station, socket, taken } in &self.list {
            let is_heir = |station: &&Station| !*taken && self.inherited.contains(&station.number());
            if let Some(station) = station.filter(is_heir) {
                leave(station, socket.try_clone()?);
            }
        }
        self.surplus.drain(..).for_each(|(station, socket)| leave(station, socket));
        Ok(left.into_values().collect())
    }

    /// The socket at `place`, if it can be made what `settings` say; otherwise another one is bound in its place.
    pub(super) fn at(&mut self, settings: &config::Listener, place: &Peer) -> io::Result<Option<Listener>> {
        let has_file = |offer: &Offer<'_>| offer.station.is_none_or(|s| s.has_file_of(offer.socket));
        let fits = |offer: &Offer<'_>| offer.socket.is_fit(settings) && has_file(offer);
        self.take(settings, |offer| offer.socket.is_at(place) && fits(offer))
    }

    /// The passed socket that serves `place` as well.
    pub(super) fn beyond(
        &mut self,
        settings: &config::Listener,
        place: &Peer,
    ) -> io::Result<Option<Listener>> {
        self.take(settings, |offer| offer.socket.stands_for(place))
    }

    /// The passed sockets that nobody has taken.
    pub(super) fn rest(&self) -> io::Result<Vec<Listener>> {
        let rest = self.list.iter().filter(|offer| !offer.taken && offer.socket.whose() == Whose::Manager);
        rest.map(|offer| offer.socket.try_clone()).collect()
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
        self.inherited.extend(offer.station.map(Station::number));
        let mut socket = offer.socket.try_clone()?;
        if let (Some(station), Some(surplus)) = (offer.station, socket.surplus(settings)) {
            self.surplus.push((station, surplus));
        }
        Ok(Some(socket))
    }

    /// What a socket that is bound to `place` takes the place of. To be asked when all that fit have been taken.
    pub(super) fn before(&mut self, settings: &config::Listener, place: &Peer) -> Before<'a> {
        let had = |station: &&Station| {
            let is_there = |address: &Address| match (address, place) {
                (Address::Inet { ports, .. }, Peer::Inet(new)) => {
                    ports.contains(&new.port()) || *ports.start() == 0
                }
                _ => false,
            };
            let old = station.settings();
            old.protocol == settings.protocol && old.address.iter().any(is_there)
        };
        let given_up = self.superseded.iter().any(had);
        let mut before = Before { given_up, ..Before::default() };
        for Offer { station, socket, taken } in &self.list {
            match (socket.address(), place) {
                (Peer::Inet(old), Peer::Inet(new))
                    if socket.protocol() == settings.protocol && is_one_port(*old, *new) =>
                {
                    let leaves = station.filter(|_| !*taken && socket.whose() != Whose::Manager);
                    before.words = Some(in_the_way(socket, *station, leaves.is_some()));
                    if let Some(station) = leaves {
                        before.sockets.push(socket);
                        self.inherited.insert(station.number());
                    }
                }
                (Peer::Path(_), Peer::Path(path)) if !*taken && socket.address().is_same(place) => {
                    before.file = station.and_then(|station| station.file(path));
                    // Whoever is connected is served on, though the file is gone.
                    let is_same = socket.protocol() == settings.protocol;
                    self.inherited.extend(station.filter(|_| is_same).map(Station::number));
                }
                _ => {}
            }
        }
        before
    }
}

/// Whether sockets of these two addresses may be in each other's way.
fn is_one_port(a: SocketAddr, b: SocketAddr) -> bool {
    let reaches = |wild: SocketAddr, other: SocketAddr| {
        wild.ip().is_unspecified() && (wild.is_ipv6() || other.is_ipv4())
    };
    a.port() == b.port() && (a.ip() == b.ip() || reaches(a, b) || reaches(b, a))
}

/// What to say, and to do, where a socket of this daemon is in the way of another one.
fn in_the_way(socket: &Listener, station: Option<&Station>, leaves: bool) -> String {
    let url = socket.url();
    match station {
        Some(station) => {
            let cure = match leaves {
                true => "it cannot make way while echod runs: restart echod",
                false => "choose another port, or give that one up",
            };
            format!("listener \"{}\" of this daemon has {url}; {cure}", station.name())
        }
        None => {
            let name = socket.passed_name().unwrap_or_default();
            format!(
                "the service manager has passed {url} as \"{name}\"; give the listener that name or address, or stop the socket unit"
            )
        }
    }
}
