//! The network interfaces, their addresses and the routes of IPv4 (rtnetlink(7)), and word of their changes. It needs no capability.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::ControlFlow,
    os::fd::{AsRawFd, OwnedFd},
};

use ipnet::IpNet;
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
    },
};

use super::netlink::{attributes, half, list, word};

mod routes;

pub use routes::{Ipv4Route, RouteTable, has_plain_rules, routes};

const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const RTM_GETNETCONF: u16 = 82;

const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const NETCONFA_IFINDEX: u16 = 1;
const NETCONFA_RP_FILTER: u16 = 3;
/// The number that stands for all interfaces.
const ALL: i32 = -1;

/// An address with one of these flags is not in use: its uniqueness is not known, or it is not unique.
const UNUSED: u32 = libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED;

/// Groups of messages: interfaces, addresses of both families, and routes, rules and settings of IPv4.
const GROUPS: u32 = 1 | 0x10 | 0x100 | 0x40 | 0x80 | 1 << 23;
/// The message that an interface has gone, or went to another namespace.
const RTM_DELLINK: u16 = 17;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What its packets look like: `ARPHRD_ETHER` and the like.
    pub hardware: u16,
    /// Whether it is up.
    pub is_up: bool,
    /// Whether it is a port of another interface, such as a bridge.
    pub has_master: bool,
    /// What it is made by.
    pub kind: InterfaceKind,
}

/// What an interface is made by (ip-link(8)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceKind {
    /// Nothing: it is a physical one, or the loopback interface.
    Plain,
    /// One end of a pair.
    Veth,
    /// A bridge.
    Bridge,
    /// Another.
    Other,
}

impl InterfaceKind {
    fn named(name: &[u8]) -> InterfaceKind {
        match name {
            b"veth\0" => InterfaceKind::Veth,
            b"bridge\0" => InterfaceKind::Bridge,
            _ => InterfaceKind::Other,
        }
    }
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The number of the interface.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
    /// The network that is reached by the interface.
    pub network: IpNet,
    /// The broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// Whether it is in use.
    pub is_used: bool,
}

/// All interfaces of the network namespace.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    // `ifinfomsg`: family, type, index, flags, change.
    all(RTM_GETLINK, &[0; 16], interface)
}

/// All addresses of the network namespace.
pub fn addresses() -> io::Result<Vec<InterfaceAddress>> {
    // `ifaddrmsg`: family, prefix length, flags, scope, index.
    all(RTM_GETADDR, &[0; 8], address)
}

/// A list of the kernel, as far as its messages can be read.
fn all<T>(kind: u16, request: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> io::Result<Vec<T>> {
    let mut all = Vec::new();
    list(libc::NETLINK_ROUTE, kind, request, &mut |message| {
        if let Some(entry) = read(message) {
            all.push(entry);
        }
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

/// Whether the kernel drops IPv4 packets of an interface by their source (`rp_filter`): a list of interfaces with their settings.
/// 0 is off; the higher of that for all and that of an interface counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReversePathFilters(Vec<(i32, i32)>);

impl ReversePathFilters {
    /// Reads them.
    pub fn read() -> io::Result<ReversePathFilters> {
        // `netconfmsg`: the family, with three bytes up to the next word.
        all(RTM_GETNETCONF, &[libc::AF_INET as u8, 0, 0, 0], filter).map(ReversePathFilters)
    }

    /// Whether packets of this interface are looked at. An unknown interface counts as one where they are.
    pub fn looks_at(&self, interface: u32) -> bool {
        let of = |wanted: i32| self.0.iter().find(|(index, _)| *index == wanted).map(|(_, filter)| *filter);
        let both = of(ALL).zip(i32::try_from(interface).ok().and_then(of));
        both.is_none_or(|(all, own)| all.max(own) != 0)
    }
}

fn interface(message: &[u8]) -> Option<Interface> {
    let hardware = u16::from_ne_bytes(message.get(2..4)?.try_into().ok()?);
    let (index, flags) = (word(message, 4)?, word(message, 8)?);
    let mut found = Interface {
        index,
        name: String::new(),
        hardware,
        is_up: flags & libc::IFF_UP as u32 != 0,
        has_master: false,
        kind: InterfaceKind::Plain,
    };
    for (kind, value) in attributes(message.get(16..)?) {
        match kind {
            IFLA_IFNAME => found.name = text(value),
            IFLA_MASTER => found.has_master = word(value, 0)? != 0,
            IFLA_LINKINFO => {
                if let Some((_, name)) = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND) {
                    found.kind = InterfaceKind::named(name);
                }
            }
            _ => {}
        }
    }
    Some(found)
}

fn address(message: &[u8]) -> Option<InterfaceAddress> {
    let (family, prefix, interface) = (*message.first()?, *message.get(1)?, word(message, 4)?);
    let mut flags = u32::from(*message.get(2)?);
    let (mut own, mut peer, mut broadcast) = (None, None, None);
    for (kind, value) in attributes(message.get(8..)?) {
        match kind {
            IFA_LOCAL => own = ip(family, value),
            IFA_ADDRESS => peer = ip(family, value),
            IFA_BROADCAST => broadcast = ip(family, value),
            IFA_FLAGS => flags = word(value, 0)?,
            _ => {}
        }
    }
    let (address, network) = (own.or(peer)?, peer.or(own)?);
    let broadcast = match broadcast {
        Some(IpAddr::V4(v4)) => Some(v4),
        _ => None,
    };
    Some(InterfaceAddress {
        interface,
        address,
        network: IpNet::new(network, prefix).ok()?.trunc(),
        broadcast,
        is_used: flags & UNUSED == 0,
    })
}

fn filter(message: &[u8]) -> Option<(i32, i32)> {
    let (mut index, mut filter) = (None, None);
    for (kind, value) in attributes(message.get(4..)?) {
        match kind {
            NETCONFA_IFINDEX => index = word(value, 0).map(u32::cast_signed),
            NETCONFA_RP_FILTER => filter = word(value, 0).map(u32::cast_signed),
            _ => {}
        }
    }
    index.zip(filter)
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

/// A text that ends with a zero.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// Interfaces that have gone, or went to another namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfacesGone {
    /// Their numbers, which others may have by now.
    indexes: Vec<u32>,
    /// There was too much to tell: it may have been any.
    any: bool,
}

impl InterfacesGone {
    /// Whether the interface that had this number may have gone.
    pub fn has(&self, interface: u32) -> bool {
        self.any || self.indexes.contains(&interface)
    }

    /// Adds others.
    pub fn add(&mut self, others: InterfacesGone) {
        self.any |= others.any;
        // Interfaces may come and go while nobody looks.
        if self.indexes.len() + others.indexes.len() > 1000 {
            self.any = true;
        } else {
            self.indexes.extend(others.indexes);
        }
    }

    fn read(message: &[u8]) -> Option<InterfacesGone> {
        // After the header comes `ifinfomsg`. A port that leaves its bridge is told of with the family of bridges.
        let (kind, family, index) = (half(message, 4)?, *message.get(16)?, word(message, 20)?);
        let is_gone = kind == RTM_DELLINK && i32::from(family) == libc::AF_UNSPEC;
        is_gone.then(|| InterfacesGone { indexes: vec![index], any: false })
    }
}

/// Waits for changes of interfaces, addresses and routes.
#[derive(Debug)]
pub struct Monitor(OwnedFd);

impl Monitor {
    /// A monitor that knows of all changes from now on.
    pub fn new() -> io::Result<Monitor> {
        let protocol = SockProtocol::NetlinkRoute;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Monitor(fd))
    }

    /// Waits until something has changed, and takes all that the kernel has to tell of it until now. The lists say what has changed, but
    /// for interfaces whose numbers others have by now.
    ///
    /// # Errors
    /// The socket has failed.
    pub fn wait(&self) -> io::Result<InterfacesGone> {
        let mut gone = InterfacesGone::default();
        self.take(MsgFlags::empty(), &mut gone)?;
        loop {
            match self.take(MsgFlags::MSG_DONTWAIT, &mut gone) {
                Ok(()) => {}
                Err(Errno::EAGAIN) => return Ok(gone),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take(&self, flags: MsgFlags, gone: &mut InterfacesGone) -> nix::Result<()> {
        let mut buffer = [0; 64];
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, flags) {
                Ok(length) => {
                    InterfacesGone::read(&buffer[..length]).into_iter().for_each(|one| gone.add(one))
                }
                // More has changed than the buffer holds.
                Err(Errno::ENOBUFS) => gone.any = true,
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error),
            }
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_with_its_address() {
        let lo = interfaces().unwrap().into_iter().find(|interface| interface.name == "lo").unwrap();
        assert_eq!((lo.index, lo.hardware, lo.kind, lo.has_master), (1, 772, InterfaceKind::Plain, false));
        let addresses = addresses().unwrap();
        let own: Vec<_> = addresses.iter().filter(|address| address.interface == lo.index).collect();
        let local = own.iter().find(|own| own.address == Ipv4Addr::LOCALHOST).unwrap();
        assert_eq!(
            (local.network, local.broadcast, local.is_used),
            ("127.0.0.0/8".parse().unwrap(), None, true)
        );
        let filters = ReversePathFilters::read().unwrap();
        assert!(filters.0.iter().any(|(index, _)| *index == ALL), "{filters:?}");
        assert!(filters.looks_at(i32::MAX as u32), "an unknown interface is taken for a strict one");
    }

    #[test]
    fn the_stricter_setting_counts() {
        let filters = ReversePathFilters(vec![(ALL, 0), (1, 0), (2, 1)]);
        assert_eq!([1, 2].map(|index| filters.looks_at(index)), [false, true]);
        let filters = ReversePathFilters(vec![(ALL, 2), (1, 0)]);
        assert!(filters.looks_at(1));
    }

    #[test]
    fn only_an_interface_that_has_gone_is_forgotten() {
        let message = |kind: u16, family: u8| {
            let mut message = vec![0; 16];
            message[4..6].copy_from_slice(&kind.to_ne_bytes());
            message.extend([family, 0, 0, 0, 50, 0, 0, 0]);
            InterfacesGone::read(&message).unwrap_or_default()
        };
        assert!(message(RTM_DELLINK, 0).has(50) && !message(RTM_DELLINK, 0).has(5));
        assert!(!message(RTM_DELLINK, libc::AF_BRIDGE as u8).has(50) && !message(16, 0).has(50));
        let mut many = InterfacesGone::default();
        (0..2000).for_each(|_| many.add(message(RTM_DELLINK, 0)));
        assert!(many.has(7) && many.indexes.len() <= 1000);
        assert_eq!(InterfacesGone::read(&[0; 20]), None);
    }

    #[test]
    fn a_broken_message_is_no_interface() {
        assert_eq!((interface(&[0; 10]), address(&[2, 8]), filter(&[])), (None, None, None));
    }
}
