//! What the stations of one generation have to give to the next.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    net::SocketAddr,
};

use crate::{
    config::{self, Address},
    daemon::{parked::Parked, running_listener::RunningListener},
    socket::{
        address::Peer,
        listener::{Before, Listener, SocketOwner},
    },
};

/// Sockets that the next generation may have.
pub(super) struct SocketPool<'a> {
    list: Vec<PooledSocket<'a>>,
    /// Those that earlier reloads have replaced and that have not ended yet.
    superseded: Vec<&'a RunningListener>,
    /// Twins for which those who have taken their sockets have no event loops.
    surplus: Vec<(&'a RunningListener, Listener)>,
    /// The numbers of the stations that have given one away, or whose port another one has now.
    pub(super) inherited: HashSet<usize>,
}

struct PooledSocket<'a> {
    /// None of those that are parked.
    running: Option<&'a RunningListener>,
    socket: &'a Listener,
    /// Whether it is served on: by its station, or by another one.
    taken: bool,
}

impl<'a> SocketPool<'a> {
    /// What `running_listeners` have, and what is `parked`. Those of a station that `stays` are not for others.
    pub(super) fn new(
        running_listeners: &'a [RunningListener],
        parked: &'a Parked,
        stays: impl Fn(&RunningListener) -> bool,
    ) -> SocketPool<'a> {
        let (superseded, current): (Vec<_>, Vec<_>) =
            running_listeners.iter().partition(|running| running.is_superseded());
        let of_one = |running: &'a RunningListener| {
            let taken = stays(running);
            running.sockets().iter().map(move |socket| PooledSocket { running: Some(running), socket, taken })
        };
        let parked =
            parked.sockets().iter().map(|socket| PooledSocket { running: None, socket, taken: false });
        let list = current.into_iter().flat_map(of_one).chain(parked).collect();
        SocketPool { list, superseded, surplus: Vec::new(), inherited: HashSet::new() }
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
        let mut leave = |running: &RunningListener, socket| {
            let new = || (running.settings().clone(), Vec::new());
            left.entry(running.number()).or_insert_with(new).1.push(socket);
        };
        for PooledSocket { running, socket, taken } in &self.list {
            let gives_away =
                |running: &&RunningListener| !*taken && self.inherited.contains(&running.number());
            if let Some(running) = running.filter(gives_away) {
                leave(running, socket.try_clone()?);
            }
        }
        self.surplus.drain(..).for_each(|(running, socket)| leave(running, socket));
        Ok(left.into_values().collect())
    }

    /// The socket at `place`, if it can be made what `settings` say; otherwise another one is bound in its place.
    pub(super) fn at(&mut self, settings: &config::Listener, place: &Peer) -> io::Result<Option<Listener>> {
        let has_file = |offer: &PooledSocket<'_>| offer.running.is_none_or(|s| s.has_file_of(offer.socket));
        let fits = |offer: &PooledSocket<'_>| offer.socket.is_fit(settings) && has_file(offer);
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
        let rest =
            self.list.iter().filter(|offer| !offer.taken && offer.socket.owner() == SocketOwner::Activated);
        rest.map(|offer| offer.socket.try_clone()).collect()
    }

    fn take(
        &mut self,
        settings: &config::Listener,
        fits: impl Fn(&PooledSocket<'_>) -> bool,
    ) -> io::Result<Option<Listener>> {
        let suits = |offer: &&mut PooledSocket<'_>| {
            !offer.taken && offer.socket.protocol() == settings.protocol && fits(offer)
        };
        let Some(offer) = self.list.iter_mut().find(suits) else { return Ok(None) };
        offer.taken = true;
        self.inherited.extend(offer.running.map(RunningListener::number));
        let mut socket = offer.socket.try_clone()?;
        if let (Some(running), Some(surplus)) = (offer.running, socket.surplus(settings)) {
            self.surplus.push((running, surplus));
        }
        Ok(Some(socket))
    }

    /// What a socket that is bound to `place` takes the place of. To be asked when all that fit have been taken.
    pub(super) fn before(&mut self, settings: &config::Listener, place: &Peer) -> Before<'a> {
        let had = |running: &&RunningListener| {
            let is_there = |address: &Address| match (address, place) {
                (Address::Inet { ports, .. }, Peer::Inet(new)) => {
                    ports.contains(&new.port()) || *ports.start() == 0
                }
                _ => false,
            };
            let old = running.settings();
            old.protocol == settings.protocol && old.address.iter().any(is_there)
        };
        let given_up = self.superseded.iter().any(had);
        let mut before = Before { given_up, ..Before::default() };
        for PooledSocket { running, socket, taken } in &self.list {
            match (socket.address(), place) {
                (Peer::Inet(old), Peer::Inet(new))
                    if socket.protocol() == settings.protocol && is_one_port(*old, *new) =>
                {
                    let leaves = running.filter(|_| !*taken && socket.owner() != SocketOwner::Activated);
                    before.words = Some(in_the_way(socket, *running, leaves.is_some()));
                    if let Some(running) = leaves {
                        before.sockets.push(socket);
                        self.inherited.insert(running.number());
                    }
                }
                (Peer::Path(_), Peer::Path(path)) if !*taken && socket.address().is_same(place) => {
                    before.file = running.and_then(|running| running.file(path));
                    // Whoever is connected is served on, though the file is gone.
                    let is_same = socket.protocol() == settings.protocol;
                    self.inherited.extend(running.filter(|_| is_same).map(RunningListener::number));
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
fn in_the_way(socket: &Listener, running: Option<&RunningListener>, leaves: bool) -> String {
    let url = socket.url();
    match running {
        Some(running) => {
            let cure = match leaves {
                true => "it cannot make way while echod runs: restart echod",
                false => "choose another port, or give that one up",
            };
            format!("listener \"{}\" of this daemon has {url}; {cure}", running.name())
        }
        None => {
            let name = socket.passed_name().unwrap_or_default();
            format!(
                "the service manager has passed {url} as \"{name}\"; give the listener that name or address, or stop the socket unit"
            )
        }
    }
}
