//! The routes of IPv4 and the rules that choose between their tables.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    ops::ControlFlow,
};

use ipnet::Ipv4Net;

use super::{all, ip};
use crate::sys::netlink::{attributes, list, word};

const RTM_GETROUTE: u16 = 26;
const RTM_GETRULE: u16 = 34;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
/// Of a route, and of a rule (FRA_TABLE).
const TABLE: u16 = 15;

/// The table of addresses of this machine, and that of all other routes, unless rules name more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTable {
    /// `main`.
    Main = 254,
    /// `local`.
    Local = 255,
}

/// A route of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Route {
    /// Where it leads to.
    pub network: Ipv4Net,
    /// What it is: [`libc::RTN_UNICAST`] and the like.
    pub kind: u8,
    /// The number of the interface that it leads to; 0 if there is none or several.
    pub interface: u32,
}

/// The routes of IPv4 in a table, or `None` if there are more than `most`.
pub fn routes(wanted: RouteTable, most: usize) -> io::Result<Option<Vec<Ipv4Route>>> {
    let mut all = Vec::new();
    // `rtmsg`: family, lengths of destination and source, type of service, table, protocol, scope, type, flags.
    let request = [libc::AF_INET as u8, 0, 0, 0, wanted as u8, 0, 0, 0, 0, 0, 0, 0];
    list(libc::NETLINK_ROUTE, RTM_GETROUTE, &request, &mut |message| {
        if let Some(route) = route(message, wanted) {
            all.push(route);
        }
        if all.len() > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok((all.len() <= most).then_some(all))
}

fn route(message: &[u8], wanted: RouteTable) -> Option<Ipv4Route> {
    let (family, length) = (*message.first()?, *message.get(1)?);
    let (mut table, mut network, mut interface) =
        (u32::from(*message.get(4)?), IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    for (kind, value) in attributes(message.get(12..)?) {
        match kind {
            RTA_DST => network = ip(family, value)?,
            RTA_OIF => interface = word(value, 0)?,
            TABLE => table = word(value, 0)?,
            _ => {}
        }
    }
    let IpAddr::V4(network) = network else { return None };
    let network = Ipv4Net::new(network, length).ok()?;
    (table == wanted as u32).then_some(Ipv4Route { network, kind: *message.get(7)?, interface })
}

/// Whether only the tables `local`, `main` and `default` are asked for the way of an IPv4 packet, as without further rules (`ip rule`).
pub fn has_plain_rules() -> io::Result<bool> {
    // `fib_rule_hdr`.
    let request = [libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tables = all(RTM_GETRULE, &request, |message| {
        let table = attributes(message.get(12..)?).find(|(kind, _)| *kind == TABLE);
        Some(table.and_then(|(_, value)| word(value, 0)).unwrap_or(u32::from(*message.get(4)?)))
    });
    match tables {
        Ok(tables) => Ok(tables.len() <= 3 && tables.iter().all(|table| (253..=255).contains(table))),
        // A kernel without rules.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_loopback_are_a_network_of_the_local_table() {
        let local = routes(RouteTable::Local, 10_000).unwrap().unwrap();
        let loopback =
            Ipv4Route { network: "127.0.0.0/8".parse().unwrap(), kind: libc::RTN_LOCAL, interface: 1 };
        assert!(local.contains(&loopback), "{local:?}");
        assert_eq!(routes(RouteTable::Local, local.len() - 1).unwrap(), None);
        assert!(!routes(RouteTable::Main, 10_000).unwrap().unwrap_or_default().contains(&loopback));
        has_plain_rules().unwrap();
    }

    #[test]
    fn a_broken_message_is_no_route() {
        assert_eq!((route(&[2; 11], RouteTable::Main), route(&[], RouteTable::Local)), (None, None));
    }
}
