//! The addresses of this machine (getifaddrs(3)). They are read on first use, then once a minute while datagrams
//! arrive, and when a new address would explain a suspicious datagram, but not more often than every two seconds.

use std::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
};

use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};

use crate::config::embedded::plain;

const SECOND: u64 = 1_000_000_000;

/// The addresses, and when they were read.
#[derive(Default)]
struct Interfaces {
    /// In nanoseconds; 0 for never.
    read: u64,
    /// Empty only if the process may not read them.
    addresses: Vec<IpAddr>,
    broadcasts: Rc<[Ipv4Addr]>,
}

thread_local! {
    /// One for each thread and process, so that none waits for another.
    static KNOWN: RefCell<Interfaces> = RefCell::default();
}

/// The broadcast addresses of all interfaces.
pub(super) fn broadcasts(now: u64) -> Rc<[Ipv4Addr]> {
    KNOWN.with_borrow_mut(|known| {
        known.refresh(now, 60 * SECOND);
        known.broadcasts.clone()
    })
}

/// Whether `address` belongs to this machine. If the process may not read the addresses, any could.
pub(super) fn is_ours(address: IpAddr, now: u64) -> bool {
    KNOWN.with_borrow_mut(|known| {
        known.refresh(now, 2 * SECOND);
        known.addresses.is_empty() || known.addresses.contains(&address)
    })
}

/// Whether `address` is one of [`broadcasts`]. Datagrams arrive at it, so it is a unicast or a broadcast
/// address of ours: unless it is known as the former, the addresses are read again.
pub(super) fn is_broadcast_here(address: Ipv4Addr, now: u64) -> bool {
    KNOWN.with_borrow_mut(|known| {
        known.refresh(now, 60 * SECOND);
        if !known.addresses.contains(&address.into()) {
            known.refresh(now, 2 * SECOND);
        }
        known.broadcasts.contains(&address)
    })
}

impl Interfaces {
    /// Reads the addresses if they are older than `age`. If that fails, the old ones stay.
    fn refresh(&mut self, now: u64, age: u64) {
        if self.read != 0 && now.saturating_sub(self.read) < age {
            return;
        }
        self.read = now.max(1);
        let Ok(all) = getifaddrs() else { return };
        self.addresses.clear();
        let mut broadcasts = Vec::new();
        for interface in all {
            self.addresses.extend(interface.address.as_ref().and_then(ip).map(plain));
            if let Some(IpAddr::V4(broadcast)) = interface.broadcast.as_ref().and_then(ip) {
                broadcasts.push(broadcast);
            }
        }
        // An interface with a single address reports it as its broadcast address.
        broadcasts.retain(|broadcast| !self.addresses.contains(&IpAddr::V4(*broadcast)));
        self.broadcasts = broadcasts.into();
    }
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_ours_and_no_broadcast_address() {
        let now = 5 * SECOND;
        assert!(is_ours(Ipv4Addr::LOCALHOST.into(), now));
        assert!(!is_ours(Ipv4Addr::new(192, 0, 2, 77).into(), now));
        assert!(
            !broadcasts(now).contains(&Ipv4Addr::LOCALHOST) && !is_broadcast_here(Ipv4Addr::LOCALHOST, now)
        );
    }

    #[test]
    fn what_is_young_is_not_read_again() {
        let mut known = Interfaces::default();
        known.refresh(SECOND, 2 * SECOND);
        assert!(!known.addresses.is_empty());
        known.addresses.clear();
        known.refresh(3 * SECOND - 1, 2 * SECOND);
        assert!(known.addresses.is_empty());
        known.refresh(3 * SECOND, 2 * SECOND);
        assert!(!known.addresses.is_empty());
    }
}
