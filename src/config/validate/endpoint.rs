//! `[observe]`: the endpoint, with its addresses as listeners.

use ipnet::IpNet;

use crate::config::{
    Address, EndpointAddress, Environment, Host, Listener, Note, Observe,
    applicability::Profile,
    diagnostic::{Diagnostic, Diagnostics, Place},
    keys::{Written, observe::WrittenObserve},
};

/// The addresses of the endpoint with one protocol, and where each is written.
pub(super) struct WrittenEndpoint {
    pub(super) listener: Listener,
    pub(super) places: Vec<Place>,
}

/// The endpoint as written. What needs a runtime directory is noted if there is none.
pub(super) fn build(
    written: &WrittenObserve<'_>,
    environment: &Environment,
    to: &mut Diagnostics,
) -> (Observe, Vec<WrittenEndpoint>) {
    let mut observe = written.or(&WrittenObserve::default(), &Profile::default());
    check_allow(written, to);
    let places: Vec<Place> = match written.address.as_deref() {
        Some(address) => address.site.raw.elements().into_iter().map(|element| element.at.clone()).collect(),
        None => Vec::new(),
    };
    let expanded = observe.address.iter().zip(&places).filter_map(|(address, place)| {
        address.expand(environment).map_err(|diagnostic| to.push(place.clone(), diagnostic)).ok()
    });
    let address: Vec<EndpointAddress> = expanded.collect();
    observe.address = address.into();
    let with_places = |listener: Listener| {
        let addresses = observe.address.iter().zip(&places);
        let places = addresses.filter(|(address, _)| address.protocol() == listener.protocol);
        WrittenEndpoint { places: places.map(|(_, place)| place.clone()).collect(), listener }
    };
    let endpoints = observe.listeners().into_iter().map(with_places).collect();
    (observe, endpoints)
}

/// What to look at: an address for other machines, none of which may use it.
pub(super) fn warnings(observe: &Observe) -> Vec<Note> {
    let is_mine = |network: &IpNet| network.addr().is_loopback();
    let wide = observe.address.iter().filter(|address| match address.address() {
        Address::Inet { host: Host::Ip(ip), .. } => !ip.is_loopback(),
        _ => false,
    });
    let unused = wide.filter(|_| observe.allow.iter().all(is_mine));
    let note = |address: &EndpointAddress| {
        let text = format!(
            "[observe]: {address} is for other machines, and only this machine may use it; name those that may in `allow`"
        );
        Note::new(text).at(address.to_string())
    };
    unused.map(note).collect()
}

/// Refuses a list that admits nobody, while there is an endpoint.
fn check_allow(written: &WrittenObserve<'_>, to: &mut Diagnostics) {
    if let Some(Written { value: Some(networks), site }) = written.allow.as_deref()
        && networks.is_empty()
    {
        let title = "`allow` holds no network: nobody could look";
        let help = "write the networks that may, or take it out for this machine alone";
        to.push(site.raw.at.clone(), Diagnostic::new(title, help));
    }
}
