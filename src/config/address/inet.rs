//! Internet addresses as people write them: `127.0.0.1:7`, `[fe80::1%eth0]:7`, `localhost:7000-7009`.

use std::{
    net::{IpAddr, Ipv6Addr},
    ops::RangeInclusive,
};

use ipnet::IpNet;

use crate::config::{
    address::{Address, Host},
    diagnostic::Diagnostic,
    quoted,
};

/// Reads a host and a port, or a range of ports.
pub(in crate::config) fn read(text: &str) -> Result<Address, Diagnostic> {
    if let Some(diagnostic) = is_something_else(text) {
        return Err(diagnostic);
    }
    let (host, port) = split(text)?;
    Ok(Address::Inet { host: host_part(host)?, ports: port_part(port)? })
}

/// The host and port that `text` was probably meant to be: the port of echod where there is none, this machine where there is no
/// host.
pub(in crate::config) fn meant(text: &str) -> Option<String> {
    let is_ip = text.parse::<IpAddr>();
    let is_name = || text == "localhost" || (text.contains('.') && host_part(text).is_ok());
    let guess = match text.rsplit_once(':').unwrap_or(("", text)) {
        _ if text.contains('/') => text.split('/').find(|part| !part.is_empty())?.to_owned(),
        ("", port) if is_port(port) => format!("127.0.0.1:{port}"),
        ("*", port) => format!("0.0.0.0:{port}"),
        (host, port) if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]:{port}"),
        _ if text.ends_with(']') || matches!(is_ip, Ok(IpAddr::V4(_))) || is_name() => {
            format!("{text}:{USUAL_PORT}")
        }
        _ if is_ip.is_ok() => format!("[{text}]:{USUAL_PORT}"),
        _ => return None,
    };
    (guess != text && read(&guess).is_ok()).then_some(guess)
}

/// The port of the built-in default.
const USUAL_PORT: u16 = 7777;

/// What people write in the place of a host and a port.
fn is_something_else(text: &str) -> Option<Diagnostic> {
    let told = |what: &str, help: String| Some(Diagnostic::new(format!("{} {what}", quoted(text)), help));
    if text.is_empty() {
        return Some(Diagnostic::new(
            "the address is empty",
            "write a host and a port, for example `127.0.0.1:7`",
        ));
    }
    if text.trim() != text && read(text.trim()).is_ok() {
        return told("has spaces around it", format!("write `{}`", text.trim()));
    }
    if let Some((protocol, rest)) = text.split_once("://").filter(|(_, rest)| read(rest).is_ok()) {
        return told(
            "is a URL",
            format!("write `{rest}`; its protocol is a key of its own, `protocol = \"{protocol}\"`"),
        );
    }
    if text.contains(',') {
        let list: Vec<_> = several(text).iter().map(|address| format!("\"{address}\"")).collect();
        let help = "write a list in the file, and `?address=` for each further one in a URL";
        return told("is more than one address", format!("{help}: [{}]", list.join(", ")));
    }
    let unix = |text| {
        let help = "use protocol `unix` or `unix-datagram`, or write for example `127.0.0.1:7`".to_owned();
        Some(Diagnostic::new(
            format!("{} is the address of a unix socket, not a host and a port", quoted(text)),
            help,
        ))
    };
    if text.starts_with('@') {
        return unix(text);
    }
    let (place, behind) = text.split_once('/')?;
    match (read(place), meant(text)) {
        (Ok(_), _) if behind.is_empty() => told("ends with a slash", format!("drop the slash: `{place}`")),
        (Ok(address), _) if is_port(behind) => {
            let network = network(&address, behind).unwrap_or_else(|| "192.0.2.0/24".to_owned());
            let help = format!("write `{place}`; who may come in is said by `allow = \"{network}\"`");
            told("has a netmask, and a socket has none", help)
        }
        (Ok(_), _) => told("has a path behind its port", format!("write `{place}`")),
        (Err(_), _) if host_part(place).is_ok() && place.contains(['.', ':']) => {
            let help = "write one address and a port, for example `0.0.0.0:7` for all of this machine; who may come in is \
                        said by `allow`";
            told("is a network, not an address and a port", help.to_owned())
        }
        (Err(_), Some(meant)) => told("begins with a slash", format!("did you mean `{meant}`?")),
        (Err(_), None) => unix(text),
    }
}

/// The addresses of a text with commas. A port alone is one more of the host before.
fn several(text: &str) -> Vec<String> {
    let mut host = "127.0.0.1";
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        if let Some((before, _)) = part.rsplit_once(':') {
            host = before;
        }
        all.push(if part.contains(':') { part.to_owned() } else { format!("{host}:{part}") });
    }
    all
}

/// The network of `length` bits around an address.
fn network(address: &Address, length: &str) -> Option<String> {
    let Address::Inet { host: Host::Ip(ip), .. } = address else { return None };
    IpNet::new(*ip, length.parse().ok()?).ok().map(|network| network.trunc().to_string())
}

/// Cuts at the colon before the port; an IPv6 address has colons of its own and stands in brackets.
fn split(text: &str) -> Result<(&str, &str), Diagnostic> {
    let (host, rest) = match text.find(']').filter(|_| text.starts_with('[')) {
        Some(end) => text.split_at(end + 1),
        None if text.split(':').next().is_some_and(|host| host.contains('.'))
            && text.matches(':').count() > 1 =>
        {
            return Err(Diagnostic::new(
                format!("{} has more than one port", quoted(text)),
                "write one, or a range like `127.0.0.1:7000-7009`",
            ));
        }
        None if text.parse::<Ipv6Addr>().is_ok() || text.matches(':').count() > 1 => {
            let meant = meant(text).unwrap_or_else(|| "[::1]:7".to_owned());
            return Err(Diagnostic::new(
                format!("{} is an IPv6 address without brackets", quoted(text)),
                format!("write it as `{meant}`, address in brackets, then the port"),
            ));
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    match rest.strip_prefix(':') {
        Some(port) if !port.is_empty() => Ok((host, port)),
        _ if is_port(host) => Err(Diagnostic::new(
            format!("{} has no host", quoted(text)),
            format!("did you mean `127.0.0.1:{host}`?"),
        )),
        None if !rest.is_empty() => Err(Diagnostic::new(
            format!("{} has something between its address and its port", quoted(text)),
            "write a colon and the port behind the `]`, for example `[::1]:7`",
        )),
        _ => Err(Diagnostic::new(
            format!("{} has no port", quoted(text)),
            format!("a port is missing: write for example `{}:7`", quoted(host).trim_matches('`')),
        )),
    }
}

fn port_part(text: &str) -> Result<RangeInclusive<u16>, Diagnostic> {
    let (first, last) =
        match text.split_once('-').filter(|(first, last)| !first.is_empty() && !last.is_empty()) {
            Some((first, last)) => (first, Some(last)),
            None => (text, None),
        };
    let first = port(first)?;
    let Some(last) = last.map(port).transpose()? else {
        return Ok(first..=first);
    };
    match (first, last) {
        (0, _) | (_, 0) => Err(Diagnostic::new(
            format!("{} is a range with port 0", quoted(text)),
            "start at port 1 or above; `:0` alone means any free port",
        )),
        _ if first > last => Err(Diagnostic::new(
            format!("{} is a reversed port range", quoted(text)),
            format!("write `{last}-{first}`"),
        )),
        _ => Ok(first..=last),
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The ports of the services that echod has, which people know by name.
const NAMED: [(&str, u16); 6] =
    [("echo", 7), ("discard", 9), ("daytime", 13), ("qotd", 17), ("chargen", 19), ("time", 37)];

fn port(text: &str) -> Result<u16, Diagnostic> {
    text.parse().ok().filter(|_| is_port(text)).ok_or_else(|| {
        let help = match (NAMED.iter().find(|(name, _)| *name == text), text.split_once(['&', '#'])) {
            (Some((_, number)), _) => format!("write its number, `{number}`"),
            (None, Some((port, parameters))) if is_port(port) && parameters.contains('=') => {
                format!("the first parameter of a URL follows a `?`: `{port}?{parameters}`")
            }
            _ => "write a number from 0 to 65535, or a range like `7000-7009`".to_owned(),
        };
        Diagnostic::new(format!("{} is no port", quoted(text)), help)
    })
}

fn host_part(text: &str) -> Result<Host, Diagnostic> {
    if let Some(inside) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return ipv6(inside);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Host::Ip(address));
    }
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match text {
        "" | "*" => Err(Diagnostic::new(
            "there is no host before the port",
            "write `127.0.0.1` for this machine only, `0.0.0.0` or `[::]` for all addresses",
        )),
        _ if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => Err(Diagnostic::new(
            format!("{} is not an IPv4 address", quoted(text)),
            "write four numbers from 0 to 255, for example `127.0.0.1`",
        )),
        _ if text.len() > 253 || !text.chars().all(letters) => Err(Diagnostic::new(
            format!("{} is not a host name", quoted(text)),
            "write an address, or a name of letters, digits, `-` and `.`",
        )),
        _ => Ok(Host::Name(text.to_owned())),
    }
}

fn ipv6(text: &str) -> Result<Host, Diagnostic> {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    let Ok(address) = address.parse::<Ipv6Addr>() else {
        return Err(Diagnostic::new(
            format!("{} is not an IPv6 address", quoted(text)),
            "write for example `[::1]`; only IPv6 stands in brackets",
        ));
    };
    // Longer names do not fit IFNAMSIZ, netdevice(7).
    let fits =
        |zone: &str| !zone.is_empty() && zone.len() <= 15 && zone.bytes().all(|byte| byte.is_ascii_graphic());
    match zone {
        None => Ok(Host::Ip(address.into())),
        Some(_) if !address.is_unicast_link_local() && !address.is_multicast() => Err(Diagnostic::new(
            format!("`{address}` is not link-local and has no zone"),
            format!("write `[{address}]`, or choose an interface with `device`"),
        )),
        Some(zone) if fits(zone) => Ok(Host::Scoped(address, zone.to_owned())),
        Some(zone) => Err(Diagnostic::new(
            format!("{} is not a zone", quoted(zone)),
            "write the name or number of an interface after the `%`",
        )),
    }
}
