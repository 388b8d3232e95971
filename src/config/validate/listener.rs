//! One listener: do its keys fit, and do they make sense together?

use toml::Spanned;

use super::{
    Fit, addresses,
    reader::{Reader, Table, default_workers, is_pooled},
    values,
};
use crate::config::{
    Environment, Listener, Mode, Protocol, ProxyProtocol, Workers,
    diagnostic::{Faults, Place, Source, Trouble},
    file::{self, Keys, Scalar},
    includes::Includes,
    proxy, quoted,
};

/// What all listeners have in common.
pub(super) struct Context<'a> {
    pub(super) sources: &'a [Source],
    pub(super) includes: &'a Includes,
    pub(super) defaults: Table<'a>,
    pub(super) environment: &'a Environment,
    /// Nothing was cut out of the sources.
    pub(super) complete: bool,
}

/// A listener, still with the places that later checks cite.
pub(super) struct Draft {
    pub(super) listener: Listener,
    /// Where its name is written; a listener without one gets it later.
    pub(super) name: Option<Place>,
    /// Where each address is written.
    pub(super) places: Vec<Place>,
    /// Where each key is written.
    pub(super) origins: Vec<(&'static str, Place)>,
    left_out: Vec<String>,
}

impl Draft {
    /// What was left out, for the log.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> + '_ {
        let Listener { name, protocol, .. } = &self.listener;
        self.left_out.iter().map(move |text| {
            format!("listener \"{name}\": left out {protocol}:{text}: there is no runtime directory for `%t`")
        })
    }

    /// The URL of the first address.
    pub(super) fn url(&self) -> String {
        let protocol = self.listener.protocol;
        match (self.listener.address.first(), self.left_out.first()) {
            (Some(address), _) => protocol.url(address),
            (None, left_out) => format!("{protocol}:{}", left_out.map_or("", String::as_str)),
        }
    }
}

/// Checks the values of `[defaults]` on their own, also those that no listener takes.
pub(super) fn check_defaults(context: &Context<'_>, faults: &mut Faults) {
    let table = context.defaults;
    for (key, span) in table.keys.written().filter(|(key, _)| ["name", "address"].contains(key)) {
        let trouble = Trouble::new(
            format!("`{key}` cannot have a default"),
            "each listener has its own; move it into a `[[listener]]`",
        );
        faults.push(key_place(context, table.source, key, span), trouble);
    }
    let nothing = file::Listener::default();
    let defaults = Table { source: table.source, keys: &nothing };
    let mut reader = Reader::new(table, defaults, context, faults);
    let (protocol, mode, service) = (reader.protocol(), reader.mode(), reader.service());
    reader.enabled();
    reader.optional();
    reader.settings(protocol.unwrap_or(Protocol::Tcp), mode, service);
}

/// Reads one listener, which is `None` if it is not enabled.
pub(super) fn draft(
    own: Table<'_>,
    table: Place,
    context: &Context<'_>,
    faults: &mut Faults,
) -> Option<Draft> {
    let mut reader = Reader::new(own, context.defaults, context, faults);
    let (protocol, mode, service) = (reader.protocol(), reader.mode(), reader.service());
    let (enabled, optional) = (reader.enabled(), reader.optional());
    let texts = own.keys.address.as_ref().map(addresses::texts).unwrap_or_default();
    let abstract_only = !texts.is_empty() && texts.iter().all(|(text, _)| text.starts_with('@'));
    let proxied = reader.proxy_protocol() != ProxyProtocol::Off;
    reader.fit = Fit { protocol, mode: Some(mode), service: Some(service), abstract_only, proxied };
    reader.check_own_keys(context);
    let name = reader.value("name", |keys| &keys.name, values::name);
    let settings = reader.settings(protocol.unwrap_or(Protocol::Tcp), mode, service);
    let proxies = reader.place_of_unnamed_proxies(&settings);
    let (origins, faults) = (reader.origins, reader.faults);

    if context.complete && own.keys.protocol.is_none() && context.defaults.keys.protocol.is_none() {
        let cure = "add for example `protocol = \"tcp\"`";
        faults.push(table.clone(), Trouble::new("this listener has no protocol", cure));
    }
    if context.complete && texts.is_empty() {
        let cure = "add for example `address = \"127.0.0.1:7\"`";
        let place = own.keys.address.as_ref().map_or(table, |empty| Place::new(own.source, empty.span()));
        faults.push(place, Trouble::new("this listener has no address", cure));
    }
    let bound = match protocol {
        // A listener that is not served may need what this machine does not have.
        Some(protocol) => {
            let optional = optional || !enabled;
            addresses::read(&texts, own.source, protocol, optional, context.environment, faults)
        }
        None => addresses::Bound::default(),
    };
    if settings.device.is_empty() {
        addresses::check_interfaces(&bound, faults);
    }
    if settings.v6_only {
        addresses::check_families(&bound, faults);
    }
    let (address, places): (Vec<_>, _) = bound.addresses.into_iter().unzip();
    if let Some(place) = proxies.filter(|_| !address.iter().all(proxy::is_local)) {
        let title = "anybody could claim any address: this listener trusts proxies, and does not say which";
        let cure = "add for example `trusted-proxies = [\"192.0.2.1\"]`, or serve on 127.0.0.1 only";
        faults.push(place, Trouble::new(title, cure));
    }
    enabled.then(|| Draft {
        name: name
            .is_some()
            .then(|| own.keys.name.as_ref().map(|name| Place::new(own.source, name.span())))
            .flatten(),
        listener: Listener { name: name.unwrap_or_default(), address, optional, ..settings },
        places,
        origins,
        left_out: bound.left_out,
    })
}

impl Reader<'_> {
    /// Where the PROXY protocol is switched on without a list of proxies.
    fn place_of_unnamed_proxies(&self, settings: &Listener) -> Option<Place> {
        let find = |table: Table<'_>| {
            let is_named = table.keys.trusted_proxies.is_some();
            let switch = table.keys.proxy_protocol.as_ref().map(|word| Place::new(table.source, word.span()));
            (is_named, switch)
        };
        let (own, defaults) = (find(self.own), find(self.defaults));
        let is_on = settings.proxy_protocol != ProxyProtocol::Off && settings.protocol == Protocol::Tcp;
        own.1.or(defaults.1).filter(|_| is_on && !own.0 && !defaults.0)
    }

    /// Refuses keys that are written on the listener itself but mean nothing there.
    fn check_own_keys(&mut self, context: &Context<'_>) {
        let keys = self.own.keys;
        for (key, span) in keys.written() {
            if let Some(trouble) = self.fit.trouble(key) {
                self.faults.push(key_place(context, self.own.source, key, span), trouble);
            }
        }
        if self.fit.mode.is_some_and(Mode::is_event_loop)
            && let Some(workers) = &keys.workers
            && matches!(values::workers(workers.get_ref()), Ok(Workers::PerRequest))
        {
            let title = "`workers` \"per-request\" does not fit an event loop, which serves many clients";
            let cure = "give the number of loops, or \"auto\"; or choose mode `threading` or `forking`";
            let place = key_place(context, self.own.source, "workers", workers.span());
            self.faults.push(place, Trouble::new(title, cure));
        }
        self.check_limits(context);
        if self.fit.mode != Some(Mode::Iterative) {
            return;
        }
        let title = |key| format!("`{key}` does not fit mode `iterative`, which serves one client at a time");
        let cure = "take it out, or choose another mode";
        let other = |number: &Scalar| *number != Scalar::Number(1);
        if let Some(span) = keys.workers.as_ref().filter(|number| other(number.get_ref())).map(Spanned::span)
        {
            let place = key_place(context, self.own.source, "workers", span);
            self.faults.push(place, Trouble::new(title("workers"), cure));
        }
        if let Some(span) =
            keys.max_connections.as_ref().filter(|number| *number.get_ref() != 1).map(Spanned::span)
        {
            let place = key_place(context, self.own.source, "max-connections", span);
            self.faults.push(place, Trouble::new(title("max-connections"), cure));
        }
    }
}

impl Reader<'_> {
    /// Refuses limits that cannot be kept.
    fn check_limits(&mut self, context: &Context<'_>) {
        let (keys, source) = (self.own.keys, self.own.source);
        let (Some(mode), Some(protocol)) = (self.fit.mode, self.fit.protocol) else { return };
        let number = |table: Table<'_>| {
            let written = table.keys.workers.as_ref();
            written
                .map(|workers| (values::workers(workers.get_ref()), Place::new(table.source, workers.span())))
        };
        let inherited = number(self.defaults).filter(|_| self.fit.takes_default("workers"));
        let inherited = inherited.filter(|_| keys.workers.is_none());
        let workers = number(self.own).or(inherited.clone()).and_then(|(workers, _)| workers.ok());
        let workers = workers.unwrap_or(default_workers(protocol, mode));
        if let Some(written) = keys.when_full.as_ref().filter(|word| word.get_ref() != "wait")
            && is_pooled(mode, workers)
        {
            let title =
                format!("`when-full` {} does not fit a fixed number of workers", quoted(written.get_ref()));
            let cure = "take it out, for clients wait until a worker is free; or choose an event loop, or a thread or \
                        process for each";
            let place = key_place(context, source, "when-full", written.span());
            match inherited {
                Some((_, workers)) => {
                    self.faults.push_clash(
                        place,
                        Trouble::new(title, cure),
                        workers,
                        "the number of workers",
                    );
                }
                None => self.faults.push(place, Trouble::new(title, cure)),
            }
        }
        if let Some(written) = &keys.rate_per_source
            && protocol.is_stream()
            && values::source_rate(written.get_ref()).is_ok_and(|rate| rate.bytes.is_some())
        {
            let title = "`rate-per-source` counts the bytes of datagrams, and this listener has connections";
            let cure = "write for example \"50/s\"";
            self.faults.push(Place::new(source, written.span()), Trouble::new(title, cure));
        }
    }
}

/// The place of `key` itself. The shapes know only the place of its value, but it stands just before.
fn key_place(context: &Context<'_>, source: usize, key: &str, value: std::ops::Range<usize>) -> Place {
    let before = context.sources[source].as_toml()[..value.start].trim_end();
    let before = before.strip_suffix('=').map(|before| before.trim_end().trim_end_matches(['"', '\'']));
    match before.filter(|before| before.ends_with(key)) {
        Some(before) => Place::new(source, before.len() - key.len()..before.len()),
        None => Place::new(source, value),
    }
}
