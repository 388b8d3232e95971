//! Ports of services that would answer an answer.

use std::{
    fmt, io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    config::{PortChoice, SourcePorts},
    sys::shared::{Shared, atomics},
};

/// Services that answer every datagram: echo, discard, daytime, qotd, chargen, time, DNS, TFTP, portmapper, NTP,
/// NetBIOS, SNMP, CLDAP, IKE. (Discard answers nothing, but no client sends from its port either.)
const REFLECTORS: [u16; 16] = [0, 7, 9, 13, 17, 19, 37, 53, 69, 111, 123, 137, 138, 161, 389, 500];

/// Ports of services that honest clients use as well: SSDP, WS-Discovery, mDNS, LLMNR, memcached. Answers to them are
/// throttled. Sorted.
const THROTTLED: [u16; 5] = [1900, 3702, 5353, 5355, 11211];

/// A set of ports: sorted ranges with gaps between them.
#[derive(Debug)]
pub(super) struct PortSet {
    ranges: Vec<(u16, u16)>,
    highest: u16,
}

impl PortSet {
    /// The ports that `choices` name, and always port 0, which cannot be answered.
    pub(super) fn new(choices: &SourcePorts) -> PortSet {
        let one = |port: u16| (port, port);
        let mut all = vec![one(0)];
        for choice in &choices.0 {
            match choice {
                PortChoice::Reflectors => all.extend(REFLECTORS.map(one)),
                PortChoice::Privileged => all.push((0, 1023)),
                PortChoice::Ports(ports) => all.push((*ports.start(), *ports.end())),
            }
        }
        all.sort_unstable();
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for (first, last) in all {
            match ranges.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => ranges.push((first, last)),
            }
        }
        let highest = ranges.last().map_or(0, |range| range.1);
        PortSet { ranges, highest }
    }

    /// Whether the set contains `port`. Most clients have a port above the highest of these.
    pub(super) fn contains(&self, port: u16) -> bool {
        port <= self.highest && self.ranges.iter().any(|&(first, last)| (first..=last).contains(&port))
    }

    /// The highest port of the set.
    pub(super) fn highest(&self) -> u16 {
        self.highest
    }

    /// The first and last port of each range.
    pub(super) fn ranges(&self) -> &[(u16, u16)] {
        &self.ranges
    }
}

/// `7,19,4000-4009`, as in the configuration file.
impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ranges.iter().enumerate().try_for_each(|(index, &(first, last))| {
            let comma = if index == 0 { "" } else { "," };
            if first == last { write!(f, "{comma}{first}") } else { write!(f, "{comma}{first}-{last}") }
        })
    }
}

/// The ports that a listener with these `choices` does not answer, or seldom: 64 in each number.
pub(super) fn unanswered(choices: &SourcePorts) -> Vec<u64> {
    let set = PortSet::new(choices);
    let mut words = vec![0; 1024];
    let throttled = THROTTLED.into_iter().filter(|_| choices.0.contains(&PortChoice::Reflectors));
    let denied = set.ranges.iter().flat_map(|&(first, last)| first..=last);
    for port in denied.chain(throttled) {
        words[usize::from(port / 64)] |= 1 << (port % 64);
    }
    words
}

/// Whether both honest clients and services that answer use `port`. Most clients have a higher one.
pub(super) fn is_throttled(port: u16) -> bool {
    port <= THROTTLED[THROTTLED.len() - 1] && THROTTLED.contains(&port)
}

/// Whether servers with a guard like this one answer a client at `port` without more ado: it is neither privileged nor that of a
/// service that answers.
pub fn is_source_of_clients(port: u16) -> bool {
    port >= 1024 && !REFLECTORS.contains(&port) && !THROTTLED.contains(&port)
}

atomics! {
/// The ports that UDP listeners of this daemon are bound to, one bit each.
#[repr(C)]
pub struct OwnPorts {
    v4: [AtomicU64; 1024],
    v6: [AtomicU64; 1024],
}
}

static OWN: OnceLock<Shared<OwnPorts>> = OnceLock::new();

/// The ports of all UDP listeners of this daemon. A port stays in the set for good.
pub fn own_ports() -> io::Result<&'static Shared<OwnPorts>> {
    if let Some(own) = OWN.get() {
        return Ok(own);
    }
    // If two threads come first at once, one has made it in vain.
    let fresh = Shared::new()?;
    Ok(OWN.get_or_init(|| fresh))
}

/// Adopts the set that another process of the daemon handed over.
pub fn adopt_own_ports(file: OwnedFd) -> io::Result<()> {
    let shared = Shared::open(file)?;
    OWN.set(shared).map_err(|_| io::Error::other("the ports of the daemon are known already"))
}

impl OwnPorts {
    /// Adds the port of a listener. An IPv6 wildcard may serve IPv4 as well.
    pub fn insert(&self, address: SocketAddr) {
        let both = address.is_ipv6() && address.ip().is_unspecified();
        for (group, ipv6) in [(&self.v4, false), (&self.v6, true)] {
            if both || address.is_ipv6() == ipv6 {
                group[usize::from(address.port() / 64)].fetch_or(1 << (address.port() % 64), Relaxed);
            }
        }
    }

    /// 64 ports of either address family, from `word * 64` on.
    pub fn word(&self, word: usize) -> u64 {
        [&self.v4, &self.v6]
            .iter()
            .filter_map(|group| group.get(word))
            .fold(0, |all, ports| all | ports.load(Relaxed))
    }

    /// Whether a listener has this port in this address family.
    pub fn contains(&self, ipv6: bool, port: u16) -> bool {
        let group = if ipv6 { &self.v6 } else { &self.v4 };
        group[usize::from(port / 64)].load(Relaxed) & (1 << (port % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_has_what_its_choices_name(choices in prop::collection::vec(choice(), 0..6)) {
            let set = PortSet::new(&SourcePorts(choices.clone()));
            for port in 0..=u16::MAX {
                let named = choices.iter().any(|choice| match choice {
                    PortChoice::Reflectors => REFLECTORS.contains(&port),
                    PortChoice::Privileged => port < 1024,
                    PortChoice::Ports(ports) => ports.contains(&port),
                });
                prop_assert_eq!(set.contains(port), named || port == 0, "{}", port);
            }
            let apart = |pair: &[(u16, u16)]| pair[0].1 + 1 < pair[1].0;
            prop_assert!(set.ranges().windows(2).all(apart), "{:?}", set);
        }
    }

    fn choice() -> impl Strategy<Value = PortChoice> {
        let range = |a: u16, b: u16| PortChoice::Ports(a.min(b)..=a.max(b));
        prop_oneof![
            Just(PortChoice::Reflectors),
            Just(PortChoice::Privileged),
            any::<u16>().prop_map(|port| PortChoice::Ports(port..=port)),
            (any::<u16>(), any::<u16>()).prop_map(move |(a, b)| range(a, b)),
            (0..20_u16, 0..20_u16).prop_map(move |(a, b)| range(a, b)),
        ]
    }

    #[test]
    fn own_ports_are_kept_by_family() {
        let own = Shared::<OwnPorts>::new().unwrap();
        for text in ["127.0.0.1:7", "[::1]:65535", "[::]:9"] {
            own.insert(text.parse().unwrap());
        }
        let v4: Vec<u16> = (0..=u16::MAX).filter(|port| own.contains(false, *port)).collect();
        let v6: Vec<u16> = (0..=u16::MAX).filter(|port| own.contains(true, *port)).collect();
        assert_eq!((v4, v6), (vec![7, 9], vec![9, 65535]));
    }
}
