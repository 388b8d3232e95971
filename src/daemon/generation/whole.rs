//! Whether a listener that the configuration has not changed is still complete: addresses come and go, interfaces get new
//! indices, cleaners remove socket files, and `max-requests` ends a listener.

use std::collections::HashSet;

use nix::net::if_::if_nametoindex;

use crate::{
    config::{self, Note},
    daemon::running_listener::RunningListener,
    socket::{
        address::Peer,
        bind,
        host_names::HostNames,
        listener::{Listener, SocketOwner},
    },
};

/// Whether a running listener has exactly the sockets that `settings` ask for, as far as this machine has their addresses.
/// What is missing goes to `notes`.
pub(super) fn is_whole(
    running: &RunningListener,
    settings: &config::Listener,
    names: &HostNames,
    notes: &mut Vec<Note>,
) -> bool {
    let sockets = running.sockets();
    if running.has_ended() {
        return false;
    }
    // A socket passed under its name counts, whatever its address.
    if sockets.iter().any(|socket| socket.is_named(settings)) {
        return true;
    }
    // A name server that does not answer must not end a listener.
    let Ok(sites) = bind::sites(settings, names) else { return true };
    let wanted: HashSet<&Peer> = sites.iter().map(|site| &site.place).collect();
    let is_wanted = |socket: &Listener| socket.places().any(|place| wanted.contains(place));
    for socket in sockets.iter().filter(|socket| socket.owner() != SocketOwner::Activated) {
        if !is_wanted(socket) || !running.has_file_of(socket) {
            return false;
        }
        if socket.is_fit(settings) {
            continue;
        }
        if !is_interface(&settings.device) {
            let (url, device) = (socket.url(), &settings.device);
            let text = format_args!(
                "nobody reaches {url}: there is no interface `{device}` any more; reload echod once it is back"
            );
            notes.push(Note::of(&settings.name, text).at(url).about("device"));
            continue;
        }
        return false;
    }
    let had: HashSet<&Peer> = sockets.iter().flat_map(Listener::places).collect();
    for site in sites.iter().filter(|site| !had.contains(&site.place)) {
        if sockets.iter().any(|socket| socket.is_at(&site.place) || socket.stands_for(&site.place)) {
            continue;
        }
        match site.is_missing(settings) {
            Some(note) => notes.push(note),
            None => return false,
        }
    }
    true
}

fn is_interface(name: &str) -> bool {
    name.is_empty() || if_nametoindex(name).is_ok()
}
