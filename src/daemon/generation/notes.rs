//! Notes about sockets that another process made: where they differ from the configuration, and which of them are missing or
//! unused.

use std::{fs, os::unix::fs::MetadataExt};

use crate::{
    config::{self, Note},
    socket::{
        address::Peer,
        listener::{Listener, SocketOwner},
    },
};

/// Keys that have no effect on the passed sockets of a listener, with the settings of the socket unit that decide instead.
pub(super) fn of_unit(settings: &config::Listener, sockets: &[Listener]) -> Option<Note> {
    let passed = sockets.iter().filter(|socket| socket.owner() == SocketOwner::Activated);
    let mut keys: Vec<(&str, &str)> = passed.flat_map(|socket| overruled_keys(settings, socket)).collect();
    keys.sort_unstable();
    keys.dedup();
    if keys.is_empty() {
        return None;
    }
    let (keys, lines): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
    let text = format_args!(
        "its socket was passed by the service manager and is otherwise than `{}` of the file: the socket unit decides that, by \
         {}",
        keys.join("`, `"),
        lines.join(", ")
    );
    Some(Note::of(&settings.name, text).about(keys.join(", ")))
}

/// Keys in which a passed socket differs from the configuration. The kernel does not report a socket's backlog.
fn overruled_keys(settings: &config::Listener, listener: &Listener) -> Vec<(&'static str, &'static str)> {
    let mut keys = Vec::new();
    let mut note = |differs: bool, key, line| keys.extend(differs.then_some((key, line)));
    note(settings.backlog != 0 && settings.protocol.is_stream(), "backlog", "Backlog=");
    match listener.address() {
        Peer::Inet(address) => {
            note(settings.mptcp && !listener.is_mptcp(), "mptcp", "SocketProtocol=mptcp");
            for socket in listener.sockets() {
                let shares = address.is_ipv6() && address.ip().is_unspecified();
                let only_v6 = || socket.only_v6().is_ok_and(|only| only);
                note(settings.v6_only && shares && !only_v6(), "v6-only", "BindIPv6Only=");
                let device = || socket.device().ok().flatten().unwrap_or_default();
                let named = !settings.device.is_empty();
                note(named && device() != settings.device.as_bytes(), "device", "BindToDevice=");
            }
        }
        Peer::Path(path) => {
            let Ok(found) = fs::symlink_metadata(path) else { return keys };
            let another =
                |owner: &Option<config::Owner>, id| owner.as_ref().is_some_and(|owner| owner.id != id);
            let mode = settings.socket_mode;
            note(mode != 0o666 && mode != found.mode() & 0o7777, "socket-mode", "SocketMode=");
            note(another(&settings.socket_user, found.uid()), "socket-user", "SocketUser=");
            note(another(&settings.socket_group, found.gid()), "socket-group", "SocketGroup=");
        }
        _ => {}
    }
    keys
}

/// Notes about listeners that have sockets of TCP where those of MPTCP were asked for, because the kernel makes none.
pub(super) fn without_mptcp(
    listeners: &[(config::Listener, Vec<Listener>)],
) -> impl Iterator<Item = Note> + '_ {
    let is_plain = |socket: &&Listener| socket.owner() != SocketOwner::Activated && !socket.is_mptcp();
    listeners.iter().filter(|(settings, _)| settings.mptcp).filter_map(move |(settings, sockets)| {
        let url = sockets.iter().find(is_plain)?.url();
        let text = format_args!(
            "{url} is served over TCP alone: this kernel has no MPTCP, or it is switched off (`sysctl net.mptcp.enabled=1` switches \
             it on)"
        );
        Some(Note::of(&settings.name, text).at(url).about("mptcp"))
    })
}

/// A note if the service manager stored fewer sockets than the `room` it announced: `kept` of them came back, others were
/// bound anew.
pub(super) fn not_kept(
    listeners: &[(config::Listener, Vec<Listener>)],
    kept: usize,
    room: usize,
) -> Option<Note> {
    let sockets = listeners.iter().flat_map(|(_, sockets)| sockets);
    let ours = sockets.filter(|socket| socket.owner() == SocketOwner::Own);
    let anew: usize = ours.map(|socket| socket.sockets().count()).sum();
    (kept > 0 && anew > 0 && kept + anew <= room).then(|| {
        let all = kept + anew;
        Note::new(format!(
            "{kept} of {all} sockets were kept over the restart by the service manager: unless the others are new, clients were \
             refused meanwhile, and FileDescriptorStoreMax= of the service is lower than the {room} that it tells"
        ))
    })
}

/// A note about an address for which no socket was passed, though others were.
pub(super) fn not_passed(settings: &config::Listener, place: &Peer) -> Note {
    let url = place.url(settings.protocol);
    let text = format_args!(
        "{url} is not among the sockets that the service manager has passed, so echod binds it; give it a socket unit, or take \
         it out of the file"
    );
    Note::of(&settings.name, text).at(url)
}

/// A note about a passed socket that no listener wants.
pub(super) fn unwanted(socket: &Listener) -> Note {
    let (name, url, protocol) = (socket.passed_name().unwrap_or_default(), socket.url(), socket.protocol());
    let meanwhile =
        if protocol.is_stream() { "its clients are refused" } else { "what comes to it is dropped" };
    let text = format!(
        "nobody serves the passed socket \"{name}\" ({url}), and {meanwhile}: no listener of protocol {protocol} has this name or \
         address; set FileDescriptorName= of its unit to the name of one"
    );
    Note::new(text).at(url)
}
