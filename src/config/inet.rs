//! Internet addresses as people write them: `127.0.0.1:7`, `[fe80::1%eth0]:7`, `localhost:7000-7009`.

use std::{
    net::{IpAddr, Ipv6Addr},
    ops::RangeInclusive,
};

use super::{
    address::{Address, Host},
    diagnostic::Trouble,
    quoted,
};

/// Reads a host and a port, or a range of ports.
pub(super) fn read(text: &str) -> Result<Address, Trouble> {
    if text.starts_with('@') || text.contains('/') {
        return Err(Trouble::new(
            format!("{} is the address of a unix socket, not a host and a port", quoted(text)),
            "use protocol `unix` or `unix-datagram`, or write for example `127.0.0.1:7`",
        ));
    }
    let (host, port) = split(text)?;
    Ok(Address::Inet { host: host_part(host)?, ports: port_part(port)? })
}

/// Cuts at the colon before the port; an IPv6 address has colons of its own and stands in brackets.
fn split(text: &str) -> Result<(&str, &str), Trouble> {
    let (host, rest) = match text.find(']').filter(|_| text.starts_with('[')) {
        Some(end) => text.split_at(end + 1),
        None if text.parse::<Ipv6Addr>().is_ok() || text.matches(':').count() > 1 => {
            return Err(Trouble::new(
                format!("{} is an IPv6 address without brackets", quoted(text)),
                "write it as `[::1]:7`, address in brackets, then the port",
            ));
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    match rest.strip_prefix(':') {
        Some(port) if !port.is_empty() => Ok((host, port)),
        _ => Err(Trouble::new(
            format!("{} has no port", quoted(text)),
            "add one after a colon, for example `:7`, or `:0` for any free one",
        )),
    }
}

fn port_part(text: &str) -> Result<RangeInclusive<u16>, Trouble> {
    let (first, last) = text.split_once('-').map_or((text, None), |(first, last)| (first, Some(last)));
    let first = port(first)?;
    let Some(last) = last.map(port).transpose()? else {
        return Ok(first..=first);
    };
    match (first, last) {
        (0, _) | (_, 0) => Err(Trouble::new(
            format!("{} is a range with port 0", quoted(text)),
            "start at port 1 or above; `:0` alone means any free port",
        )),
        _ if first > last => Err(Trouble::new(
            format!("{} is a reversed port range", quoted(text)),
            format!("write `{last}-{first}`"),
        )),
        _ => Ok(first..=last),
    }
}

fn port(text: &str) -> Result<u16, Trouble> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| {
        Trouble::new(
            format!("{} is not a port", quoted(text)),
            "write a number from 0 to 65535, or a range like `7000-7009`",
        )
    })
}

fn host_part(text: &str) -> Result<Host, Trouble> {
    if let Some(inside) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return ipv6(inside);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Host::Ip(address));
    }
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match text {
        "" | "*" => Err(Trouble::new(
            "there is no host before the port",
            "write `0.0.0.0` or `[::]` for all addresses",
        )),
        _ if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => Err(Trouble::new(
            format!("{} is not an IPv4 address", quoted(text)),
            "write four numbers from 0 to 255",
        )),
        _ if text.len() > 253 || !text.chars().all(letters) => Err(Trouble::new(
            format!("{} is not a host name", quoted(text)),
            "write an address, or a name of letters, digits, `-` and `.`",
        )),
        _ => Ok(Host::Name(text.to_owned())),
    }
}

fn ipv6(text: &str) -> Result<Host, Trouble> {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    let Ok(address) = address.parse::<Ipv6Addr>() else {
        return Err(Trouble::new(
            format!("{} is not an IPv6 address", quoted(text)),
            "write for example `[::1]`; only IPv6 stands in brackets",
        ));
    };
    // Longer names do not fit IFNAMSIZ, netdevice(7).
    let fits =
        |zone: &str| !zone.is_empty() && zone.len() <= 15 && zone.bytes().all(|byte| byte.is_ascii_graphic());
    match zone {
        None => Ok(Host::Ip(address.into())),
        Some(_) if !address.is_unicast_link_local() && !address.is_multicast() => Err(Trouble::new(
            format!("`{address}` is not link-local and has no zone"),
            format!("write `[{address}]`, or choose an interface with `device`"),
        )),
        Some(zone) if fits(zone) => Ok(Host::Scoped(address, zone.to_owned())),
        Some(zone) => Err(Trouble::new(
            format!("{} is not a zone", quoted(zone)),
            "write the name or number of an interface after the `%`",
        )),
    }
}
