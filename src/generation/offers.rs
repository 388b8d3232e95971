//! What the stations of one generation have to give to the next.

use std::{collections::HashSet, io, net::SocketAddr, path::Path};

use crate::{
    config::{self, Address},
    listener::{Before, Listener, Whose},
    peer::Peer,
    station::Station,
};

/// Sockets that the next generation may have.
pub(super) struct Offers<'a> {
    list: Vec<Offer<'a>>,
    /// Those that earlier reloads have replaced and that have not ended yet.
    superseded: Vec<&'a Station>,
    /// The numbers of the stations that have given one away, or whose port another one has now.
    pub(super) inherited: HashSet<usize>,
}

struct Offer<'a> {
    station: &'a Station,
    socket: &'a Listener,
    /// Whether it is served on: by its station, or by another one.
    taken: bool,
}

impl<'a> Offers<'a> {
    /// What `stations` have. Those of a station that `stays` are not for others.
    pub(super) fn new(stations: &'a [Station], stays: impl Fn(&Station) -> bool) -> Offers<'a> {
        let (superseded, current): (Vec<_>, Vec<_>) =
            stations.iter().partition(|station| station.is_superseded());
        let of_one = |station: &'a Station| {
            let taken = stays(station);
            station.sockets().iter().map(move |socket| Offer { station, socket, taken })
        };
        let list = current.into_iter().flat_map(of_one).collect();
        Offers { list, superseded, inherited: HashSet::new() }
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

    /// The socket at `place`, if it can be made what `settings` say; otherwise another one is bound in its place.
    pub(super) fn at(&mut self, settings: &config::Listener, place: &Peer) -> io::Result<Option<Listener>> {
        self.take(settings, |offer| offer.socket.is_at(place) && offer.socket.is_fit(settings))
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
            let name = station.name();
            match (socket.address(), place) {
                (Peer::Inet(old), Peer::Inet(new))
                    if socket.protocol() == settings.protocol && is_one_port(*old, *new) =>
                {
                    let cure = match *taken || socket.whose() == Whose::Manager {
                        true => "choose another port, or give that one up",
                        false => "it cannot make way while echod runs: restart echod",
                    };
                    let url = socket.url();
                    before.words = Some(format!("listener \"{name}\" of this daemon has {url}; {cure}"));
                    if !*taken && socket.whose() != Whose::Manager {
                        before.sockets.push(socket);
                        self.inherited.insert(station.number());
                    }
                }
                (Peer::Path(old), Peer::Path(new)) if !*taken && is_one_file(old, new) => {
                    before.file = station.file(new);
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

fn is_one_file(a: &Path, b: &Path) -> bool {
    let absolute = |path: &Path| std::path::absolute(path).ok();
    absolute(a).is_some_and(|a| absolute(b) == Some(a))
}
