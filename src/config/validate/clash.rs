//! Two sockets cannot have one address: every address is compared with those before it.

use super::listener::Draft;
use crate::config::{
    Address, Daemon, Log, LogTarget,
    claims::{Claim, Claims, plain},
    diagnostic::{Faults, Place, Trouble},
    file::File,
};

/// Notes every address that clashes with an earlier one.
pub(super) fn check(drafts: &[Draft], faults: &mut Faults) {
    let all = drafts.iter().flat_map(|draft| {
        let addresses = draft.listener.address.iter().zip(&draft.places);
        addresses.map(move |(address, place)| (&draft.listener, address, place))
    });
    let all: Vec<_> = all.collect();
    let mut claims = Claims::default();
    for (listener, address, place) in &all {
        let Some(earlier) = claims.add(Claim::written(listener, address)) else { continue };
        let (other, earlier, earlier_place) = all[earlier];
        let url = listener.protocol.url(address);
        let title = match earlier == *address {
            true => format!("{url} is served twice"),
            false => format!("{url} clashes with {}", other.protocol.url(earlier)),
        };
        let cure = match address {
            Address::Inet { .. } => "choose another port, or set `reuse-port = true` for both",
            Address::Path(_) | Address::Abstract(_) => "choose another name",
        };
        let note = format!("taken by listener \"{}\"", other.name);
        faults.push_clash((*place).clone(), Trouble::new(title, cure), earlier_place.clone(), note);
    }
}

/// Notes files of the daemon that are one, or the file of a socket.
pub(super) fn check_files(
    (daemon, log): (&Daemon, &Log),
    file: &File,
    drafts: &[Draft],
    faults: &mut Faults,
) {
    let place = |span| Place::new(0, span);
    let pid_file = daemon.pid_file.as_ref().zip(file.daemon.pid_file.as_ref());
    let pid_file = pid_file.map(|(path, written)| ("`pid-file`", plain(path), place(written.span())));
    let log_file = log.file.as_ref().zip(file.log.file.as_ref()).filter(|_| log.target == LogTarget::File);
    let log_file = log_file.map(|(path, written)| ("`file` of the log", plain(path), place(written.span())));
    let mut note = |place: Place, what: &str, (other, _, earlier): &(&str, _, Place)| {
        let trouble = Trouble::new(format!("{what} is {other}, too"), "choose another name");
        faults.push_clash(place, trouble, earlier.clone(), "taken here");
    };
    if let (Some(pid), Some((what, path, place))) = (&pid_file, &log_file)
        && pid.1 == *path
    {
        note(place.clone(), what, pid);
    }
    let files = [pid_file, log_file];
    for draft in drafts {
        for (address, place) in draft.listener.address.iter().zip(&draft.places) {
            let Address::Path(path) = address else { continue };
            if let Some(file) = files.iter().flatten().find(|(_, other, _)| *other == plain(path)) {
                note(place.clone(), &draft.listener.protocol.url(address), file);
            }
        }
    }
}
