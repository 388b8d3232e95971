//! The sockets that a generation may inherit: of the one before, or passed by the service manager.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    net::SocketAddr,
};

use crate::{
    config::{self, Address, is_wildcard_of},
    daemon::running_listener::RunningListener,
    socket::{
        address::Peer,
        bind::Before,
        listener::{Listener, SocketOwner},
        options,
    },
};

/// Sockets that the next generation may inherit, duplicated when they are claimed: until it begins, nothing has changed. They are claimed by name, then by address, then by a wider passed address.
pub(super) struct SocketPool<'a> {
    list: Vec<PooledSocket<'a>>,
    /// Whether a claimed socket gets its options at once, because no other generation serves it.
    is_start: bool,
    /// Listeners that earlier reloads replaced and that have not ended yet.
    superseded: Vec<&'a RunningListener>,
    /// Siblings of SO_REUSEPORT groups for which the inheriting listener has no event loop.
    surplus: Vec<(&'a RunningListener, Listener)>,
    /// Numbers of the running listeners that gave a socket away, or whose port a new socket shares.
    pub(super) inherited: HashSet<usize>,
}

struct PooledSocket<'a> {
    /// `None` for a passed socket that is not served.
    running: Option<&'a RunningListener>,
    socket: &'a Listener,
    /// Whether the socket is claimed, or its listener stays as it is.
    taken: bool,
}

impl<'a> SocketPool<'a> {
    /// The sockets that were `passed` to the first generation.
    pub(super) fn of_start(passed: &'a [Listener]) -> SocketPool<'a> {
        SocketPool { is_start: true, ..SocketPool::new(&[], passed, |_| false) }
    }

    /// The sockets of `running_listeners` and those `parked`. A listener that `stays` keeps its sockets.
    pub(super) fn new(
        running_listeners: &'a [RunningListener],
        parked: &'a [Listener],
        stays: impl Fn(&RunningListener) -> bool,
    ) -> SocketPool<'a> {
        let (superseded, current): (Vec<_>, Vec<_>) =
            running_listeners.iter().partition(|running| running.is_superseded());
        let of_one = |running: &'a RunningListener| {
            let taken = stays(running);
            running.sockets().iter().map(move |socket| PooledSocket { running: Some(running), socket, taken })
        };
        let parked = parked.iter().map(|socket| PooledSocket { running: None, socket, taken: false });
        let list = current.into_iter().flat_map(of_one).chain(parked).collect();
        SocketPool { list, is_start: false, superseded, surplus: Vec::new(), inherited: HashSet::new() }
    }

    /// Claims all sockets that the service manager passed under the name of this listener.
    pub(super) fn named(&mut self, settings: &config::Listener) -> io::Result<Vec<Listener>> {
        let mut found = Vec::new();
        while let Some(socket) = self.take(settings, |pooled| pooled.socket.is_named(settings))? {
            found.push(socket);
        }
        Ok(found)
    }

    /// The unclaimed sockets of listeners that gave others away, with the old settings.
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

    /// Claims the socket at `place`, unless it cannot be reconfigured as `settings` say: then another is bound.
    pub(super) fn at(&mut self, settings: &config::Listener, place: &Peer) -> io::Result<Option<Listener>> {
        let has_file =
            |pooled: &PooledSocket<'_>| pooled.running.is_none_or(|s| s.has_file_of(pooled.socket));
        let fits = |pooled: &PooledSocket<'_>| pooled.socket.is_fit(settings) && has_file(pooled);
        self.take(settings, |pooled| pooled.socket.is_at(place) && fits(pooled))
    }

    /// Claims a passed wildcard socket that also serves `place`.
    pub(super) fn beyond(
        &mut self,
        settings: &config::Listener,
        place: &Peer,
    ) -> io::Result<Option<Listener>> {
        self.take(settings, |pooled| pooled.socket.stands_for(place))
    }

    /// Passed sockets that no listener claimed.
    pub(super) fn rest(&self) -> io::Result<Vec<Listener>> {
        let rest = self
            .list
            .iter()
            .filter(|pooled| !pooled.taken && pooled.socket.owner() == SocketOwner::Activated);
        rest.map(|pooled| pooled.socket.try_clone()).collect()
    }

    fn take(
        &mut self,
        settings: &config::Listener,
        fits: impl Fn(&PooledSocket<'_>) -> bool,
    ) -> io::Result<Option<Listener>> {
        let suits = |pooled: &&mut PooledSocket<'_>| {
            !pooled.taken && pooled.socket.protocol() == settings.protocol && fits(pooled)
        };
        let Some(pooled) = self.list.iter_mut().find(suits) else { return Ok(None) };
        pooled.taken = true;
        self.inherited.extend(pooled.running.map(RunningListener::number));
        let mut socket = pooled.socket.try_clone()?;
        if self.is_start {
            socket.reconfigure(settings)?;
        }
        if let (Some(running), Some(surplus)) = (pooled.running, socket.surplus(settings)) {
            self.surplus.push((running, surplus));
        }
        Ok(Some(socket))
    }

    /// What a new socket at `place` replaces. To be asked once all that fit have been claimed.
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
                    if socket.protocol() == settings.protocol
                        && is_in_the_way(socket, *old, settings, *new) =>
                {
                    let leaves = running.filter(|_| !*taken && socket.owner() != SocketOwner::Activated);
                    before.hint = Some(in_the_way(socket, *running, leaves.is_some()));
                    if let Some(running) = leaves {
                        before.sockets.push(socket);
                        self.inherited.insert(running.number());
                    }
                }
                (Peer::Path(_), Peer::Path(path)) if !*taken && socket.address().is_same(place) => {
                    before.file = running.and_then(|running| running.file(path));
                    // Existing connections are served on, though the socket file is gone.
                    let is_same = socket.protocol() == settings.protocol;
                    self.inherited.extend(running.filter(|_| is_same).map(RunningListener::number));
                }
                _ => {}
            }
        }
        before
    }
}

/// Whether `socket`, bound to `old`, may keep another from being bound to `new` as `settings` say.
fn is_in_the_way(socket: &Listener, old: SocketAddr, settings: &config::Listener, new: SocketAddr) -> bool {
    let takes_new = || is_wildcard_of(old.ip(), || socket.is_dual(), new.ip());
    let takes_old = || is_wildcard_of(new.ip(), || !options::is_v6_only(settings, new), old.ip());
    old.port() == new.port() && (old.ip() == new.ip() || takes_new() || takes_old())
}

/// The error text, with a remedy, for a socket of this daemon that occupies the address.
fn in_the_way(socket: &Listener, running: Option<&RunningListener>, leaves: bool) -> String {
    let url = socket.url();
    match running {
        Some(running) => {
            let help = match leaves {
                true => "it cannot make way while echod runs: restart echod",
                false => "choose another port, or give that one up",
            };
            format!("listener \"{}\" of this daemon has {url}; {help}", running.name())
        }
        None => {
            let name = socket.passed_name().unwrap_or_default();
            format!(
                "the service manager has passed {url} as \"{name}\"; give the listener that name or address, or stop the socket unit"
            )
        }
    }
}
