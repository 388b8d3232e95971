//! Which listeners may have a key: the choices of a listener that decide it, and the conditions on them.

use super::{Address, Listener, Mode, Protocol, ProxyProtocol, ServiceKind, Workers, diagnostic::Diagnostic};

/// The choices of a listener on which its keys and their defaults depend. An unknown choice fits everything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Profile {
    pub(super) protocol: Option<Protocol>,
    pub(super) mode: Option<Mode>,
    pub(super) service: Option<ServiceKind>,
    /// There is no socket file: all the addresses are abstract names.
    pub(super) abstract_only: bool,
    /// Clients may come through a proxy, which tells their address.
    pub(super) proxied: bool,
    /// Its sockets are of MPTCP.
    pub(super) mptcp: bool,
    /// It is `[defaults]`, not a listener.
    pub(super) is_defaults: bool,
}

/// A condition on a [`Profile`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    /// One of these protocols; the text says why.
    Protocols(&'static [Protocol], &'static str),
    /// The clients have addresses: those of tcp and udp, and those that a proxy names.
    ClientAddresses,
    /// One of these modes.
    Modes(&'static [Mode]),
    /// This service.
    Service(ServiceKind),
    /// A unix socket that has a file.
    SocketFile,
    /// Sockets that are not of MPTCP, which the kernel lets have fewer options.
    NoMptcp,
    /// A `[[listener]]`, not `[defaults]`.
    Listener,
}

impl Profile {
    /// The choices of a finished listener.
    pub(super) fn of(listener: &Listener) -> Self {
        Self {
            protocol: Some(listener.protocol),
            mode: Some(listener.mode),
            service: Some(listener.service),
            abstract_only: listener.address.iter().all(|address| matches!(address, Address::Abstract(_))),
            proxied: listener.proxy_protocol != ProxyProtocol::Off,
            mptcp: listener.mptcp,
            is_defaults: false,
        }
    }

    /// The default of `max-connections`.
    pub(super) fn max_connections(&self) -> u32 {
        self.mode.unwrap_or(Mode::Epoll).default_max_connections()
    }

    /// The default of `workers`.
    pub(super) fn workers(&self) -> Workers {
        match (self.mode.unwrap_or(Mode::Epoll), self.protocol.unwrap_or(Protocol::Tcp)) {
            (Mode::Iterative, _) => Workers::Count(1),
            (mode, _) if mode.is_event_loop() => Workers::Count(1),
            (_, protocol) if protocol.is_stream() => Workers::PerRequest,
            _ => Workers::Auto,
        }
    }
}

const INET: &[Protocol] = &[Protocol::Tcp, Protocol::Udp];

impl Need {
    /// Why a listener with this profile may not have `key`, if so.
    pub(super) fn misfit(&self, key: &str, it: &Profile) -> Option<Diagnostic> {
        let wrong =
            |what: String, help: String| Some(Diagnostic::new(format!("`{key}` does not fit {what}"), help));
        match (self, it) {
            (Need::Protocols(protocols, why), Profile { protocol: Some(protocol), .. })
                if !protocols.contains(protocol) =>
            {
                wrong(format!("protocol `{protocol}`"), format!("take it out; {why}"))
            }
            (Need::ClientAddresses, Profile { protocol: Some(Protocol::Unix), proxied: true, .. }) => None,
            (Need::ClientAddresses, _) => {
                let why = "only clients of `tcp` and `udp` have addresses";
                Need::Protocols(INET, why).misfit(key, it)
            }
            (Need::Modes(modes), Profile { mode: Some(mode), .. }) if !modes.contains(mode) => {
                let modes: Vec<_> = modes.iter().map(|mode| format!("`{mode}`")).collect();
                wrong(
                    format!("mode `{mode}`"),
                    format!("take it out, or choose mode {}", all_of(&modes, "or")),
                )
            }
            (Need::Service(needed), Profile { service: Some(service), .. }) if service != needed => {
                wrong(format!("service `{service}`"), format!("take it out, or choose service `{needed}`"))
            }
            (Need::SocketFile, Profile { abstract_only: true, .. }) => {
                let help = "take it out; only a socket file has permissions";
                wrong("an abstract name".to_owned(), help.to_owned())
            }
            (Need::NoMptcp, Profile { mptcp: true, .. }) => {
                let help = "take one of them out; the kernel does not set it on sockets of MPTCP";
                wrong("`mptcp`".to_owned(), help.to_owned())
            }
            (Need::Listener, Profile { is_defaults: true, .. }) => Some(Diagnostic::new(
                format!("`{key}` cannot have a default"),
                "each listener has its own; move it into a `[[listener]]`",
            )),
            _ => None,
        }
    }

    /// For the pages: `tcp and udp`.
    pub(super) fn words(&self) -> Option<String> {
        let list = |words: Vec<String>| all_of(&words, "and");
        match self {
            Need::Protocols(protocols, _) => Some(list(protocols.iter().map(ToString::to_string).collect())),
            Need::ClientAddresses => Some("tcp, udp, and unix with `proxy-protocol`".to_owned()),
            Need::Modes(modes) => {
                let s = if modes.len() == 1 { "" } else { "s" };
                Some(format!("mode{s} {}", list(modes.iter().map(ToString::to_string).collect())))
            }
            Need::Service(service) => Some(format!("service {service}")),
            Need::NoMptcp => Some("sockets without `mptcp`".to_owned()),
            Need::SocketFile | Need::Listener => None,
        }
    }
}

/// `a, b and c`.
fn all_of(words: &[String], joint: &str) -> String {
    match words {
        [all @ .., last] if !all.is_empty() => format!("{} {joint} {last}", all.join(", ")),
        words => words.concat(),
    }
}
