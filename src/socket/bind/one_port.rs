//! One port for all addresses of a host name that is to have any free port: `localhost:0` is one number in both families.

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
};

use super::Site;
use crate::{
    config,
    socket::{address::Peer, listener::Listener},
};

/// How many ports are tried. One that is free in one family is mostly free in the other as well.
const TRIES: usize = 32;

/// Binds the addresses of host names that are to have any free port, and have no socket yet. An address that cannot be bound keeps its
/// error.
pub(super) fn bind(settings: &config::Listener, sites: &mut [Site<'_>]) {
    let names: BTreeSet<usize> =
        sites.iter().filter(|site| is_any_port(&site.place)).filter_map(|site| site.name).collect();
    for name in names {
        let of_name = |site: &&mut Site<'_>| site.name == Some(name) && is_any_port(&site.place);
        let mut of_name: Vec<_> = sites.iter_mut().filter(of_name).collect();
        if of_name.len() > 1 && of_name.iter().any(|site| site.is_free()) {
            bind_name(settings, &mut of_name);
        }
    }
}

fn is_any_port(place: &Peer) -> bool {
    matches!(place, Peer::Inet(address) if address.port() == 0)
}

fn bind_name(settings: &config::Listener, sites: &mut [&mut Site<'_>]) {
    let held = sites.iter().find_map(|site| port(site.found.as_ref()?.as_ref().ok()?));
    // They keep their ports until one is found that all can have, so that the kernel does not choose them again.
    let mut tried = Vec::new();
    for attempt in 1..=TRIES {
        let mut chosen = held;
        let mut bound = Vec::new();
        for site in sites.iter().filter(|site| site.is_free()) {
            let mut listener = bind_at(settings, site, chosen);
            // Those that serve already have their port for good.
            if held.is_some() && matches!(&listener, Err(error) if error.kind() == ErrorKind::AddrInUse) {
                listener = bind_at(settings, site, None);
            }
            chosen = chosen.or_else(|| port(listener.as_ref().ok()?));
            bound.push(listener);
        }
        let is_taken = |listener: &io::Result<Listener>| matches!(listener, Err(error) if error.kind() == ErrorKind::AddrInUse);
        if attempt == TRIES || chosen.is_none() || !bound.iter().any(is_taken) {
            let free = sites.iter_mut().filter(|site| site.is_free());
            free.zip(bound).for_each(|(site, listener)| site.found = Some(listener));
            return;
        }
        tried.push(bound);
    }
}

fn bind_at(settings: &config::Listener, site: &Site<'_>, port: Option<u16>) -> io::Result<Listener> {
    let (Peer::Inet(address), Some(port)) = (&site.place, port) else {
        return Listener::bind(settings, &site.place, &site.before);
    };
    let mut address = *address;
    address.set_port(port);
    // Alone, and shared only afterwards: another process may share the port in this family.
    let alone = config::Listener { reuse_port: false, ..settings.clone() };
    let mut listener = Listener::bind(&alone, &Peer::Inet(address), &site.before)?;
    listener.complete_siblings(settings)?;
    Ok(listener)
}

fn port(listener: &Listener) -> Option<u16> {
    match listener.address() {
        Peer::Inet(address) => Some(address.port()),
        _ => None,
    }
}
