//! The values of one listener: its own keys, then those of `[defaults]`, then what the daemon would choose.

use std::{borrow::Borrow, time::Duration};

use super::{Fit, listener::Context, values};
use crate::config::{
    DEFAULT_COOL_DOWN, DEFAULT_LOOP_BREAKER, DEFAULT_QUOTE, DEFAULT_REFUSAL, Fallback, Keepalive, Listener,
    Mode, Payload, Protocol, ProxyProtocol, ServiceKind, SourceRate, Trigger, WhenFull, Workers,
    diagnostic::{Faults, Place, Trouble},
    everybody,
    file::{self, Scalar, Written},
    includes::Includes,
    ports, words,
};

/// A table of listener keys, and the source it is in.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) source: usize,
    pub(super) keys: &'a file::Listener,
}

/// Reads values: the listener's own, else that of `[defaults]` where it fits.
pub(super) struct Reader<'a> {
    pub(super) own: Table<'a>,
    pub(super) defaults: Table<'a>,
    pub(super) fit: Fit,
    pub(super) includes: &'a Includes,
    /// Where each key that was read is written.
    pub(super) origins: Vec<(&'static str, Place)>,
    pub(super) faults: &'a mut Faults,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        own: Table<'a>,
        defaults: Table<'a>,
        context: &Context<'a>,
        faults: &'a mut Faults,
    ) -> Self {
        let includes = context.includes;
        Reader { own, defaults, fit: Fit::default(), includes, origins: Vec::new(), faults }
    }

    pub(super) fn value<T: Borrow<U> + 'a, U: ?Sized, V>(
        &mut self,
        key: &'static str,
        field: impl Fn(&'a file::Listener) -> &'a Written<T>,
        read: impl Fn(&U) -> Result<V, Trouble>,
    ) -> Option<V> {
        let own = field(self.own.keys).as_ref().map(|written| (written, self.own.source));
        let default = field(self.defaults.keys).as_ref().filter(|_| self.fit.takes_default(key));
        let (written, source) = own.or(default.map(|written| (written, self.defaults.source)))?;
        let place = Place::new(source, written.span());
        self.origins.push((key, place.clone()));
        read(written.get_ref().borrow()).map_err(|trouble| self.faults.push(place, trouble)).ok()
    }

    pub(super) fn protocol(&mut self) -> Option<Protocol> {
        self.value("protocol", |keys| &keys.protocol, |word: &str| words::read("protocol", word))
    }

    pub(super) fn mode(&mut self) -> Mode {
        self.value("mode", |keys| &keys.mode, |word: &str| words::read("mode", word)).unwrap_or(Mode::Epoll)
    }

    pub(super) fn service(&mut self) -> ServiceKind {
        let read = |word: &str| words::read("service", word);
        self.value("service", |keys| &keys.service, read).unwrap_or(ServiceKind::Echo)
    }

    pub(super) fn proxy_protocol(&mut self) -> ProxyProtocol {
        let read = |word: &str| words::read("proxy-protocol", word);
        self.value("proxy-protocol", |keys| &keys.proxy_protocol, read).unwrap_or(ProxyProtocol::Off)
    }

    pub(super) fn enabled(&mut self) -> bool {
        self.value("enabled", |keys| &keys.enabled, values::as_written).unwrap_or(true)
    }

    pub(super) fn optional(&mut self) -> bool {
        self.value("optional", |keys| &keys.optional, values::as_written).unwrap_or(false)
    }

    /// All that does not say which listener it is.
    pub(super) fn settings(&mut self, protocol: Protocol, mode: Mode, service: ServiceKind) -> Listener {
        let word = |word: &str| words::read("payload", word);
        let switch = values::as_written;
        let workers = self
            .value("workers", |keys| &keys.workers, values::workers)
            // In `[defaults]` that is not meant for event loops.
            .filter(|workers| !(mode.is_event_loop() && *workers == Workers::PerRequest))
            .unwrap_or(default_workers(protocol, mode));
        let pooled = is_pooled(mode, workers);
        Listener {
            name: String::new(),
            protocol,
            address: Vec::new(),
            optional: false,
            mode,
            workers,
            trigger: self
                .value("trigger", |keys| &keys.trigger, |word: &str| words::read("trigger", word))
                .unwrap_or(Trigger::Level),
            fallback: self
                .value("fallback", |keys| &keys.fallback, |word: &str| words::read("fallback", word))
                .unwrap_or(Fallback::Off),
            busy_poll: self.value("busy-poll", |keys| &keys.busy_poll, values::busy_poll).flatten(),
            service,
            quote: self
                .value("quote", |keys| &keys.quote, values::quote)
                .unwrap_or_else(|| DEFAULT_QUOTE.to_owned()),
            allow: self.allow().unwrap_or_else(everybody),
            deny: self.deny().unwrap_or_default(),
            allow_users: self.allow_users(),
            allow_groups: self.allow_groups(),
            max_connections: self
                .value(
                    "max-connections",
                    |keys| &keys.max_connections,
                    |n: &i64| values::number("max-connections", *n),
                )
                .unwrap_or_else(|| mode.default_max_connections()),
            when_full: self
                .value("when-full", |keys| &keys.when_full, |word: &str| words::read("when-full", word))
                .filter(|_| !pooled)
                .unwrap_or(WhenFull::Wait),
            refusal: self
                .value("refusal", |keys| &keys.refusal, values::refusal)
                .unwrap_or_else(|| DEFAULT_REFUSAL.to_owned()),
            max_connections_per_source: self
                .value(
                    "max-connections-per-source",
                    |keys| &keys.max_connections_per_source,
                    |value: &Scalar| values::limit("max-connections-per-source", value),
                )
                .map_or(0, |number| number as u32),
            connection_rate: self
                .value("connection-rate", |keys| &keys.connection_rate, values::connection_rate)
                .flatten(),
            rate_per_source: self
                .value("rate-per-source", |keys| &keys.rate_per_source, values::source_rate)
                // In `[defaults]` bytes are meant for datagrams.
                .map(|rate| if protocol.is_stream() { SourceRate { bytes: None, ..rate } } else { rate })
                .unwrap_or_default(),
            cool_down: self
                .value("cool-down", |keys| &keys.cool_down, values::duration)
                .unwrap_or(DEFAULT_COOL_DOWN),
            source_prefix: self
                .value(
                    "source-prefix",
                    |keys| &keys.source_prefix,
                    |n: &i64| values::number("source-prefix", *n),
                )
                .map_or(64, |number| number as u8),
            max_requests: self
                .value(
                    "max-requests",
                    |keys| &keys.max_requests,
                    |v: &Scalar| values::limit("max-requests", v),
                )
                .unwrap_or(0),
            idle_timeout: self
                .value(
                    "idle-timeout",
                    |keys| &keys.idle_timeout,
                    |text: &str| values::time_limit("idle-timeout", text),
                )
                .flatten(),
            max_lifetime: self
                .value(
                    "max-lifetime",
                    |keys| &keys.max_lifetime,
                    |text: &str| values::time_limit("max-lifetime", text),
                )
                .flatten(),
            max_bytes: self.value("max-bytes", |keys| &keys.max_bytes, values::max_bytes).unwrap_or(0),
            proxy_protocol: self.proxy_protocol(),
            trusted_proxies: self.trusted_proxies().unwrap_or_else(crate::config::loopback),
            proxy_header_timeout: self
                .value(
                    "proxy-header-timeout",
                    |keys| &keys.proxy_header_timeout,
                    values::proxy_header_timeout,
                )
                .unwrap_or(Duration::from_secs(3)),
            payload: self.value("payload", |keys| &keys.payload, word).unwrap_or(Payload::Off),
            allow_amplification: self
                .value("allow-amplification", |keys| &keys.allow_amplification, switch)
                .unwrap_or(false),
            deny_source_ports: self
                .value("deny-source-ports", |keys| &keys.deny_source_ports, ports::read)
                .unwrap_or_default(),
            allow_multicast: self
                .value("allow-multicast", |keys| &keys.allow_multicast, switch)
                .unwrap_or(false),
            loop_breaker: self
                .value("loop-breaker", |keys| &keys.loop_breaker, values::loop_breaker)
                .unwrap_or(DEFAULT_LOOP_BREAKER),
            trusted: self.trusted().unwrap_or_default(),
            kernel_filter: self.value("kernel-filter", |keys| &keys.kernel_filter, switch).unwrap_or(true),
            gso: self.value("gso", |keys| &keys.gso, switch).unwrap_or(true),
            v6_only: self.value("v6-only", |keys| &keys.v6_only, switch).unwrap_or(false),
            backlog: self
                .value("backlog", |keys| &keys.backlog, |n: &i64| values::number("backlog", *n))
                .unwrap_or(0),
            reuse_address: self.value("reuse-address", |keys| &keys.reuse_address, switch).unwrap_or(true),
            reuse_port: self.value("reuse-port", |keys| &keys.reuse_port, switch).unwrap_or(false),
            nodelay: self.value("nodelay", |keys| &keys.nodelay, switch).unwrap_or(true),
            keepalive: self
                .value("keepalive", |keys| &keys.keepalive, values::keepalive)
                .unwrap_or(Keepalive::Off),
            receive_buffer: self
                .value("receive-buffer", |keys| &keys.receive_buffer, values::size)
                .unwrap_or(0),
            send_buffer: self.value("send-buffer", |keys| &keys.send_buffer, values::size).unwrap_or(0),
            device: self.value("device", |keys| &keys.device, values::device).unwrap_or_default(),
            socket_mode: self
                .value("socket-mode", |keys| &keys.socket_mode, values::socket_mode)
                .unwrap_or(0o666),
            socket_user: self.value("socket-user", |keys| &keys.socket_user, values::user),
            socket_group: self.value("socket-group", |keys| &keys.socket_group, values::group),
        }
    }
}

/// Whether clients wait for one of a fixed number of workers, each of which serves one.
pub(super) fn is_pooled(mode: Mode, workers: Workers) -> bool {
    !mode.is_event_loop() && workers != Workers::PerRequest
}

pub(super) fn default_workers(protocol: Protocol, mode: Mode) -> Workers {
    match (mode, protocol) {
        (Mode::Iterative, _) => Workers::Count(1),
        (mode, _) if mode.is_event_loop() => Workers::Count(1),
        (_, Protocol::Tcp | Protocol::Unix) => Workers::PerRequest,
        (_, Protocol::Udp | Protocol::UnixDatagram) => Workers::Auto,
    }
}
