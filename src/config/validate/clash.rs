//! Two sockets cannot have one address: every address is compared with those before it.

use super::listener::Draft;
use crate::config::{
    Address,
    claims::{Claim, Claims},
    diagnostic::{Faults, Trouble},
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
