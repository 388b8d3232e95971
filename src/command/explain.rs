//! `echod explain`: every decision about a source, in the order in which they are made, each with the line of the
//! configuration that makes it. It asks the same rules as the daemon.

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

mod guards;
mod limits;
mod way;
mod who;

pub use way::Way;
pub use who::LoopConnection;

/// What is asked: may this visitor use this listener?
pub struct Case<'a> {
    /// The listener.
    pub settings: &'a Listener,
    /// Where its values are written.
    pub origins: &'a Origins,
    /// About whom the listener decides.
    pub visitor: LoopConnection,
    /// How they come.
    pub way: Way,
    /// Whether their port is that of a UDP listener of the same configuration.
    pub is_own_port: bool,
}

/// One decision.
pub struct Decision {
    /// The key that decides.
    key: &'static str,
    outcome: Outcome,
    /// What it says, for people.
    text: String,
    /// Where that is written, if anywhere.
    place: Option<String>,
}

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is in the way.
    Pass,
    /// It depends on what else comes and goes.
    Limit,
    /// Refused.
    Refused(RefusalReason),
    /// Nobody gets here from there.
    Unreachable,
}

impl Case<'_> {
    /// A decision by `key`.
    pub fn step(&self, key: &'static str, outcome: Outcome, text: impl Display) -> Decision {
        let place = self.origins.of(key);
        Decision { key, outcome, text: text.to_string(), place }
    }
}

/// The chain: each link adds the steps that it decides, in the order of the road.
const CHAIN: [fn(&Case<'_>, &mut Vec<Decision>); 9] = [
    way::addresses,
    guards::nobody,
    guards::source,
    way::proxies,
    who::users,
    who::networks,
    guards::port,
    limits::limits,
    guards::run,
];

/// The answer to a question.
pub struct Answer {
    /// The whole chain, a line for each decision.
    pub text: String,
    /// A refusal is a failure, so that scripts can ask too.
    pub refusal: Option<Failure>,
}

/// Explains what `question` asks.
///
/// # Errors
/// If there is no such listener, or nobody can come to it from there.
pub fn explain(loaded: &Loaded, question: &cli::Explain) -> Result<Answer, Failure> {
    let case = case(loaded, question)?;
    let mut steps = Vec::new();
    CHAIN.iter().for_each(|link| link(&case, &mut steps));
    let mut text = format!("listener \"{}\": {}\n", case.settings.name, Coming(&case));
    let (name, visitor) = (&case.settings.name, &case.visitor);
    let mut refusal = None;
    for step in &steps {
        let (word, why) = match step.outcome {
            Outcome::Pass => ("pass", None),
            Outcome::Limit => ("limit", None),
            Outcome::Refused(_) | Outcome::Unreachable if refusal.is_some() => ("refused", None),
            Outcome::Refused(reason) => (
                "REFUSED",
                Some(format!("listener \"{name}\" refuses {visitor} ({reason}): {}", reason.line())),
            ),
            Outcome::Unreachable => {
                ("NO WAY", Some(format!("listener \"{name}\" cannot be reached from there: {}", step.text)))
            }
        };
        refusal = refusal.or(why);
        let place = step.place.as_deref().unwrap_or("by default");
        // A String takes whatever is written.
        let _ = writeln!(text, "  {word:<8} {:<26} {} ({place})", step.key, step.text);
    }
    match (&refusal, &case.way) {
        (None, Way::ThroughSome) => {
            text.push_str("let in through a trusted proxy, as far as the limits allow\n");
        }
        (None, _) => text.push_str("let in, as far as the limits allow\n"),
        (Some(_), _) => {}
    }
    Ok(Answer { text, refusal: refusal.map(|told| Failure::new(Exit::NoPermission, told)) })
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
    let faulty = |told: String| usage(format!("cannot explain listener \"{name}\": {told}"));
    let (visitor, way) = coming(settings, &question.from, question.proxy.as_deref()).map_err(faulty)?;
    let is_own_port = match visitor {
        LoopConnection::Inet(ip, Some(port)) => has_port(&loaded.config.listeners, ip, port),
        _ => false,
    };
    Ok(Case { settings, origins, visitor, way, is_own_port })
}

/// Whom a listener decides about, and how they come.
fn coming(settings: &Listener, from: &str, proxy: Option<&str>) -> Result<(LoopConnection, Way), String> {
    let Listener { protocol, proxy_protocol, .. } = settings;
    if proxy.is_some() && *proxy_protocol == ProxyProtocol::Off {
        return Err(
            "its `proxy-protocol` is off, so nobody speaks for others; leave `--proxy` out".to_owned()
        );
    }
    let visitor = match *protocol {
        // A proxy tells an address.
        Protocol::Unix if *proxy_protocol != ProxyProtocol::Off => {
            LoopConnection::read(from, Protocol::Tcp).or_else(|_| LoopConnection::read(from, *protocol))
        }
        protocol => LoopConnection::read(from, protocol),
    }?;
    let proxy = proxy.map(|proxy| LoopConnection::read(proxy, *protocol)).transpose()?;
    let is_local = matches!(visitor, LoopConnection::Local { .. });
    Ok(match proxy {
        Some(_) if is_local => {
            return Err("a proxy tells an address, and `--from` is a user; leave `--proxy` out".to_owned());
        }
        // Its header means nothing.
        Some(LoopConnection::Inet(ip, port))
            if *proxy_protocol == ProxyProtocol::Optional && !settings.trusts_proxy(ip) =>
        {
            let proxy = LoopConnection::Inet(ip, port);
            (proxy.clone(), Way::Through(proxy))
        }
        Some(proxy) => (visitor, Way::Through(proxy)),
        None if *proxy_protocol == ProxyProtocol::Required && *protocol == Protocol::Tcp => {
            (visitor, Way::ThroughSome)
        }
        None if *protocol == Protocol::Unix && !is_local => (visitor, Way::ThroughSome),
        None => (visitor, Way::SocketTransport),
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

/// Who comes, and how.
struct Coming<'a>(&'a Case<'a>);

impl Display for Coming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { settings: Listener { protocol, .. }, visitor, way, .. } = self.0;
        let what = if protocol.is_stream() { "a connection" } else { "a datagram" };
        write!(f, "{what} over {protocol} from {visitor}")?;
        match way {
            Way::SocketTransport => Ok(()),
            Way::Through(proxy) if proxy == visitor => Ok(()),
            Way::Through(proxy) => write!(f, " through {proxy}"),
            Way::ThroughSome => f.write_str(" through a proxy"),
        }
    }
}

#[cfg(test)]
mod tests;
