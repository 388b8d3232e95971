//! Which addresses can be bound beside each other. The kernel would say so too, but only when the daemon is half started.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs,
    net::IpAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    ptr,
};

use super::{Address, Host, Listener, Protocol};

/// An address that a listener wants to bind.
#[derive(Clone)]
pub struct Claim<'a> {
    /// The listener.
    pub settings: &'a Listener,
    /// The address as written.
    pub address: &'a Address,
    spot: Spot<'a>,
    ports: RangeInclusive<u16>,
    /// The interface that it is bound to; empty for all.
    device: Cow<'a, str>,
}

/// What no two sockets have, but for the port.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Spot<'a> {
    /// An address. IPv4 in IPv6's clothes is IPv4, as it is for the kernel.
    Ip(IpAddr),
    /// A host name that was not looked up.
    Name(String),
    Path(PathBuf),
    Abstract(&'a str),
}

/// All claims so far. Every claim is compared with those only that could be in its way.
#[derive(Default)]
pub struct Claims<'a> {
    all: Vec<Claim<'a>>,
    local: HashMap<(Option<Protocol>, Spot<'a>), usize>,
    /// Those of one port.
    ports: BTreeMap<(Protocol, u16), Rivals<'a>>,
    /// Those of several.
    ranges: Vec<usize>,
}

/// The claims of a port, by their address, and apart those that share it: they are not in the way of each other.
type Rivals<'a> = HashMap<(Spot<'a>, bool), Vec<usize>>;

impl<'a> Claim<'a> {
    /// An address as written. What a host name stands for is not known.
    pub fn written(settings: &'a Listener, address: &'a Address) -> Self {
        let none = 0..=0;
        let (spot, ports) = match address {
            Address::Path(path) => (Spot::Path(plain(path)), none),
            Address::Abstract(name) => (Spot::Abstract(name), none),
            Address::Inet { host: Host::Ip(ip), ports } => (Spot::Ip(ip.to_canonical()), ports.clone()),
            Address::Inet { host: Host::Scoped(ip, _), ports } => (Spot::Ip((*ip).into()), ports.clone()),
            Address::Inet { host: Host::Name(name), ports } => {
                (Spot::Name(name.to_ascii_lowercase()), ports.clone())
            }
        };
        let device = match address {
            Address::Inet { host: Host::Scoped(_, zone), .. } => device(zone),
            _ => Cow::Borrowed(settings.device.as_str()),
        };
        Claim { settings, address, spot, ports, device }
    }

    /// One of the addresses that a host name stands for.
    pub fn resolved(settings: &'a Listener, address: &'a Address, ip: IpAddr) -> Self {
        Claim { spot: Spot::Ip(ip.to_canonical()), ..Self::written(settings, address) }
    }

    /// Whether both cannot be bound.
    fn clashes(&self, other: &Self) -> bool {
        let one_device = self.device == other.device || self.device.is_empty() || other.device.is_empty();
        let one_port = self.ports.start() <= other.ports.end() && other.ports.start() <= self.ports.end();
        let shared = self.settings.reuse_port && other.settings.reuse_port;
        let one_protocol = self.settings.protocol == other.settings.protocol;
        let one_host = self.spot == other.spot || self.covers(other) || other.covers(self);
        one_protocol && one_port && one_device && !shared && one_host
    }

    /// Whether it is the wildcard address of the other. That of IPv6 takes IPv4 too, unless the listener forbids it, or binds
    /// that of IPv4 beside it.
    fn covers(&self, other: &Self) -> bool {
        let (Spot::Ip(wildcard), Spot::Ip(ip)) = (&self.spot, &other.spot) else { return false };
        let is_beside = || ptr::eq(self.settings, other.settings) && is_v4_wildcard(other.address);
        let is_dual = || !self.settings.v6_only && !is_beside();
        is_wildcard_of(*wildcard, is_dual, *ip)
    }
}

/// Whether `wildcard` is the wildcard address of `ip`. That of IPv6 is one of IPv4, too, if its socket `is_dual`: not IPV6_V6ONLY.
pub fn is_wildcard_of(wildcard: IpAddr, is_dual: impl FnOnce() -> bool, ip: IpAddr) -> bool {
    wildcard.is_unspecified() && (wildcard.is_ipv4() == ip.is_ipv4() || (wildcard.is_ipv6() && is_dual()))
}

impl<'a> Claims<'a> {
    /// Adds a claim; the number of the first of those before that it clashes with, if there is one. They are counted from 0.
    pub fn add(&mut self, claim: Claim<'a>) -> Option<usize> {
        let earlier = match claim.address {
            // Port 0 is any free port, which clashes with none.
            Address::Inet { .. } if *claim.ports.start() == 0 => None,
            Address::Inet { .. } => self.add_inet(&claim),
            Address::Path(_) => self.add_local(None, &claim),
            Address::Abstract(_) => self.add_local(Some(claim.settings.protocol), &claim),
        };
        self.all.push(claim);
        earlier
    }

    /// Abstract names are apart for each protocol, files are not.
    fn add_local(&mut self, protocol: Option<Protocol>, claim: &Claim<'a>) -> Option<usize> {
        let number = self.all.len();
        let first = *self.local.entry((protocol, claim.spot.clone())).or_insert(number);
        (first != number).then_some(first)
    }

    fn add_inet(&mut self, claim: &Claim<'a>) -> Option<usize> {
        let number = self.all.len();
        let (protocol, ports) = (claim.settings.protocol, &claim.ports);
        let is_in_the_way = |number: &&usize| claim.clashes(&self.all[**number]);
        let range = (protocol, *ports.start())..=(protocol, *ports.end());
        let of_ports = self.ports.range(range).flat_map(|(_, all)| rivals(claim, all));
        let of_ports = of_ports.filter_map(|list| list.iter().find(is_in_the_way));
        let first = of_ports.chain(self.ranges.iter().find(is_in_the_way)).min().copied();
        match ports.start() == ports.end() {
            true => {
                let rivals = self.ports.entry((protocol, *ports.start())).or_default();
                rivals.entry((claim.spot.clone(), claim.settings.reuse_port)).or_default().push(number);
            }
            false => self.ranges.push(number),
        }
        first
    }
}

/// The claims of one port that may be in the way: those of the same address and of wildcards, and for a wildcard all.
fn rivals<'m, 'a>(claim: &Claim<'a>, all: &'m Rivals<'a>) -> Vec<&'m Vec<usize>> {
    let shares = claim.settings.reuse_port;
    if matches!(claim.spot, Spot::Ip(ip) if ip.is_unspecified()) {
        return all.iter().filter(|((_, shared), _)| !(shares && *shared)).map(|(_, list)| list).collect();
    }
    let [v4, v6] = [IpAddr::from([0; 4]), IpAddr::from([0; 16])].map(Spot::Ip);
    let spots = [v4, v6, claim.spot.clone()];
    let with = |shared: bool| spots.iter().filter_map(move |spot| all.get(&(spot.clone(), shared)));
    let sharing = (!shares).then(|| with(true)).into_iter().flatten();
    with(false).chain(sharing).collect()
}

/// Whether it is written as the wildcard address of IPv4, to which a listener leaves IPv4 itself.
fn is_v4_wildcard(address: &Address) -> bool {
    matches!(address, Address::Inet { host: Host::Ip(IpAddr::V4(ip)), .. } if ip.is_unspecified())
}

/// The name of an interface that may be written as its number.
fn device(zone: &str) -> Cow<'_, str> {
    let name = zone.parse().ok().and_then(|index: u32| nix::net::if_::if_indextoname(index).ok());
    name.and_then(|name| name.into_string().ok()).map_or(Cow::Borrowed(zone), Cow::Owned)
}

/// A path without detours: a directory may have several names.
pub(super) fn plain(path: &Path) -> PathBuf {
    let bare = path.strip_prefix(".").unwrap_or(path);
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return bare.into() };
    let directory = if directory == Path::new("") { Path::new(".") } else { directory };
    fs::canonicalize(directory).map_or_else(|_| bare.into(), |directory| directory.join(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Environment, Inputs, load};

    fn any_listener() -> impl Strategy<Value = Listener> {
        let host = prop::sample::select(vec![
            "0.0.0.0",
            "127.0.0.1",
            "127.0.0.2",
            "[::]",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[fe80::1%lo]",
            "localhost",
        ]);
        let ports = prop::sample::select(vec!["0", "7", "8", "7-8", "8-9"]);
        let protocol = prop::sample::select(vec!["tcp", "udp"]);
        let device = prop::sample::select(vec!["", "", "", "lo", "eth0"]);
        (protocol, host, ports, device, prop::bool::weighted(0.3), prop::bool::weighted(0.3)).prop_map(
            |(protocol, host, ports, device, v6_only, reuse_port)| {
                // It cannot be both.
                let v6_only = v6_only && !host.contains("ffff");
                let url = format!(
                    "{protocol}://{host}:{ports}?v6-only={v6_only}&reuse-port={reuse_port}&device={device}"
                );
                let inputs = Inputs { file: None, listen: vec![url] };
                load(&inputs, &Environment::default()).unwrap().config.listeners.remove(0)
            },
        )
    }

    proptest! {
        #[test]
        fn the_first_that_clashes_is_found(all in prop::collection::vec(any_listener(), 1..20)) {
            let wanted: Vec<_> =
                all.iter().map(|listener| Claim::written(listener, &listener.address[0])).collect();
            let mut claims = Claims::default();
            for (number, claim) in wanted.iter().enumerate() {
                let is_any = |claim: &Claim<'_>| *claim.ports.start() == 0;
                let expected = wanted[..number]
                    .iter()
                    .position(|earlier| !is_any(claim) && !is_any(earlier) && claim.clashes(earlier));
                prop_assert_eq!(claims.add(claim.clone()), expected);
            }
        }
    }
}
