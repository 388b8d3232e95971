//! Which keys mean something for which listener.

use crate::config::{Address, Listener, Mode, Protocol, ProxyProtocol, ServiceKind, diagnostic::Trouble};

/// The choices of a listener that decide which of its keys mean something. An unknown choice fits everything.
#[derive(Clone, Copy, Default)]
pub(in crate::config) struct Fit {
    pub(super) protocol: Option<Protocol>,
    pub(super) mode: Option<Mode>,
    pub(super) service: Option<ServiceKind>,
    /// There is no socket file: all the addresses are abstract names.
    pub(super) abstract_only: bool,
    /// Clients may come through a proxy, which tells their address.
    pub(super) proxied: bool,
}

impl Fit {
    /// The choices of a finished listener.
    pub(in crate::config) fn of(listener: &Listener) -> Self {
        Self {
            protocol: Some(listener.protocol),
            mode: Some(listener.mode),
            service: Some(listener.service),
            abstract_only: listener.address.iter().all(|address| matches!(address, Address::Abstract(_))),
            proxied: listener.proxy_protocol != ProxyProtocol::Off,
        }
    }

    /// Whether the listener may have `key` at all.
    pub(in crate::config) fn allows(&self, key: &str) -> bool {
        self.trouble(key).is_none()
    }

    /// Whether `key` of `[defaults]` is meant for the listener. An iterative one has no use for numbers.
    pub(super) fn takes_default(&self, key: &str) -> bool {
        let number = matches!(key, "workers" | "max-connections");
        self.allows(key) && !(number && self.mode == Some(Mode::Iterative))
    }

    /// Why the listener may not have `key`, if so.
    pub(super) fn trouble(&self, key: &str) -> Option<Trouble> {
        let wrong =
            |what: String, cure: &str| Some(Trouble::new(format!("`{key}` does not fit {what}"), cure));
        match (protocols(key), self.protocol) {
            (_, Some(Protocol::Unix)) if self.proxied && is_about_addresses(key) => {}
            (Some((protocols, cure)), Some(protocol)) if !protocols.contains(&protocol) => {
                return wrong(format!("protocol `{protocol}`"), cure);
            }
            _ => {}
        }
        match key {
            "trigger" => match self.mode {
                Some(mode) if mode != Mode::Epoll => {
                    wrong(format!("mode `{mode}`"), "take it out, or choose mode `epoll`")
                }
                _ => None,
            },
            "fallback" => match self.mode {
                Some(mode) if mode != Mode::IoUring => {
                    wrong(format!("mode `{mode}`"), "take it out, or choose mode `io-uring`")
                }
                _ => None,
            },
            "busy-poll" => match self.mode {
                Some(mode) if !mode.is_event_loop() => wrong(
                    format!("mode `{mode}`"),
                    "take it out, or choose mode `select`, `poll`, `epoll` or `io-uring`",
                ),
                _ => None,
            },
            "socket-mode" | "socket-user" | "socket-group" if self.abstract_only => {
                wrong("an abstract name".to_owned(), "take it out; only a socket file has permissions")
            }
            "quote" => match self.service {
                Some(service) if service != ServiceKind::Qotd => {
                    wrong(format!("service `{service}`"), "take it out, or choose service `qotd`")
                }
                _ => None,
            },
            _ => None,
        }
    }
}

fn is_about_addresses(key: &str) -> bool {
    matches!(key, "allow" | "allow-include" | "deny" | "deny-include")
}

/// The protocols that have `key`, if not all do.
fn protocols(key: &str) -> Option<(&'static [Protocol], &'static str)> {
    use Protocol::{Tcp, Udp, Unix, UnixDatagram};
    match key {
        "nodelay" | "keepalive" => Some((&[Tcp], "take it out; only `tcp` has it")),
        "backlog" => Some((&[Tcp, Unix], "take it out; only `tcp` and `unix` have connections that wait")),
        "trusted-proxies" => Some((&[Tcp], "take it out; a unix listener trusts whoever may connect")),
        "idle-timeout" | "max-lifetime" | "max-bytes" | "proxy-protocol" | "proxy-header-timeout" => {
            Some((&[Tcp, Unix], "take it out; only `tcp` and `unix` have connections"))
        }
        // On a UDP socket it would let another daemon take the port without a word.
        "reuse-address" => Some((&[Tcp], "take it out; only `tcp` has it")),
        "v6-only" | "device" | "reuse-port" => {
            Some((&[Tcp, Udp], "take it out; only `tcp` and `udp` have it"))
        }
        "deny-source-ports" | "allow-multicast" | "loop-breaker" | "trusted" | "kernel-filter" | "gso" => {
            Some((&[Udp], "take it out; only `udp` has it"))
        }
        "allow-amplification" => Some((&[Udp, UnixDatagram], "take it out; only datagrams can be amplified")),
        "allow" | "allow-include" | "deny" | "deny-include" => {
            Some((&[Tcp, Udp], "take it out; only clients of `tcp` and `udp` have addresses"))
        }
        "max-connections-per-source" | "connection-rate" | "when-full" | "refusal" => {
            Some((&[Tcp, Unix], "take it out; only `tcp` and `unix` have connections"))
        }
        "rate-per-source" | "cool-down" => {
            Some((&[Tcp, Udp, Unix], "take it out; who sends such a datagram is not known"))
        }
        "source-prefix" => Some((&[Tcp, Udp], "take it out; only `tcp` and `udp` have IPv6")),
        "allow-users" | "allow-groups" => {
            Some((&[Unix], "take it out; only of a `unix` connection is the user known"))
        }
        "socket-mode" | "socket-user" | "socket-group" => {
            Some((&[Unix, UnixDatagram], "take it out; only a unix socket file has permissions"))
        }
        _ => None,
    }
}
