//! Two sockets cannot have one address. The kernel would say so too, but only when the daemon is half started, and for
//! datagrams it would not: with `SO_REUSEADDR` the newest socket takes them all.

use std::{net::IpAddr, path::Path};

use super::listener::Draft;
use crate::config::{
    Address, Host, Listener, Protocol,
    diagnostic::{Faults, Trouble},
};

/// Compares every address with those before it.
pub(super) fn check(drafts: &[Draft], faults: &mut Faults) {
    let all: Vec<_> = drafts
        .iter()
        .flat_map(|draft| {
            draft
                .listener
                .address
                .iter()
                .zip(&draft.places)
                .map(move |(address, place)| (draft, address, place))
        })
        .collect();
    for (index, (draft, address, place)) in all.iter().enumerate() {
        let clash = all[..index].iter().find(|(other, earlier, _)| {
            clash((&draft.listener, address), (&other.listener, earlier), std::ptr::eq(*draft, *other))
        });
        if let Some((other, earlier, earlier_place)) = clash {
            let protocol = draft.listener.protocol;
            let title = match (earlier, address) {
                (earlier, address) if earlier == address => {
                    format!("{} is served twice", protocol.url(address))
                }
                _ => {
                    format!("{} clashes with {}", protocol.url(address), other.listener.protocol.url(earlier))
                }
            };
            let cure = match address {
                Address::Inet { .. } => "choose another port, or set `reuse-port = true` for both",
                Address::Path(_) | Address::Abstract(_) => "choose another name",
            };
            let note = format!("taken by listener \"{}\"", other.listener.name);
            faults.push_clash((*place).clone(), Trouble::new(title, cure), (*earlier_place).clone(), note);
        }
    }
}

/// Whether `a` and `b` cannot both be bound; `same`: they belong to one listener, which binds IPv4 and IPv6 apart.
fn clash((a, a_address): (&Listener, &Address), (b, b_address): (&Listener, &Address), same: bool) -> bool {
    match (a_address, b_address) {
        (Address::Path(a), Address::Path(b)) => plain(a) == plain(b),
        (Address::Abstract(x), Address::Abstract(y)) => a.protocol == b.protocol && x == y,
        (Address::Inet { host: x, ports: x_ports }, Address::Inet { host: y, ports: y_ports }) => {
            let one_device = a.device == b.device || a.device.is_empty() || b.device.is_empty();
            let one_port = *x_ports.start() != 0
                && *y_ports.start() != 0
                && x_ports.start() <= y_ports.end()
                && y_ports.start() <= x_ports.end();
            let shared = a.reuse_port && b.reuse_port;
            let split = same || a.v6_only || b.v6_only;
            a.protocol == b.protocol && one_port && one_device && !shared && one_host(x, y, split, a.protocol)
        }
        _ => false,
    }
}

/// Whether two sockets of one port compete for some address. `split` keeps IPv6 wildcards away from IPv4.
fn one_host(a: &Host, b: &Host, split: bool, protocol: Protocol) -> bool {
    match (a, b) {
        (Host::Ip(a), Host::Ip(b)) if a == b => true,
        (Host::Ip(a), Host::Ip(b)) => {
            let one_family = a.is_ipv4() == b.is_ipv4();
            let both_wild = a.is_unspecified() && b.is_unspecified();
            // A udp socket of one address takes its datagrams away from the wildcard, as it should be; tcp refuses to
            // listen twice. The IPv6 wildcard takes IPv4 too.
            let covers = |wild: &IpAddr| wild.is_unspecified() && (one_family || (wild.is_ipv6() && !split));
            let either = covers(a) || covers(b);
            (both_wild && !one_family && !split) || (protocol == Protocol::Tcp && either)
        }
        (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
        (a, b) => a == b,
    }
}

/// A path without the `./` that changes nothing.
fn plain(path: &Path) -> &Path {
    path.strip_prefix(".").unwrap_or(path)
}
