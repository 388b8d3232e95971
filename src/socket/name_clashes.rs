//! One address by two names: a clash that shows only after the names are looked up.

use super::{host_names::HostNames, host_names::name_of};
use crate::{
    config::{Address, Claim, Claims, Host, Listener},
    report::error::{Exit, Failure},
};

/// Checks that all addresses of `listeners` can be bound beside each other. A name that was not found clashes with
/// none.
///
/// # Errors
/// If two of them cannot; it names both listeners.
pub fn check_names<'a>(
    listeners: impl IntoIterator<Item = &'a Listener>,
    names: &HostNames,
) -> Result<(), Failure> {
    let listeners: Vec<&Listener> = listeners.into_iter().collect();
    if !listeners.iter().any(|listener| listener.address.iter().any(Address::is_name)) {
        return Ok(());
    }
    let mut claims = Claims::default();
    let mut all: Vec<(&Listener, &Address)> = Vec::new();
    for settings in listeners {
        for address in &settings.address {
            let found = match address {
                Address::Inet { host: host @ Host::Name(_), .. } => {
                    let found = name_of(host).map(|name| names.addresses(&name));
                    let found = found.and_then(Result::ok).unwrap_or_default().iter();
                    found.map(|found| Claim::resolved(settings, address, found.ip())).collect()
                }
                _ => vec![Claim::written(settings, address)],
            };
            for claim in found {
                if let Some(earlier) = claims.add(claim) {
                    return Err(clash((settings, address), all[earlier]));
                }
                all.push((settings, address));
            }
        }
    }
    Ok(())
}

fn clash((one, address): (&Listener, &Address), (other, earlier): (&Listener, &Address)) -> Failure {
    let (url, taken) = (one.protocol.url(address), other.protocol.url(earlier));
    let owner = match std::ptr::eq(one, other) {
        true => "it".to_owned(),
        false => format!("listener \"{}\"", other.name),
    };
    let text = format!(
        "listener \"{}\": cannot serve {url}: {owner} has {taken}, which is the same address; choose another port, or set \
         `reuse-port = true` for both",
        one.name
    );
    Failure::new(Exit::Config, text)
}
