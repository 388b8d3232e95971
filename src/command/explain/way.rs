//! How a client reaches a listener: addresses and families, and the proxy.

use std::net::IpAddr;

use super::{
    Case, Decision,
    Outcome::{Limit, Pass, Refused, Unreachable},
    client::ClientIdentity,
};
use crate::{
    access::guard,
    config::{Address, Host, Listener, Protocol, ProxyProtocol, embedded::plain},
    report::refusal_reason::RefusalReason,
};

/// How a client reaches a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Directly.
    Direct,
    /// Through this proxy.
    Through(ClientIdentity),
    /// Through a proxy that the question does not name.
    ThroughAny,
}

/// Whether the peer of the connection can reach an address of the listener. Adds a step only if it cannot.
pub(super) fn addresses(case: &Case<'_>, steps: &mut Vec<Decision>) {
    let peer = match &case.way {
        Way::Direct => &case.client,
        Way::Through(proxy) => proxy,
        Way::ThroughAny => return,
    };
    let ClientIdentity::Inet(ip, _) = peer else { return };
    let ip = plain(*ip);
    let listener = case.settings;
    if listener.address.iter().any(|address| reaches(listener, address, ip)) {
        return;
    }
    let all: Vec<_> = listener.address.iter().map(ToString::to_string).collect();
    let (all, group) = (all.join(", "), if ip.is_ipv4() { "IPv4" } else { "IPv6" });
    let text = match listener.address.iter().any(|address| serves(listener, address, ip)) {
        true => format!("only this machine reaches {all}"),
        false => format!("{all} is not reached over {group}"),
    };
    steps.push(case.step("address", Unreachable, text));
}

/// Whether `address` can be reached from `ip`. A name may stand for any address.
fn reaches(listener: &Listener, address: &Address, ip: IpAddr) -> bool {
    let is_of_this_machine = match address {
        Address::Inet { host: Host::Ip(host), .. } => host.to_canonical().is_loopback(),
        Address::Inet { host: Host::Name(name), .. } => name.eq_ignore_ascii_case("localhost"),
        _ => false,
    };
    let is_local_only = is_of_this_machine || listener.device == "lo";
    serves(listener, address, ip) && (!is_local_only || ip.is_loopback() || guard::is_ours(ip))
}

/// Whether `address` is of the family of `ip`, or of both.
fn serves(listener: &Listener, address: &Address, ip: IpAddr) -> bool {
    match address {
        Address::Inet { host: Host::Ip(host), .. } => {
            let host = host.to_canonical();
            let is_for_both = host.is_ipv6() && host.is_unspecified() && !listener.v6_only;
            is_for_both || host.is_ipv4() == ip.is_ipv4()
        }
        Address::Inet { host: Host::Scoped(..), .. } => ip.is_ipv6(),
        _ => true,
    }
}

/// Whether the PROXY header is believed.
pub(super) fn proxies(case: &Case<'_>, steps: &mut Vec<Decision>) {
    let Listener { proxy_protocol, trusted_proxies, protocol, .. } = case.settings;
    let is_needed = *proxy_protocol == ProxyProtocol::Required;
    if *proxy_protocol == ProxyProtocol::Off {
        return;
    }
    let client = &case.client;
    steps.push(match &case.way {
        Way::Through(proxy @ ClientIdentity::Inet(ip, _)) => {
            let key = "trusted-proxies";
            let found = trusted_proxies.iter().position(|network| network.contains(&plain(*ip)));
            match found {
                Some(number) => {
                    let text = format!("{} holds {proxy}: its header is believed", trusted_proxies[number]);
                    Decision { place: case.origins.nth(key, number), ..case.step(key, Pass, text) }
                }
                None if is_needed => {
                    case.step(key, Refused(RefusalReason::UntrustedProxy), format_args!("no network in it holds {proxy}"))
                }
                None => {
                    let text = format!("no network in it holds {proxy}: it is judged itself, and its header is for the service");
                    case.step(key, Limit, text)
                }
            }
        }
        Way::ThroughAny if *protocol == Protocol::Tcp => {
            let proxies: Vec<_> = trusted_proxies.iter().map(ToString::to_string).collect();
            let proxies = proxies.join(", ");
            let text = format!("only through a proxy of {proxies}, with a header that tells of {client}; ask with `--proxy`");
            case.step("proxy-protocol", Limit, text)
        }
        Way::Through(_) | Way::ThroughAny => {
            case.step("proxy-protocol", Pass, "the header of whoever may connect is believed")
        }
        Way::Direct if is_needed => {
            let text = "only with a header; if that tells of somebody, `allow` and `deny` are asked about them";
            case.step("proxy-protocol", Limit, text)
        }
        Way::Direct => case.step("proxy-protocol", Pass, "judged itself, unless its header tells of somebody"),
    });
}
