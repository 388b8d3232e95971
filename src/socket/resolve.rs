//! The addresses that a listener is to be bound to, and the failure if one of them cannot be.

use std::{io, net::UdpSocket, path::Path};

use super::host_names::{HostNames, name_of};
use crate::{
    config::{self, Address, Host, Note},
    report::error::{Exit, Failure},
    socket::address::Peer,
};

/// All addresses that an entry of the configuration stands for.
pub fn resolve(
    settings: &config::Listener,
    address: &Address,
    names: &HostNames,
) -> Result<Vec<Peer>, Failure> {
    let (host, ports) = match address {
        Address::Path(path) => return Ok(vec![Peer::Path(path.as_path().into())]),
        Address::Abstract(name) => return Ok(vec![Peer::Abstract(name.as_bytes().into())]),
        Address::Inet { host, ports } => (host, ports.clone()),
    };
    if let Host::Ip(ip) = host {
        return Ok(ports.map(|port| Peer::Inet((*ip, port).into())).collect());
    }
    let host = name_of(host).unwrap_or_default();
    let found = names.addresses(&host).map_err(|error| {
        let name = &settings.name;
        let cure = "check the name, or write the address as a number";
        let text = format!("listener \"{name}\": cannot look up host `{host}`: {error}; {cure}");
        Failure::new(Exit::Unavailable, text)
    })?;
    let at = |port| {
        found.iter().map(move |address| {
            let mut address = *address;
            address.set_port(port);
            Peer::Inet(address)
        })
    };
    Ok(ports.flat_map(at).collect())
}

/// Whether the machine lacks the address family, the address or the directory.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::ENOENT | libc::ENOTDIR)
    )
}

/// Checks that this machine has what a socket at `place` needs: the address, or the directory.
pub(super) fn look_for(place: &Peer) -> io::Result<()> {
    match place {
        Peer::Inet(address) => {
            let mut address = *address;
            address.set_port(0);
            UdpSocket::bind(address).map(drop)
        }
        Peer::Path(path) => {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            std::fs::metadata(directory.unwrap_or(Path::new("."))).map(drop)
        }
        _ => Ok(()),
    }
}

/// The note about an address that is left out.
pub(super) fn left_out(settings: &config::Listener, place: &Peer, error: &io::Error) -> Note {
    let url = place.url(settings.protocol);
    Note::of(&settings.name, format_args!("left out {url}: {}", error_text(error))).at(url)
}

/// The failure to bind `place`. `ours` names the socket of this daemon that may be in the way, and what to do.
pub(super) fn cannot_bind(
    settings: &config::Listener,
    place: &Peer,
    error: &io::Error,
    ours: Option<String>,
) -> Failure {
    let ours = ours.map(|hint| format!("; {hint}"));
    let (exit, cure) = match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => (
            Exit::NoPermission,
            match place {
                Peer::Inet(_) => "; ports below 1024 need CAP_NET_BIND_SERVICE, a device needs CAP_NET_RAW",
                _ if settings.socket_user.is_some() || settings.socket_group.is_some() => {
                    "; echod must be allowed to write to its directory, and to give the file away: without CAP_CHOWN only \
                     to a `socket-group` that it is in (in its service: SupplementaryGroups= and SystemCallFilter=fchownat)"
                }
                _ => "; echod must be allowed to write to its directory",
            },
        ),
        Some(libc::EADDRINUSE) if ours.is_some() => (Exit::Unavailable, ours.as_deref().unwrap_or_default()),
        Some(libc::EADDRINUSE) if matches!(place, Peer::Inet(_)) => {
            (Exit::Unavailable, "; `ss -lnp` shows who holds it; stop that, or choose another port")
        }
        Some(libc::EADDRINUSE) => (Exit::Unavailable, "; stop who serves it, or choose another name"),
        Some(libc::EADDRNOTAVAIL) => (
            Exit::Unavailable,
            "; this machine has no such address, see `ip address`; or set `optional = true`",
        ),
        Some(libc::EAFNOSUPPORT) => {
            (Exit::Unavailable, "; this machine has no such protocol; or set `optional = true`")
        }
        Some(libc::ENOENT | libc::ENOTDIR) => (Exit::Unavailable, "; create its directory first"),
        Some(libc::ENODEV) => (Exit::Unavailable, "; `ip link` shows the devices of this machine"),
        _ => (Exit::Unavailable, ""),
    };
    let (name, url) = (&settings.name, place.url(settings.protocol));
    Failure::new(exit, format!("listener \"{name}\": cannot bind {url}: {}{cure}", error_text(error)))
}

/// The text of an error, without Rust's " (os error 98)".
pub fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
