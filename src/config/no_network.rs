//! What to write in the place of what is not a network.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets};

/// The help for `text`.
pub(super) fn help(text: &str) -> String {
    let trimmed = text.trim();
    match trimmed.to_ascii_lowercase().as_str() {
        "all" | "any" | "*" | "everybody" | "everyone" | "anywhere" | "0/0" | "0.0.0.0" => {
            return "write `0.0.0.0/0` and `::/0` for all addresses, or leave the key out".to_owned();
        }
        "none" | "nobody" | "off" | "" => return "write a network, or leave the key out".to_owned(),
        "localhost" => return "write `127.0.0.0/8` and `::1`; names are not looked up".to_owned(),
        _ => {}
    }
    if trimmed.starts_with([';', '/']) {
        return "begin a comment with `#`".to_owned();
    }
    if trimmed.contains('[') {
        return "write IPv6 without brackets, for example `2001:db8::/32`".to_owned();
    }
    if let Some(meant) = meant(trimmed) {
        return format!("did you mean {meant}?");
    }
    let parts: Vec<&str> = trimmed.split([',', ' ', ';']).filter(|part| !part.is_empty()).collect();
    if parts.len() > 1 && parts.iter().all(|part| is_network(part)) {
        let parts: Vec<_> = parts.iter().map(|part| format!("\"{part}\"")).collect();
        return format!("write a list, [{}], or in a file of networks one a line", parts.join(", "));
    }
    match trimmed.split_once('/').or_else(|| trimmed.split_once('%')) {
        Some((address, _)) if address.parse::<Ipv4Addr>().is_ok() => {
            "the number behind the `/` is one from 0 to 32".to_owned()
        }
        Some((address, _)) if address.parse::<IpAddr>().is_ok() && trimmed.contains('/') => {
            "the number behind the `/` is one from 0 to 128".to_owned()
        }
        Some((address, _)) if address.parse::<IpAddr>().is_ok() => {
            format!("write `{address}`, without an interface")
        }
        _ if trimmed.starts_with(|c: char| c.is_ascii_alphabetic()) && trimmed.contains('.') => {
            "names are not looked up; write the address".to_owned()
        }
        _ => "write for example `192.0.2.0/24`, `2001:db8::/32` or one address".to_owned(),
    }
}

fn is_network(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok()
}

/// The networks that other programs write so.
fn meant(text: &str) -> Option<String> {
    if let Some((first, last)) = text.split_once('-') {
        return range(first.trim().parse().ok()?, last.trim().parse().ok()?);
    }
    if let Some((address, mask)) = text.split_once(['/', ' '])
        && let (Ok(address), Ok(mask)) = (address.parse::<Ipv4Addr>(), mask.trim().parse::<Ipv4Addr>())
    {
        return Ipv4Net::with_netmask(address, mask).ok().map(|network| format!("`{}`", network.trunc()));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && host.parse::<Ipv4Addr>().is_ok()
        && port.parse::<u16>().is_ok()
    {
        return Some(format!("`{host}`, without a port"));
    }
    // `10.*`, `10.` or `10/8`.
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let stars: Vec<&str> = address.split('.').collect();
    let numbers: Vec<u8> = stars.iter().map_while(|part| part.parse().ok()).collect();
    let rest = &stars[numbers.len()..];
    if numbers.is_empty() || numbers.len() > 3 || !rest.iter().all(|part| matches!(*part, "*" | "" | "0")) {
        return None;
    }
    let length = match length {
        Some(length) => length.parse().ok()?,
        None if rest.is_empty() => return None,
        None => 8 * numbers.len() as u8,
    };
    let mut bytes = [0; 4];
    bytes[..numbers.len()].copy_from_slice(&numbers);
    Ipv4Net::new(bytes.into(), length).ok().map(|network| format!("`{}`", network.trunc()))
}

/// The networks that make a range, if they are few.
fn range(first: Ipv4Addr, last: Ipv4Addr) -> Option<String> {
    let networks: Vec<_> =
        Ipv4Subnets::new(first, last, 0).take(5).map(|network| format!("`{network}`")).collect();
    ((1..5).contains(&networks.len()) && first <= last).then(|| networks.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_forms_of_networks_are_known() {
        for (text, told) in [
            ("10.0.0.0/255.0.0.0", "did you mean `10.0.0.0/8`?"),
            ("10.0.0.0 255.0.0.0", "did you mean `10.0.0.0/8`?"),
            ("10.0.0.0-10.0.0.9", "did you mean `10.0.0.0/29`, `10.0.0.8/31`?"),
            ("10.*", "did you mean `10.0.0.0/8`?"),
            ("192.168.1.*", "did you mean `192.168.1.0/24`?"),
            ("10/8", "did you mean `10.0.0.0/8`?"),
            ("192.0.2.1:80", "did you mean `192.0.2.1`, without a port?"),
            (
                "10.0.0.0/8, ::1",
                "write a list, [\"10.0.0.0/8\", \"::1\"], or in a file of networks one a line",
            ),
            ("10.0.0.0/33", "the number behind the `/` is one from 0 to 32"),
            ("::/129", "the number behind the `/` is one from 0 to 128"),
            ("fe80::1%eth0", "write `fe80::1`, without an interface"),
            ("all", "write `0.0.0.0/0` and `::/0` for all addresses, or leave the key out"),
            ("localhost", "write `127.0.0.0/8` and `::1`; names are not looked up"),
            ("www.example.org", "names are not looked up; write the address"),
            ("; who", "begin a comment with `#`"),
            ("nonsense", "write for example `192.0.2.0/24`, `2001:db8::/32` or one address"),
            ("10.0.0.9-10.0.0.0", "write for example `192.0.2.0/24`, `2001:db8::/32` or one address"),
        ] {
            assert_eq!(help(text), told, "{text}");
        }
    }
}
