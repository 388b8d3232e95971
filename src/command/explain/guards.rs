//! Decisions of a UDP listener's guard. Whether a reply loop runs, or a host complains by ICMP, is not known beforehand.

use super::{
    Case, Decision,
    Outcome::{Limit, Pass, Refused},
    client::ClientIdentity,
};
use crate::{
    access::guard::{self, AddressScope},
    config::{Address, Host, Listener, PortChoice, embedded::plain},
    report::refusal_reason::RefusalReason,
};

/// Whether the source port can be answered.
pub(super) fn unanswerable(case: &Case<'_>, steps: &mut Vec<Decision>) {
    if let (ClientIdentity::Inet(_, Some(0)), true) = (&case.client, guard::needs_one(case.settings)) {
        let refused = Refused(RefusalReason::Unanswerable);
        steps.push(case.step("deny-source-ports", refused, "port 0 cannot be answered"));
    }
}

/// Whether a client can have the source address.
pub(super) fn source(case: &Case<'_>, steps: &mut Vec<Decision>) {
    let (ClientIdentity::Inet(ip, _), true) = (&case.client, guard::needs_one(case.settings)) else {
        return;
    };
    let ip = plain(*ip);
    let places: Vec<AddressScope> = case.settings.address.iter().filter_map(place).collect();
    let refused = |place: &AddressScope| {
        guard::is_broadcast(ip) || !guard::may_come(&case.settings.trusted, *place, ip)
    };
    steps.push(match (places.is_empty(), places.iter().all(refused), places.iter().any(refused)) {
        (false, true, _) => case.step(
            "source-address",
            Refused(RefusalReason::SourceAddress),
            format_args!("nobody asks from {ip} here"),
        ),
        (false, false, true) => {
            case.step("source-address", Limit, format_args!("{ip} is answered at some of the addresses only"))
        }
        _ => case.step("source-address", Pass, format_args!("{ip} may be somebody's")),
    });
}

/// The scope of an address; `None` for a name, which may mean any.
fn place(address: &Address) -> Option<AddressScope> {
    match address {
        Address::Inet { host: Host::Ip(ip), .. } => Some(AddressScope::of((*ip, 0).into())),
        _ => None,
    }
}

/// Whether the source port may be that of a service that answers answers.
pub(super) fn port(case: &Case<'_>, steps: &mut Vec<Decision>) {
    let (ClientIdentity::Inet(ip, port), true) = (&case.client, guard::needs_one(case.settings)) else {
        return;
    };
    let (key, ports) = ("deny-source-ports", &case.settings.deny_source_ports);
    let is_trusted = case.settings.trusted.iter().any(|network| network.contains(&plain(*ip)));
    let own = match is_trusted {
        true => "the ports of this daemon's own listeners are refused from this machine only (trusted)",
        false => "the ports of this daemon's own listeners are refused",
    };
    steps.push(match *port {
        None => case.step(key, Limit, format_args!("depends on the port: refused are {ports}, and {own}")),
        Some(0) => return,
        Some(port) if case.is_own_port && guard::is_ours(*ip) => case.step(
            key,
            Refused(RefusalReason::OwnListener),
            format_args!("port {port} is that of a listener"),
        ),
        Some(port) if case.is_own_port && ports.0.contains(&PortChoice::Reflectors) && !is_trusted => case
            .step(
                key,
                Refused(RefusalReason::SourcePort),
                format_args!("port {port} is that of a listener here"),
            ),
        Some(port) if guard::is_denied_port(ports, port) => {
            case.step(key, Refused(RefusalReason::SourcePort), format_args!("port {port} is in {ports}"))
        }
        Some(port) if guard::is_throttled_port(ports, port) => {
            let text = format_args!("port {port}, with others like it, is answered 10 times a second");
            case.step(key, Limit, text)
        }
        Some(port) => case.step(key, Pass, format_args!("port {port} is not in {ports}; {own}")),
    });
}

/// Whether a request is answered however short it is, where the service is the one that describes it.
pub(super) fn padding(case: &Case<'_>, steps: &mut Vec<Decision>) {
    let Listener { protocol, service, allow_amplification, .. } = case.settings;
    if protocol.is_stream() || !service.describes_requests() {
        return;
    }
    steps.push(match allow_amplification {
        true => case.step("allow-amplification", Pass, format_args!("{service} answers a datagram of any length")),
        false => {
            let reason = RefusalReason::Unpadded;
            let text = format_args!("{service} answers a datagram that is as long as its answer, and refuses a shorter one ({reason}): pad it to 1,200 bytes");
            case.step("service", Limit, text)
        }
    });
}

/// How many datagrams in a row are answered.
pub(super) fn run(case: &Case<'_>, steps: &mut Vec<Decision>) {
    let (ClientIdentity::Inet(ip, _), true) = (&case.client, guard::needs_one(case.settings)) else {
        return;
    };
    let (ip, breaker) = (plain(*ip), case.settings.loop_breaker);
    steps.push(match case.settings.trusted.iter().find(|network| network.contains(&ip)) {
        Some(network) => {
            case.step("trusted", Pass, format_args!("{network} holds {ip}: answered without end"))
        }
        None if breaker == 0 => case.step("loop-breaker", Pass, "answers are withheld from nobody"),
        None => {
            let text = format_args!(
                "every answer of number {breaker} in a row is withheld, but not at a loopback address"
            );
            case.step("loop-breaker", Limit, text)
        }
    });
}
