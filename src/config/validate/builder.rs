//! One listener: do its keys fit, and do they make sense together?

use std::{collections::BTreeMap, sync::Arc};

use super::addresses;
use crate::config::{
    Address, Environment, Listener, Mode, Note, Protocol, ProxyProtocol, SourceRate, WhenFull, Workers,
    applicability::Profile,
    diagnostic::{Diagnostic, Diagnostics, Place},
    keys::{
        AnyKey, KeySite, Sites, Written,
        listener::{LISTENER, WrittenListener},
    },
    misfit::Found,
    proxy,
};

/// A `[[listener]]` as written.
pub(in crate::config) struct WrittenTable<'a> {
    /// The place of its header.
    pub(in crate::config) at: Place,
    pub(in crate::config) keys: WrittenListener<'a>,
    /// It has no unknown keys, one of which may be what is missing.
    pub(in crate::config) is_whole: bool,
}

/// A listener, still with the places that later checks cite.
pub(in crate::config) struct ListenerBuilder {
    pub(super) listener: Listener,
    /// Where its name is written; a listener without one gets it later.
    pub(super) name: Option<Place>,
    /// Where each address is written.
    pub(super) places: Vec<Place>,
    /// Where each key is written.
    pub(super) origins: BTreeMap<&'static str, Arc<[Place]>>,
    left_out: Vec<String>,
}

impl ListenerBuilder {
    /// What was left out, for the log.
    pub(super) fn notes(&self) -> impl Iterator<Item = Note> + '_ {
        let Listener { name, protocol, .. } = &self.listener;
        self.left_out.iter().map(move |text| {
            let url = format!("{protocol}:{text}");
            let text = format_args!("left out {url}: there is no runtime directory for `%t`");
            Note::of(name, text).at(&url)
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

/// Checks `[defaults]` on its own, also what no listener takes.
pub(super) fn check_defaults(defaults: &WrittenListener<'_>, to: &mut Diagnostics) {
    let it = Profile { is_defaults: true, ..Profile::default() };
    note_misfits(defaults, &it, to);
    check_allow(defaults, &it, to);
}

/// Builds one listener, which is `None` if it is not enabled.
pub(super) fn build(
    table: &WrittenTable<'_>,
    defaults: &WrittenListener<'_>,
    environment: &Environment,
    to: &mut Diagnostics,
) -> Option<ListenerBuilder> {
    let own = &table.keys;
    let texts = own.address.as_deref().map(texts).unwrap_or_default();
    let it = profile(own, defaults, &texts);
    note_misfits(own, &it, to);
    check_allow(own, &it, to);
    check_workers(own, &it, to);
    check_limits(own, defaults, &it, to);
    let mut listener = own.or(defaults, &it);
    settle(&mut listener, own, &it);

    if table.is_whole && own.protocol.is_none() && defaults.protocol.is_none() {
        let help = "add for example `protocol = \"tcp\"`";
        to.push(table.at.clone(), Diagnostic::new("this listener has no protocol", help));
    }
    let no_address =
        || Diagnostic::new("this listener has no address", "add for example `address = \"127.0.0.1:7\"`");
    match &own.address {
        None if table.is_whole => to.push(table.at.clone(), no_address()),
        Some(address) if address.site.raw.elements().is_empty() => {
            to.push(address.site.raw.at.clone(), no_address());
        }
        _ => {}
    }
    let bound = match it.protocol {
        // A listener that is not served may need what this machine does not have.
        Some(protocol) => {
            let optional = listener.optional || !listener.enabled;
            addresses::read(&texts, protocol, optional, environment, to)
        }
        None => addresses::Bound::default(),
    };
    if listener.device.is_empty() {
        addresses::check_interfaces(&bound, to);
    }
    if listener.v6_only {
        addresses::check_families(&bound, to);
    }
    let (address, places): (Vec<_>, _) = bound.addresses.into_iter().unzip();
    check_proxies(own, defaults, &listener, &address, to);
    listener.address = address;
    let name = own.name.as_ref().filter(|name| name.value.is_some());
    listener.enabled.then(|| ListenerBuilder {
        name: name.map(|name| name.site.raw.at.clone()),
        listener,
        places,
        origins: origins(own, defaults, &it),
        left_out: bound.left_out,
    })
}

/// Each address as written, and its place.
fn texts(address: &Written<'_, Vec<Address>>) -> Vec<(String, Place)> {
    let text = |raw: crate::config::keys::Raw<'_>| match raw.found() {
        Found::Text(text) => Some((text.to_owned(), raw.at.clone())),
        _ => None,
    };
    address.site.raw.elements().into_iter().filter_map(text).collect()
}

/// What decides which keys fit.
fn profile(own: &WrittenListener<'_>, defaults: &WrittenListener<'_>, texts: &[(String, Place)]) -> Profile {
    let keys = &LISTENER;
    let none = Profile::default();
    let proxy_protocol =
        keys.proxy_protocol.known(own.proxy_protocol.as_deref(), defaults.proxy_protocol.as_deref(), &none);
    let protocol = keys.protocol.known(own.protocol.as_deref(), defaults.protocol.as_deref(), &none);
    let mptcp = keys.mptcp.known(own.mptcp.as_deref(), defaults.mptcp.as_deref(), &none);
    Profile {
        protocol,
        mode: keys.mode.known(own.mode.as_deref(), defaults.mode.as_deref(), &none),
        service: keys.service.known(own.service.as_deref(), defaults.service.as_deref(), &none),
        abstract_only: !texts.is_empty() && texts.iter().all(|(text, _)| text.starts_with('@')),
        proxied: proxy_protocol != Some(ProxyProtocol::Off),
        mptcp: protocol == Some(Protocol::Tcp) && mptcp == Some(true),
        is_defaults: false,
    }
}

/// Refuses keys that are written in a table and mean nothing there. Files alone stand for their list, too, and come after it.
fn note_misfits(table: &WrittenListener<'_>, it: &Profile, to: &mut Diagnostics) {
    let mut sites = table.sites().into_iter().peekable();
    while let Some((key, site)) = sites.next() {
        let is_of_files = sites.peek().is_some_and(|(_, next)| next.key_at == site.key_at);
        if let Some(diagnostic) = key.misfit(it).filter(|_| !is_of_files) {
            to.push(site.key_at.clone(), diagnostic);
        }
    }
}

/// Refuses a list that admits no client.
fn check_allow(table: &WrittenListener<'_>, it: &Profile, to: &mut Diagnostics) {
    if let Some(Written { value: Some(networks), site }) = table.allow.as_deref()
        && networks.is_empty()
        && LISTENER.allow.misfit(it).is_none()
    {
        let title = "`allow` holds no network: nobody could come in";
        let help = "write the networks that may, or take it out to let everybody in";
        to.push(site.raw.at.clone(), Diagnostic::new(title, help));
    }
}

/// Refuses numbers that do not fit the mode.
fn check_workers(own: &WrittenListener<'_>, it: &Profile, to: &mut Diagnostics) {
    if it.mode.is_some_and(Mode::is_event_loop)
        && let Some(Written { value: Some(Workers::PerRequest), site }) = own.workers.as_deref()
    {
        let title = "`workers` \"per-request\" does not fit an event loop, which serves many clients";
        let help = "give the number of loops, or \"auto\"; or choose mode `threading` or `forking`";
        to.push(site.key_at.clone(), Diagnostic::new(title, help));
    }
    if it.mode != Some(Mode::Iterative) {
        return;
    }
    let one_client = |key: &str| {
        let title = format!("`{key}` does not fit mode `iterative`, which serves one client at a time");
        Diagnostic::new(title, "take it out, or choose another mode")
    };
    if let Some(Written { value, site }) = own.workers.as_deref()
        && *value != Some(Workers::Count(1))
    {
        to.push(site.key_at.clone(), one_client("workers"));
    }
    if let Some(Written { value, site }) = own.max_connections.as_deref()
        && *value != Some(1)
    {
        to.push(site.key_at.clone(), one_client("max-connections"));
    }
}

/// Refuses limits that cannot be kept.
fn check_limits(
    own: &WrittenListener<'_>,
    defaults: &WrittenListener<'_>,
    it: &Profile,
    to: &mut Diagnostics,
) {
    let (Some(mode), Some(protocol)) = (it.mode, it.protocol) else { return };
    let inherited = defaults.workers.as_ref().filter(|_| own.workers.is_none() && mode != Mode::Iterative);
    let workers = own.workers.as_ref().or(inherited).and_then(|workers| workers.value);
    let workers = workers.unwrap_or_else(|| it.workers());
    if let Some(Written { value: Some(when_full), site }) = own.when_full.as_deref()
        && *when_full != WhenFull::Wait
        && is_pooled(mode, workers)
    {
        let title = format!("`when-full` `{when_full}` does not fit a fixed number of workers");
        let help = "take it out, for clients wait until a worker is free; or choose an event loop, or a thread or process for \
                    each";
        let diagnostic = Diagnostic::new(title, help);
        match inherited {
            Some(workers) => {
                let at = workers.site.raw.at.clone();
                to.push_clash(site.key_at.clone(), diagnostic, at, "the number of workers");
            }
            None => to.push(site.key_at.clone(), diagnostic),
        }
    }
    if let Some(Written { value: Some(SourceRate { bytes: Some(_), .. }), site }) =
        own.rate_per_source.as_deref()
        && protocol.is_stream()
    {
        let title = "`rate-per-source` counts the bytes of datagrams, and this listener has connections";
        to.push(site.raw.at.clone(), Diagnostic::new(title, "write for example \"50/s\""));
    }
}

/// Whether clients wait for one of a fixed number of workers, each of which serves one.
fn is_pooled(mode: Mode, workers: Workers) -> bool {
    !mode.is_event_loop() && workers != Workers::PerRequest
}

/// Takes back what `[defaults]` say for listeners of another mode or protocol.
fn settle(listener: &mut Listener, own: &WrittenListener<'_>, it: &Profile) {
    let is_iterative = listener.mode == Mode::Iterative;
    let is_of_threads = listener.mode.is_event_loop() && listener.workers == Workers::PerRequest;
    if is_of_threads || (is_iterative && own.workers.is_none()) {
        listener.workers = LISTENER.workers.default(it);
    }
    if is_iterative && own.max_connections.is_none() {
        listener.max_connections = LISTENER.max_connections.default(it);
    }
    if is_pooled(listener.mode, listener.workers) {
        listener.when_full = WhenFull::Wait;
    }
    if listener.protocol.is_stream() {
        listener.rate_per_source.bytes = None;
    }
    // What they hold is in the lists.
    listener.allow_include = [].into();
    listener.deny_include = [].into();
}

/// Refuses a listener that other machines can reach and that believes any proxy.
fn check_proxies(
    own: &WrittenListener<'_>,
    defaults: &WrittenListener<'_>,
    listener: &Listener,
    address: &[Address],
    to: &mut Diagnostics,
) {
    let is_on = listener.proxy_protocol != ProxyProtocol::Off && listener.protocol == Protocol::Tcp;
    let is_named = own.trusted_proxies.is_some() || defaults.trusted_proxies.is_some();
    let switch = own.proxy_protocol.as_ref().or(defaults.proxy_protocol.as_ref());
    if let Some(switch) = switch.filter(|_| is_on && !is_named && !address.iter().all(proxy::is_local)) {
        let title = "anybody could claim any address: this listener trusts proxies, and does not say which";
        let help = "add for example `trusted-proxies = [\"192.0.2.1\"]`, or serve on 127.0.0.1 only";
        to.push(switch.site.raw.at.clone(), Diagnostic::new(title, help));
    }
}

/// Where the values are written that the listener has.
fn origins(
    own: &WrittenListener<'_>,
    defaults: &WrittenListener<'_>,
    it: &Profile,
) -> BTreeMap<&'static str, Arc<[Place]>> {
    // A number of `[defaults]` is not meant for one that serves one client at a time.
    let is_meant = |key: &dyn AnyKey| {
        it.mode != Some(Mode::Iterative) || !matches!(key.name(), "workers" | "max-connections")
    };
    let inherited = defaults.sites().into_iter();
    let inherited = inherited.filter(|(key, _)| key.misfit(it).is_none() && is_meant(*key));
    // What the listener says itself comes last, and counts.
    let sites = inherited.chain(own.sites());
    let places = |site: &KeySite<'_>| site.places.clone().unwrap_or_else(|| [site.raw.at.clone()].into());
    sites.map(|(key, site)| (key.name(), places(site))).collect()
}
