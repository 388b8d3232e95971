//! The addresses of the endpoint of `[observe]`, and what it is as a listener: it is bound as every other one.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::{
    Address, Environment, Listener, Observe, Protocol,
    applicability::Profile,
    diagnostic::Diagnostic,
    keys::{Form, List, Notation, listener::WrittenListener},
    quoted, units,
};

/// The name of the endpoint where it is bound as a listener. It is not compared with the names of listeners.
const NAME: &str = "[observe]";

/// Where the endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EndpointAddress {
    /// An address with a port.
    Tcp(Address),
    /// A socket file, or an abstract name.
    Unix(Address),
}

impl EndpointAddress {
    /// The address that a command was given: as a file has it, or as a URL, or the path of a socket file.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix("http://").map_or(text, |rest| rest.trim_end_matches('/'));
        let of_path = text.starts_with(['/', '.']).then(|| format!("unix:{text}"));
        read(of_path.as_deref().unwrap_or(text)).map_err(|wrong| format!("{}; {}", wrong.title, wrong.help))
    }

    /// The endpoint there as a listener, without other settings.
    pub fn listener(&self) -> Listener {
        let it = Profile { protocol: Some(self.protocol()), ..Profile::default() };
        let nothing = WrittenListener::default();
        Listener {
            name: NAME.to_owned(),
            protocol: self.protocol(),
            address: vec![self.address().clone()],
            ..nothing.or(&nothing, &it)
        }
    }

    /// Its protocol.
    pub fn protocol(&self) -> Protocol {
        match self {
            EndpointAddress::Tcp(_) => Protocol::Tcp,
            EndpointAddress::Unix(_) => Protocol::Unix,
        }
    }

    /// The address without its protocol.
    pub fn address(&self) -> &Address {
        match self {
            EndpointAddress::Tcp(address) | EndpointAddress::Unix(address) => address,
        }
    }

    /// Puts the runtime directory in the place of `%t`.
    pub(super) fn expand(&self, environment: &Environment) -> Result<Self, Diagnostic> {
        let EndpointAddress::Unix(Address::Path(path)) = self else { return Ok(self.clone()) };
        let Ok(rest) = path.strip_prefix("%t") else { return Ok(self.clone()) };
        match &environment.runtime_directory {
            Some(directory) => {
                let path: PathBuf = directory.join(rest);
                Ok(EndpointAddress::Unix(Address::parse(&path.to_string_lossy(), Protocol::Unix)?))
            }
            None => Err(Diagnostic::new(
                format!("{} needs a runtime directory, and there is none", quoted(&self.to_string())),
                "set RUNTIME_DIRECTORY or XDG_RUNTIME_DIR, or write a whole path",
            )),
        }
    }
}

/// As a file has it.
impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointAddress::Tcp(address) => address.fmt(f),
            EndpointAddress::Unix(address) => write!(f, "unix:{address}"),
        }
    }
}

impl Observe {
    /// Whether there is an endpoint.
    pub fn is_on(&self) -> bool {
        !self.address.is_empty()
    }

    /// The endpoint as listeners: one for its internet addresses, so that the wildcards of both families can be among them, and
    /// one for its unix sockets.
    pub fn listeners(&self) -> Vec<Listener> {
        let mut listeners: Vec<Listener> = Vec::new();
        for address in self.address.iter() {
            match listeners.iter_mut().find(|listener| listener.protocol == address.protocol()) {
                Some(listener) => listener.address.push(address.address().clone()),
                None => listeners.push(Listener { socket_mode: self.socket_mode, ..address.listener() }),
            }
        }
        listeners
    }
}

/// The networks that are this machine.
pub(super) fn this_machine() -> Arc<[IpNet]> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    [v4.into(), IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST))].into()
}

pub(super) const ENDPOINTS: List<EndpointAddress> =
    List { example: "127.0.0.1:9862", read, write: ToString::to_string, empty: None };

fn read(text: &str) -> Result<EndpointAddress, Diagnostic> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return Address::parse(path, Protocol::Unix).map(EndpointAddress::Unix);
    }
    let is_path = text.starts_with(['/', '@', '.']) || text.starts_with("%t");
    if is_path {
        let help = format!("write `unix:{text}`");
        return Err(Diagnostic::new(format!("{} has no port", quoted(text)), help));
    }
    let rest = ["http://", "https://", "tcp://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
    if let Some(rest) = rest {
        let help = format!("write the address alone, `{}`", rest.trim_end_matches('/'));
        return Err(Diagnostic::new(format!("{} begins with a protocol", quoted(text)), help));
    }
    match Address::parse(text, Protocol::Tcp)? {
        Address::Inet { ports, .. } if ports.start() != ports.end() => {
            let title = format!("{} is a range of ports, and an endpoint has one", quoted(text));
            Err(Diagnostic::new(title, "write one port, such as 9862"))
        }
        address => Ok(EndpointAddress::Tcp(address)),
    }
}

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(60);

/// How long a request may take.
pub(super) const TIMEOUT: Notation<Duration> = Notation {
    form: Form::Duration("s"),
    read: |ask| match units::read_duration(ask.text()?)? {
        time if (SHORTEST..=LONGEST).contains(&time) => Ok(time),
        _ => Err(Diagnostic::new(
            format!("{} is no time for `timeout`", quoted(ask.text()?)),
            "write a time from \"10ms\" to \"1m\"",
        )),
    },
    write: |time| Some(units::write_duration(*time).into()),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        for text in
            ["127.0.0.1:9862", "[::1]:0", "localhost:9862", "unix:/run/x.sock", "unix:%t/x", "unix:@x"]
        {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
        assert_eq!(read("unix:///run/x").unwrap().to_string(), "unix:/run/x");
    }

    #[test]
    fn a_wrong_address_says_what_to_write() {
        for (text, title, help) in [
            ("/run/x", "has no port", "`unix:/run/x`"),
            ("%t/x", "has no port", "`unix:%t/x`"),
            ("http://127.0.0.1:9862/", "begins with a protocol", "`127.0.0.1:9862`"),
            ("127.0.0.1", "has no port", ""),
            ("127.0.0.1:1-2", "an endpoint has one", "9862"),
        ] {
            let wrong = read(text).unwrap_err();
            assert!(wrong.title.contains(title) && wrong.help.contains(help), "{text}: {wrong}");
        }
    }

    #[test]
    fn the_runtime_directory_takes_the_place_of_its_sign() {
        let in_run = Environment { runtime_directory: Some("/run/echod".into()), ..Environment::default() };
        let endpoint = read("unix:%t/x").unwrap();
        assert_eq!(endpoint.expand(&in_run).unwrap().to_string(), "unix:/run/echod/x");
        assert!(endpoint.expand(&Environment::default()).is_err());
    }

    #[test]
    fn by_default_only_this_machine_may_look() {
        let networks: Vec<_> = this_machine().iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["127.0.0.0/8", "::1/128"]);
    }
}
