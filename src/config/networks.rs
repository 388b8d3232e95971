//! Networks as people write them: `192.0.2.0/24`, `2001:db8::/32`, or one address. Also files of them, one a line.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    Environment,
    diagnostic::{Diagnostic, Diagnostics, Place, Source},
    encoding, no_network, quoted, text_file,
};
use crate::config::embedded::embedded_v4;

/// The networks that hold every address.
pub fn everybody() -> Arc<[IpNet]> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);
    let v6 = Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0);
    [v4.into(), v6.into()].into()
}

/// Reads a network or an address. IPv4 in IPv6's clothes is IPv4, as it is when a client comes.
pub(super) fn read(text: &str) -> Result<IpNet, Diagnostic> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => match text.parse::<IpNet>() {
            Ok(network) => network,
            Err(_) => {
                let title = format!("{} is not a network", quoted(text));
                return Err(Diagnostic::new(title, no_network::help(text)));
            }
        },
    };
    if network != network.trunc() {
        return Err(Diagnostic::new(
            format!("{} has bits set behind its prefix", quoted(text)),
            format!("write `{}`, or `{}` if one address is meant", network.trunc(), network.addr()),
        ));
    }
    Ok(plain(network))
}

fn plain(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let inside = embedded_v4(v6.network()).zip(v6.prefix_len().checked_sub(96));
    inside.and_then(|(v4, length)| Ipv4Net::new(v4, length).ok()).map_or(network, IpNet::V4)
}

/// Reads the text of a file of networks: one a line, `#` begins a comment. Each comes with its place.
pub(super) fn read_list(text: &str, source: usize, diagnostics: &mut Diagnostics) -> Vec<(IpNet, Place)> {
    let mut start = 0;
    let mut networks = Vec::new();
    for line in text.split_inclusive('\n') {
        let written = line.split('#').next().unwrap_or_default();
        let word = written.trim();
        let at = start + (written.len() - written.trim_start().len());
        let place = Place::new(source, at..at + word.len());
        start += line.len();
        if word.is_empty() {
            continue;
        }
        match read(word) {
            Ok(network) => networks.push((network, place)),
            Err(diagnostic) => diagnostics.push(place, diagnostic),
        }
    }
    networks
}

/// Opens a file of networks.
pub(super) fn open(path: &Path, environment: &Environment) -> Result<Source, Diagnostic> {
    open_as(path, environment, "save it as UTF-8, one network a line")
}

/// Opens a file that a configuration names; `help` says how it is to be written.
pub(super) fn open_as(path: &Path, environment: &Environment, help: &str) -> Result<Source, Diagnostic> {
    let name = path.display().to_string();
    let diagnostic =
        |what: &str, help: &str| Diagnostic::new(format!("cannot read {}: {what}", quoted(&name)), help);
    let bytes = text_file::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if !text_file::leads_nowhere(path) => {
            diagnostic("there is no such file", "a path counts from the file that it is written in")
        }
        io::ErrorKind::PermissionDenied => diagnostic("permission denied", environment.help()),
        _ => {
            let (what, help) = text_file::told(&error);
            diagnostic(&what, help)
        }
    })?;
    encoding::decode(bytes).map(|text| Source::file(&name, text)).map_err(|wrong| {
        let what = format!("line {}, column {}: {}", wrong.line, wrong.column, wrong.what);
        diagnostic(&what, help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses_are_read() {
        for (text, network) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::10.1.2.0/120", "10.1.2.0/24"),
            ("::10.1.2.3", "10.1.2.3/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(read(text).unwrap().to_string(), network, "{text}");
        }
    }

    #[test]
    fn misspelt_networks_get_help() {
        let told = |text| read(text).unwrap_err().to_string();
        assert_eq!(
            told("192.0.2.7/24"),
            "`192.0.2.7/24` has bits set behind its prefix; write `192.0.2.0/24`, or `192.0.2.7` if one address is meant"
        );
        for text in
            ["", "10/8", "10.0.0.0/33", "::/129", "localhost", "10.0.0.0/-1", "fe80::1%eth0", "10.0.0.0/8 "]
        {
            assert!(told(text).contains(" is not a network; "), "{text}");
        }
        assert!(told("[::1]").contains("without brackets"));
    }

    #[test]
    fn a_list_knows_the_place_of_every_network() {
        let text = "# who\n\n  10.0.0.0/8 # inside\r\n::1\n#\nnonsense\n192.0.2.1";
        let mut diagnostics = Diagnostics::default();
        let list = read_list(text, 0, &mut diagnostics);
        let found: Vec<_> = list.iter().map(|(net, at)| (net.to_string(), &text[at.start..at.end])).collect();
        let expected = [("10.0.0.0/8", "10.0.0.0/8"), ("::1/128", "::1"), ("192.0.2.1/32", "192.0.2.1")];
        assert_eq!(found, expected.map(|(net, text)| (net.to_owned(), text)));
        let told = diagnostics.render(&[Source::file("nets", text)], false);
        assert!(told.contains("--> nets:6:1") && told.contains("`nonsense` is not a network"), "{told}");
    }
}
