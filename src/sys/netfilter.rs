//! Whether the packet filter (netfilter) has rules where packets for this machine and their answers pass. It needs CAP_NET_ADMIN.

use std::{
    fs,
    io::{self, ErrorKind},
    ops::ControlFlow,
};

use super::netlink::{attributes, list};

/// The chains of nftables, in which newer versions of iptables keep their rules as well.
const GET_CHAIN: u16 = 10 << 8 | 4;
/// Of a chain: where it is hooked in. One without is only called by others.
const HOOK: u16 = 4;
const HOOK_NUMBER: u16 = 1;
/// Where packets pass that this machine routes.
const FORWARD: [u8; 4] = 2_u32.to_be_bytes();
/// The families of ARP and of bridges, whose chains see no such packet.
const OTHERS: [u8; 2] = [libc::NFPROTO_ARP as u8, libc::NFPROTO_BRIDGE as u8];
/// Chains of one interface, with other numbers of hooks.
const NETDEV: u8 = libc::NFPROTO_NETDEV as u8;

/// Whether there are such rules.
///
/// # Errors
/// The process may not ask.
pub fn has_rules() -> io::Result<bool> {
    if has_legacy_tables()? {
        return Ok(true);
    }
    // `nfgenmsg`: any family, version, resource.
    let mut found = false;
    let asked = list(libc::NETLINK_NETFILTER, GET_CHAIN, &[0; 4], &mut |message| {
        found = is_in_the_way(message);
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match asked {
        Ok(()) => Ok(found),
        // A kernel without netfilter, or without nftables.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT | libc::EINVAL)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_in_the_way(message: &[u8]) -> bool {
    let (Some(family), Some(chain)) = (message.first(), message.get(4..)) else { return false };
    let Some((_, hook)) = attributes(chain).find(|(kind, _)| *kind == HOOK) else { return false };
    let number = attributes(hook).find(|(kind, _)| *kind == HOOK_NUMBER);
    let forwards = *family != NETDEV && number.is_some_and(|(_, number)| number == FORWARD);
    !OTHERS.contains(family) && !forwards
}

/// Whether the older packet filter (iptables) has a table. Only root may read it, and without the file there is none.
fn has_legacy_tables() -> io::Result<bool> {
    for file in ["/proc/self/net/ip_tables_names", "/proc/self/net/ip6_tables_names"] {
        match fs::read_to_string(file) {
            Ok(names) if names.trim().is_empty() => {}
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_such_a_packet_passes_is_in_the_way() {
        let chain = |family: u8, hook: Option<u8>| {
            let mut message = vec![family, 0, 0, 0];
            if let Some(hook) = hook {
                message.extend([12_u16.to_ne_bytes(), (HOOK | 0x8000).to_ne_bytes()].concat());
                message.extend([8_u16.to_ne_bytes(), HOOK_NUMBER.to_ne_bytes()].concat());
                message.extend([0, 0, 0, hook]);
            }
            is_in_the_way(&message)
        };
        assert!(chain(1, Some(1)) && chain(2, Some(0)) && chain(10, Some(4)) && chain(NETDEV, Some(2)));
        assert!(!chain(1, None) && !chain(1, Some(2)) && !chain(3, Some(0)) && !chain(7, Some(1)));
        assert!(!is_in_the_way(&[]));
    }
}
