//! The addresses of one listener.

use std::net::IpAddr;

use crate::config::{
    Address, Environment, Host, Protocol,
    diagnostic::{Diagnostic, Diagnostics, Place},
    quoted,
};

/// What became of a listener's addresses.
#[derive(Default)]
pub(super) struct Bound {
    /// The valid ones, and where they are written.
    pub(super) addresses: Vec<(Address, Place)>,
    /// Those that were left out, as written.
    pub(super) left_out: Vec<String>,
}

/// Reads the addresses of a listener. Without a runtime directory the ones that need it are left out if `optional`.
pub(super) fn read(
    texts: &[(String, Place)],
    protocol: Protocol,
    optional: bool,
    environment: &Environment,
    diagnostics: &mut Diagnostics,
) -> Bound {
    let mut bound = Bound::default();
    for (text, place) in texts {
        let place = place.clone();
        let expanded = match expand(text, protocol, environment) {
            Some(expanded) => expanded,
            None if optional => {
                bound.left_out.push(text.clone());
                continue;
            }
            None => {
                let title = format!("{} needs a runtime directory, and there is none", quoted(text));
                let help =
                    "set RUNTIME_DIRECTORY or XDG_RUNTIME_DIR, write a whole path, or add `optional = true`";
                diagnostics.push(place, Diagnostic::new(title, help));
                continue;
            }
        };
        match Address::parse(&expanded, protocol) {
            Ok(address) => bound.addresses.push((address, place)),
            Err(diagnostic) => diagnostics.push(place, diagnostic),
        }
    }
    bound
}

/// An address that many links have needs an interface: the kernel binds it to none. For listeners without a `device`.
pub(super) fn check_interfaces(bound: &Bound, diagnostics: &mut Diagnostics) {
    for (address, place) in &bound.addresses {
        let Address::Inet { host: Host::Ip(IpAddr::V6(ip)), ports } = address else { continue };
        let is_of_link = ip.is_unicast_link_local()
            || matches!(ip.octets(), [0xff, flags, ..] if matches!(flags & 0xf, 1 | 2));
        if is_of_link {
            let meant = Host::Scoped(*ip, "eth0".to_owned());
            let meant = Address::Inet { host: meant, ports: ports.clone() };
            let title = format!("`[{ip}]` is an address of one link, and does not say of which");
            let help = format!("add the interface with a `%`, for example `{meant}`");
            diagnostics.push(place.clone(), Diagnostic::new(title, help));
        }
    }
}

/// IPv4 in IPv6's clothes cannot be bound for IPv6 only. For listeners that are `v6-only`.
pub(super) fn check_families(bound: &Bound, diagnostics: &mut Diagnostics) {
    for (address, place) in &bound.addresses {
        let Address::Inet { host: Host::Ip(IpAddr::V6(ip)), .. } = address else { continue };
        if let Some(v4) = ip.to_ipv4_mapped() {
            let title = format!("`[{ip}]` is an address of IPv4, and `v6-only` serves none");
            let help = format!("take `v6-only` out, or serve {v4} by another listener");
            diagnostics.push(place.clone(), Diagnostic::new(title, help));
        }
    }
}

/// Puts the runtime directory in the place of `%t`; `None` if there is none.
fn expand(text: &str, protocol: Protocol, environment: &Environment) -> Option<String> {
    match text.strip_prefix("%t").filter(|rest| protocol.is_unix() && rest.starts_with('/')) {
        None => Some(text.to_owned()),
        Some(rest) => {
            let directory = environment.runtime_directory.as_ref()?.to_str()?;
            Some(format!("{}{rest}", directory.trim_end_matches('/')))
        }
    }
}
