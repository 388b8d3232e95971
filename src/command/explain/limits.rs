//! Limits on number and rate. Whether one refuses depends on other traffic, so these steps say what the limit is.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::Ipv6Net;

use super::{Case, Decision, Outcome::Limit, client::ClientIdentity};
use crate::config::{Listener, WhenFull, Workers, embedded::plain};

/// The limits of the listener, and of the source.
pub(super) fn limits(case: &Case<'_>, steps: &mut Vec<Decision>) {
    let Listener { max_connections, when_full, workers, protocol, .. } = case.settings;
    let stream = protocol.is_stream();
    if stream || *workers == Workers::PerRequest {
        let others = match when_full {
            WhenFull::Wait => "more wait",
            WhenFull::Refuse => "more are refused",
            WhenFull::Message => "more are told so and refused",
        };
        steps.push(case.step("max-connections", Limit, format_args!("{max_connections} at once, {others}")));
    }
    if *when_full != WhenFull::Wait {
        steps.push(case.step("when-full", Limit, "clients do not wait"));
    }
    let source = source(case);
    let of_source = case.settings.rate_per_source;
    if of_source.count.is_some() || of_source.bytes.is_some() {
        let text =
            format!("{of_source} from {source}; who is over it is refused for {:?}", case.settings.cool_down);
        steps.push(case.step("rate-per-source", Limit, text));
    }
    let most = case.settings.max_connections_per_source;
    if most > 0 {
        let text = format_args!("{most} at once from {source}, more are refused");
        steps.push(case.step("max-connections-per-source", Limit, text));
    }
    if let Some(rate) = case.settings.connection_rate {
        steps.push(case.step(
            "connection-rate",
            Limit,
            format_args!("{rate} from all together, more are refused"),
        ));
    }
}

/// The source that the client is counted under.
fn source(case: &Case<'_>) -> String {
    match &case.client {
        ClientIdentity::Local { .. } => case.client.to_string(),
        ClientIdentity::Inet(ip, _) => match plain(*ip) {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => network(ip, case.settings.source_prefix),
        },
    }
}

fn network(ip: Ipv6Addr, prefix: u8) -> String {
    Ipv6Net::new(ip, prefix).map_or(ip.to_string(), |network| network.trunc().to_string())
}
