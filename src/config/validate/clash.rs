//! Two sockets cannot have one address: every address is compared with those before it.

use super::{builder::ListenerBuilder, endpoint::WrittenEndpoint};
use crate::config::{
    Address, Daemon, Listener, Log, LogTarget,
    claims::{Claim, Claims, plain},
    diagnostic::{Diagnostic, Diagnostics, Place},
};

/// Notes every address that clashes with an earlier one.
pub(super) fn check(
    builders: &[ListenerBuilder],
    endpoints: &[WrittenEndpoint],
    diagnostics: &mut Diagnostics,
) {
    let all: Vec<_> = addresses(builders, endpoints).collect();
    let mut claims = Claims::default();
    for (listener, address, place) in &all {
        let Some(earlier) = claims.add(Claim::written(listener, address)) else { continue };
        let (other, earlier, earlier_place) = all[earlier];
        let url = listener.protocol.url(address);
        let title = match earlier == *address {
            true => format!("{url} is served twice"),
            false => format!("{url} clashes with {}", other.protocol.url(earlier)),
        };
        let is_endpoint =
            |listener: &Listener| endpoints.iter().any(|endpoint| std::ptr::eq(&endpoint.listener, listener));
        let help = match address {
            Address::Inet { .. } if is_endpoint(listener) || is_endpoint(other) => "choose another port",
            Address::Inet { .. } => "choose another port, or set `reuse-port = true` for both",
            Address::Path(_) | Address::Abstract(_) => "choose another name",
        };
        let note = match is_endpoint(other) {
            true => "taken by `[observe]`".to_owned(),
            false => format!("taken by listener \"{}\"", other.name),
        };
        diagnostics.push_clash((*place).clone(), Diagnostic::new(title, help), earlier_place.clone(), note);
    }
}

/// Every address that is to be bound, with its listener and its place.
fn addresses<'a>(
    builders: &'a [ListenerBuilder],
    endpoints: &'a [WrittenEndpoint],
) -> impl Iterator<Item = (&'a Listener, &'a Address, &'a Place)> {
    let of_listeners = builders.iter().flat_map(|builder| {
        let addresses = builder.listener.address.iter().zip(&builder.places);
        addresses.map(move |(address, place)| (&builder.listener, address, place))
    });
    let of_endpoints = endpoints.iter().flat_map(|WrittenEndpoint { listener, places }| {
        listener.address.iter().zip(places).map(move |(address, place)| (listener, address, place))
    });
    of_listeners.chain(of_endpoints)
}

/// Notes files of the daemon that are one, or the file of a socket.
pub(super) fn check_files(
    (daemon, log): (&Daemon, &Log),
    (pid_file, log_file): (Option<&Place>, Option<&Place>),
    (builders, endpoints): (&[ListenerBuilder], &[WrittenEndpoint]),
    diagnostics: &mut Diagnostics,
) {
    let pid_file = daemon.pid_file.as_ref().zip(pid_file);
    let pid_file = pid_file.map(|(path, at)| ("`pid-file`", plain(path), at.clone()));
    let log_file = log.file.as_ref().zip(log_file).filter(|_| log.target == LogTarget::File);
    let log_file = log_file.map(|(path, at)| ("`file` of the log", plain(path), at.clone()));
    let mut note = |place: Place, what: &str, (other, _, earlier): &(&str, _, Place)| {
        let diagnostic = Diagnostic::new(format!("{what} is {other}, too"), "choose another name");
        diagnostics.push_clash(place, diagnostic, earlier.clone(), "taken here");
    };
    if let (Some(pid), Some((what, path, place))) = (&pid_file, &log_file)
        && pid.1 == *path
    {
        note(place.clone(), what, pid);
    }
    let files = [pid_file, log_file];
    for (listener, address, place) in addresses(builders, endpoints) {
        let Address::Path(path) = address else { continue };
        if let Some(file) = files.iter().flatten().find(|(_, other, _)| *other == plain(path)) {
            note(place.clone(), &listener.protocol.url(address), file);
        }
    }
}
