//! Random configurations, and what of them a client can reach.

use std::{
    collections::BTreeSet,
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use crate::{harness::Endpoint, lifecycle::reload::modes, robustness::storm::Random};

const PROTOCOLS: [&str; 5] = ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"];

/// The addresses that a port may have, and whether IPv4 and IPv6 clients of this machine reach it there.
const SPREADS: [(&[&str], bool, bool); 5] = [
    (&["127.0.0.1"], true, false),
    (&["0.0.0.0"], true, false),
    (&["[::1]"], false, true),
    (&["[::]"], true, true),
    (&["127.0.0.1", "[::1]"], true, true),
];

/// Keys that are set and taken back, for streams over the network, and for datagrams.
const STREAM_KEYS: [&str; 9] = [
    "receive-buffer = \"256KiB\"",
    "send-buffer = \"128KiB\"",
    "keepalive = \"60s\"",
    "nodelay = false",
    "mptcp = true",
    "dscp = \"reflect\"",
    "ttl = 9",
    "idle-timeout = \"20s\"",
    "backlog = 500",
];
const DATAGRAM_KEYS: [&str; 7] = [
    "receive-buffer = \"512KiB\"",
    "send-buffer = \"256KiB\"",
    "gso = false",
    "kernel-filter = false",
    "dont-fragment = \"off\"",
    "dscp = \"reflect\"",
    "ttl = 9",
];

/// Keys that the sockets of MPTCP cannot have: a file with both is refused.
const NOT_BESIDE_MPTCP: [&str; 2] = ["dscp", "ttl"];

/// A configuration.
#[derive(Clone)]
pub(super) struct Plan {
    /// The state of a listener is told at level info, as is each connection.
    level: &'static str,
    listeners: Vec<Listener>,
    sites: Vec<Site>,
}

/// Two of each protocol.
#[derive(Clone)]
struct Listener {
    protocol: &'static str,
    mode: (&'static str, &'static str),
    keys: BTreeSet<&'static str>,
}

/// A port or a socket file, and the listener that has it.
#[derive(Clone)]
struct Site {
    protocol: &'static str,
    number: u16,
    /// The place in [`SPREADS`]; nobody serves it without one.
    spread: Option<usize>,
    second: bool,
}

/// What a client reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    protocol: &'static str,
    number: u16,
    v6: bool,
}

impl Target {
    pub(super) fn endpoint(&self, dir: &Path) -> Endpoint {
        let ip: IpAddr = if self.v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        match self.protocol {
            "tcp" => Endpoint::Tcp((ip, self.number).into()),
            "udp" => Endpoint::Udp((ip, self.number).into()),
            "unix-seqpacket" => Endpoint::UnixSeqpacket(dir.join(format!("{}.s", self.number))),
            "unix" => Endpoint::Unix(dir.join(format!("{}.s", self.number))),
            _ => Endpoint::UnixDatagram(dir.join(format!("{}.s", self.number))),
        }
    }
}

impl Plan {
    /// Every protocol has three sites, two at one listener and one at another.
    pub(super) fn first() -> Self {
        let (mut listeners, mut sites) = (Vec::new(), Vec::new());
        for (block, protocol) in (7000_u16..).step_by(10).zip(PROTOCOLS) {
            for mode in [("epoll", ""), ("threading", "")] {
                listeners.push(Listener { protocol, mode, keys: BTreeSet::new() });
            }
            let site =
                |number: u16| Site { protocol, number: block + number, spread: Some(0), second: number == 2 };
            sites.extend((0..3).map(site));
        }
        Self { level: "info", listeners, sites }
    }

    /// The same listeners, where nobody serves any of the sites.
    pub(super) fn without_sites(&self) -> Self {
        Self { sites: Vec::new(), ..self.clone() }
    }

    /// The next one, which differs in up to three places.
    pub(super) fn changed(&self, random: &mut Random) -> Self {
        let mut plan = Self { level: "warn", ..self.clone() };
        for _ in 0..=random.next(3) {
            plan.change(random);
        }
        plan
    }

    fn change(&mut self, random: &mut Random) {
        let listeners = self.listeners.len();
        let site = random.next(self.sites.len());
        let site = &mut self.sites[site];
        let listener = &mut self.listeners[random.next(listeners)];
        match random.next(6) {
            0 | 1 => site.spread = Some(random.next(SPREADS.len())),
            2 => site.spread = None,
            3 => site.second = !site.second,
            4 => {
                let modes = modes();
                listener.mode = modes[random.next(modes.len())];
            }
            _ => {
                let keys: &[&str] = match listener.protocol {
                    "tcp" => &STREAM_KEYS,
                    "udp" => &DATAGRAM_KEYS,
                    "unix" | "unix-seqpacket" => &STREAM_KEYS[7..],
                    _ => &DATAGRAM_KEYS[..2],
                };
                let key = keys[random.next(keys.len())];
                if !listener.keys.remove(key) {
                    listener.keys.retain(|other| fit(key, other) && fit(other, key));
                    listener.keys.insert(key);
                }
            }
        }
    }

    /// As a file.
    pub(super) fn toml(&self) -> String {
        // The first listener keeps the file from being empty.
        let mut toml = format!(
            "[log]\nlevel = \"{}\"\n[daemon]\ndrain-timeout = \"60s\"\n\
             [[listener]]\nname = \"always\"\nprotocol = \"unix\"\naddress = \"always.s\"\n",
            self.level
        );
        for (number, listener) in self.listeners.iter().enumerate() {
            let addresses: Vec<_> =
                self.sites.iter().filter(|s| self.has(number, s)).flat_map(Site::addresses).collect();
            if addresses.is_empty() {
                continue;
            }
            let Listener { protocol, mode: (mode, workers), keys } = listener;
            let name = self.name(number);
            let _ = writeln!(
                toml,
                "[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = {addresses:?}"
            );
            let _ = writeln!(toml, "mode = \"{mode}\"\n{workers}");
            keys.iter().for_each(|key| toml += &format!("{key}\n"));
        }
        toml
    }

    /// This one with a fault, for which a reload has to refuse it.
    pub(super) fn with_fault(&self, random: &mut Random) -> String {
        let fault = [
            "[[listener]]\nname = \"typo\"\nprotocol = \"tcp\"\nadress = \"127.0.0.1:0\"\n",
            "[[listener]]\nname = \"nowhere\"\nprotocol = \"tcp\"\naddress = \"192.0.2.1:7999\"\n",
            "[[listener]]\nname = \"nameless\"\nprotocol = \"tcp\"\naddress = \"no-such-host.invalid:7999\"\n",
            "[[listener]]\nname = \"no directory\"\nprotocol = \"unix\"\naddress = \"missing/socket\"\n",
        ];
        self.toml() + fault[random.next(fault.len())]
    }

    /// What a client of this machine can reach.
    pub(super) fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for Site { protocol, number, spread, .. } in &self.sites {
            let Some(spread) = spread else { continue };
            let (_, v4, v6) = SPREADS[*spread];
            let is_file = protocol.starts_with("unix");
            let families = [(false, v4 || is_file), (true, v6 && !is_file)];
            let reached = families.into_iter().filter(|(_, reached)| *reached);
            targets.extend(reached.map(|(v6, _)| Target { protocol, number: *number, v6 }));
        }
        targets
    }

    /// The names of the listeners that serve something.
    pub(super) fn names(&self) -> Vec<String> {
        let serves =
            |number: &usize| self.sites.iter().any(|site| site.spread.is_some() && self.has(*number, site));
        (0..self.listeners.len()).filter(serves).map(|number| self.name(number)).collect()
    }

    fn name(&self, number: usize) -> String {
        format!("{}-{}", self.listeners[number].protocol, number % 2)
    }

    fn has(&self, listener: usize, site: &Site) -> bool {
        self.listeners[listener].protocol == site.protocol && (listener % 2 == 1) == site.second
    }
}

impl Site {
    fn addresses(&self) -> Vec<String> {
        let Some(spread) = self.spread else { return Vec::new() };
        match self.protocol.starts_with("unix") {
            true => vec![format!("{}.s", self.number)],
            false => SPREADS[spread].0.iter().map(|ip| format!("{ip}:{}", self.number)).collect(),
        }
    }
}

fn fit(key: &str, other: &str) -> bool {
    !(key.starts_with("mptcp") && NOT_BESIDE_MPTCP.iter().any(|name| other.starts_with(name)))
}
