//! Ports of our own that clients are given as well. A datagram from one is taken for one of a loop, wherever it comes from.

use std::{fs, ops::RangeInclusive};

use crate::config::{Address, Host, Listener, Note, PortChoice, Protocol, ServiceKind};

/// What Linux gives clients where nothing else is said, and what the registry says (RFC 6335).
const LINUX: RangeInclusive<u16> = 32_768..=60_999;
const REGISTRY: RangeInclusive<u16> = 49_152..=65_535;

/// Tells how many clients would not be answered, if there are any.
pub(super) fn warning<'l>(listeners: impl Iterator<Item = &'l Listener> + Clone) -> Option<Note> {
    tell(listeners, here().unwrap_or(LINUX))
}

fn tell<'l>(
    listeners: impl Iterator<Item = &'l Listener> + Clone,
    local: RangeInclusive<u16>,
) -> Option<Note> {
    let name = &listeners.clone().find(|listener| loses_clients(listener))?.name;
    let mut own = vec![false; 1 << 16];
    for ports in listeners.filter(|listener| listener.protocol == Protocol::Udp).flat_map(ports) {
        ports.for_each(|port| own[usize::from(port)] = true);
    }
    let taken = |range: &RangeInclusive<u16>| range.clone().filter(|port| own[usize::from(*port)]).count();
    let share = |range: &RangeInclusive<u16>| taken(range) * 1000 / range.len().max(1);
    let worst = share(&local).max(share(&REGISTRY));
    let all = (0..=u16::MAX)
        .filter(|port| own[usize::from(*port)] && (local.contains(port) || REGISTRY.contains(port)));
    let (count, ports) =
        (all.count(), |range: RangeInclusive<u16>| format!("{}-{}", range.start(), range.end()));
    (count > 0).then(|| {
        let what = if count == 1 { "1 UDP port of ours is" } else { &format!("{count} UDP ports of ours are") };
        let text = format_args!(
            "{what} among those that clients are given ({} here, {} elsewhere): a client that has such a \
             port is not answered, up to {}.{} % of them; choose ports below {}, or name the clients' networks in `trusted`",
            ports(local.clone()),
            ports(REGISTRY),
            worst / 10,
            worst % 10,
            local.start().min(REGISTRY.start()),
        );
        Note::of(name, text).about("trusted")
    })
}

/// Whether the listener is asked from other machines, and refuses those that have one of our ports.
fn loses_clients(listener: &Listener) -> bool {
    let is_elsewhere = |address: &Address| match address {
        Address::Inet { host: Host::Ip(ip), .. } => !ip.to_canonical().is_loopback(),
        Address::Inet { host: Host::Name(name), .. } => name != "localhost",
        _ => true,
    };
    listener.protocol == Protocol::Udp
        && listener.service != ServiceKind::Discard
        && listener.trusted.is_empty()
        && listener.deny_source_ports.0.contains(&PortChoice::Reflectors)
        && listener.address.iter().any(is_elsewhere)
}

/// Any free port is known only when it is bound.
fn ports(listener: &Listener) -> impl Iterator<Item = RangeInclusive<u16>> + '_ {
    listener.address.iter().filter_map(|address| match address {
        Address::Inet { ports, .. } if *ports.start() != 0 => Some(ports.clone()),
        _ => None,
    })
}

/// What the kernel of this machine gives clients, where it tells.
fn here() -> Option<RangeInclusive<u16>> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut numbers = text.split_ascii_whitespace().map_while(|number| number.parse().ok());
    let range = numbers.next()?..=numbers.next()?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Environment, Inputs};

    fn told(urls: &[&str]) -> Option<String> {
        let inputs = Inputs { file: None, listen: urls.iter().map(|url| (*url).to_owned()).collect() };
        let loaded = config::load(&inputs, &Environment::default()).unwrap();
        tell(loaded.config.listeners.iter(), LINUX).map(|note| note.text)
    }

    #[test]
    fn ports_of_clients_are_counted() {
        for quiet in [
            "udp://192.0.2.1:7",
            "udp://192.0.2.1:7000-32767",
            "udp://192.0.2.1:0",
            "udp://127.0.0.1:40000-50000",
            "udp://192.0.2.1:40000?trusted=10.0.0.0/8",
            "udp://192.0.2.1:40000?deny-source-ports=none",
            "udp://192.0.2.1:40000?service=discard",
            "tcp://192.0.2.1:40000",
        ] {
            assert_eq!(told(&[quiet]), None, "{quiet}");
        }
        let one = told(&["udp://192.0.2.1:40000"]).unwrap();
        assert!(one.contains("1 UDP port of ours is among") && one.contains("0.0 % of them"), "{one}");
        let many = told(&["udp://192.0.2.1:7", "udp://127.0.0.1:40000-59999"]).unwrap();
        assert!(many.contains("20000 UDP ports of ours are") && many.contains("70.8 % of them"), "{many}");
        assert!(many.contains("(32768-60999 here, 49152-65535 elsewhere)"), "{many}");
        assert!(many.contains("choose ports below 32768"), "{many}");
    }

    #[test]
    fn the_kernel_says_which_ports_it_gives() {
        let Some(range) = here() else {
            eprintln!("SKIPPED: /proc does not say which ports clients are given");
            return;
        };
        assert!(range.len() > 1);
    }
}
