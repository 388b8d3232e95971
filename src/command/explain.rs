//! `echod explain`: all decisions about a client, in the order in which the daemon makes them, each with the line of the
//! configuration behind it. It evaluates the same rules as the daemon. Read `client` and `way` first (the question), then
//! `guards` and `limits`. `live` asks the running daemon what it knows of the client at the moment.

use std::{
    fmt::{self, Display, Write},
    net::IpAddr,
};

use crate::{
    command::cli,
    config::{Address, Host, Listener, Loaded, Origins, Protocol, ProxyProtocol, embedded::plain},
    report::{
        error::{Exit, Failure},
        refusal_reason::RefusalReason,
    },
};

pub(super) mod client;
mod guards;
mod limits;
#[cfg(feature = "observe")]
mod live;
mod way;

pub use client::ClientIdentity;
pub use way::Way;

/// The question: does this listener admit this client?
pub struct Case<'a> {
    /// The listener.
    pub settings: &'a Listener,
    /// Where its values are written.
    pub origins: &'a Origins,
    /// The client that the listener decides about.
    pub client: ClientIdentity,
    /// How the client reaches the listener.
    pub way: Way,
    /// Whether the client's port is that of a UDP listener of the same configuration.
    pub is_own_port: bool,
}

/// One decision.
pub struct Decision {
    /// The key that decides.
    key: &'static str,
    outcome: Outcome,
    /// The explanation.
    text: String,
    /// Where the key is written, if it is.
    place: Option<String>,
}

/// The result of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Admitted, as far as this decision goes.
    Pass,
    /// Depends on other traffic.
    Limit,
    /// Refused.
    Refused(RefusalReason),
    /// A client there cannot reach the listener.
    Unreachable,
}

impl Case<'_> {
    /// A decision by `key`.
    pub fn step(&self, key: &'static str, outcome: Outcome, text: impl Display) -> Decision {
        let place = self.origins.of(key);
        Decision { key, outcome, text: text.to_string(), place }
    }

    /// Whose connection is refused for this `reason`: that of the client, or of the proxy it comes through.
    fn refused(&self, reason: RefusalReason) -> &ClientIdentity {
        match (&self.way, reason) {
            (Way::Through(proxy), RefusalReason::UntrustedProxy | RefusalReason::User) => proxy,
            _ => &self.client,
        }
    }
}

/// The chain of decisions, in the daemon's order: each link adds its steps.
const CHAIN: [fn(&Case<'_>, &mut Vec<Decision>); 10] = [
    way::addresses,
    guards::unanswerable,
    guards::source,
    way::proxies,
    client::users,
    client::networks,
    guards::port,
    guards::padding,
    limits::limits,
    guards::run,
];

/// The answer to a question.
pub struct Explanation {
    /// The whole chain, one line for each decision.
    pub text: String,
    /// A refusal is a failure, so that scripts see it in the exit code.
    pub refusal: Option<Failure>,
}

/// Answers `question`.
///
/// # Errors
/// There is no such listener, or the client is malformed; or the running daemon is to be asked and does not answer.
pub fn explain(loaded: &Loaded, question: &cli::Explain) -> Result<Explanation, Failure> {
    let case = case(loaded, question)?;
    let mut steps = Vec::new();
    CHAIN.iter().for_each(|link| link(&case, &mut steps));
    let mut text = format!("listener \"{}\": {}\n", case.settings.name, Arrival(&case));
    let name = &case.settings.name;
    let mut refusal = None;
    for step in &steps {
        let (word, why) = match step.outcome {
            Outcome::Pass => ("pass", None),
            Outcome::Limit => ("limit", None),
            Outcome::Refused(_) | Outcome::Unreachable if refusal.is_some() => ("refused", None),
            Outcome::Refused(reason) => (
                "REFUSED",
                Some(format!(
                    "listener \"{name}\" refuses {} ({reason}): {}",
                    case.refused(reason),
                    reason.line()
                )),
            ),
            Outcome::Unreachable => {
                ("NO WAY", Some(format!("listener \"{name}\" cannot be reached from there: {}", step.text)))
            }
        };
        refusal = refusal.or(why);
        let place = step.place.as_deref().unwrap_or("by default");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {word:<8} {:<26} {} ({place})", step.key, step.text);
    }
    #[cfg(feature = "observe")]
    if question.now.live {
        let now = live::ask(&case, question)?;
        let _ = writeln!(text, "now: {}", now.text);
        refusal = refusal.or(now.refusal);
    }
    match (&refusal, &case.way) {
        (None, Way::ThroughAny) => {
            text.push_str("let in through a trusted proxy, as far as the limits allow\n");
        }
        (None, _) => text.push_str("let in, as far as the limits allow\n"),
        (Some(_), _) => {}
    }
    Ok(Explanation { text, refusal: refusal.map(|text| Failure::new(Exit::NoPermission, text)) })
}

fn case<'a>(loaded: &'a Loaded, question: &cli::Explain) -> Result<Case<'a>, Failure> {
    let usage = |text: String| Failure::new(Exit::Usage, text);
    let name = question.listener.as_str();
    let mut all = loaded.config.listeners.iter().zip(&loaded.origins);
    let (settings, origins) = all.find(|(listener, _)| listener.name == name).ok_or_else(|| {
        let names: Vec<_> = loaded.config.listeners.iter().map(|l| format!("\"{}\"", l.name)).collect();
        let name = name.escape_debug();
        usage(format!(
            "cannot explain listener \"{name}\": there is none; choose one of {}",
            names.join(", ")
        ))
    })?;
    let faulty = |text: String| usage(format!("cannot explain listener \"{name}\": {text}"));
    let (client, way) = parse_client(settings, &question.from, question.proxy.as_deref()).map_err(faulty)?;
    let is_own_port = match client {
        ClientIdentity::Inet(ip, Some(port)) => has_port(&loaded.config.listeners, ip, port),
        _ => false,
    };
    Ok(Case { settings, origins, client, way, is_own_port })
}

/// Parses the client and how it reaches the listener.
fn parse_client(
    settings: &Listener,
    from: &str,
    proxy: Option<&str>,
) -> Result<(ClientIdentity, Way), String> {
    let Listener { protocol, proxy_protocol, .. } = settings;
    if proxy.is_some() && *proxy_protocol == ProxyProtocol::Off {
        return Err(
            "its `proxy-protocol` is off, so nobody speaks for others; leave `--proxy` out".to_owned()
        );
    }
    let client = match *protocol {
        // A PROXY header carries an address.
        Protocol::Unix if *proxy_protocol != ProxyProtocol::Off => {
            ClientIdentity::read(from, Protocol::Tcp).or_else(|_| ClientIdentity::read(from, *protocol))
        }
        protocol => ClientIdentity::read(from, protocol),
    }?;
    let proxy = proxy.map(|proxy| ClientIdentity::read(proxy, *protocol)).transpose()?;
    let is_local = matches!(client, ClientIdentity::Local { .. });
    Ok(match proxy {
        Some(_) if is_local => {
            return Err("a proxy tells an address, and `--from` is a user; leave `--proxy` out".to_owned());
        }
        // The header of an untrusted proxy is ignored: the listener decides about the proxy itself.
        Some(ClientIdentity::Inet(ip, port))
            if *proxy_protocol == ProxyProtocol::Optional && !settings.trusts_proxy(ip) =>
        {
            let proxy = ClientIdentity::Inet(ip, port);
            (proxy.clone(), Way::Through(proxy))
        }
        Some(proxy) => (client, Way::Through(proxy)),
        None if *proxy_protocol == ProxyProtocol::Required && *protocol == Protocol::Tcp => {
            (client, Way::ThroughAny)
        }
        None if *protocol == Protocol::Unix && !is_local => (client, Way::ThroughAny),
        None => (client, Way::Direct),
    })
}

/// Whether a UDP listener has `port` in the family of `ip`.
fn has_port(listeners: &[Listener], ip: IpAddr, port: u16) -> bool {
    let is_ipv4 = plain(ip).is_ipv4();
    let udp = listeners.iter().filter(|listener| listener.protocol == Protocol::Udp);
    udp.flat_map(|listener| &listener.address).any(|address| match address {
        Address::Inet { host: Host::Ip(host), ports } => {
            let both = host.is_ipv6() && host.is_unspecified();
            ports.contains(&port) && port > 0 && (both || host.is_ipv4() == is_ipv4)
        }
        _ => false,
    })
}

/// The client and how it comes, for the first line.
struct Arrival<'a>(&'a Case<'a>);

impl Display for Arrival<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { settings: Listener { protocol, .. }, client, way, .. } = self.0;
        let what = if protocol.is_stream() { "a connection" } else { "a datagram" };
        write!(f, "{what} over {protocol} from {client}")?;
        match way {
            Way::Direct => Ok(()),
            Way::Through(proxy) if proxy == client => Ok(()),
            Way::Through(proxy) => write!(f, " through {proxy}"),
            Way::ThroughAny => f.write_str(" through a proxy"),
        }
    }
}

#[cfg(test)]
mod tests;
