//! The client of a question, and the decisions about it: networks, users and groups.

use std::{
    ffi::CString,
    fmt::{self, Display},
    net::{IpAddr, SocketAddr},
};

use nix::unistd::{Uid, User, getgrouplist};

use super::{Case, Decision, Outcome, Way};
use crate::{
    access::rules::{RuleList, Rules},
    config::{Owner, Protocol, embedded::plain, everybody},
    report::refusal_reason::RefusalReason,
};

/// A client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientIdentity {
    /// From an address, and from a port if one was given.
    Inet(IpAddr, Option<u16>),
    /// A user of this machine, with its groups.
    Local {
        /// Its name, or its id if it has none.
        name: String,
        /// Its user id.
        user: u32,
        /// Ids of all its groups.
        groups: Vec<u32>,
    },
}

impl ClientIdentity {
    /// Parses an address with or without a port, or for a unix socket a user.
    pub(super) fn read(text: &str, protocol: Protocol) -> Result<ClientIdentity, String> {
        let shown = text.escape_debug();
        match protocol {
            Protocol::Tcp | Protocol::Udp => {
                let (ip, port) = inet(text).ok_or_else(|| {
                    format!("`{shown}` is no address; write for example `192.0.2.7`, or `[2001:db8::1]:4711`")
                })?;
                Ok(ClientIdentity::Inet(ip, port))
            }
            Protocol::Unix | Protocol::UnixSeqpacket | Protocol::UnixDatagram => local(text).ok_or_else(|| {
                format!("there is no user `{shown}`; to a unix socket comes a user of this machine, by name or number")
            }),
        }
    }
}

/// An address, and a port if one is given: `192.0.2.7`, `192.0.2.7:4711` or `[2001:db8::1]:4711`.
pub(in crate::command) fn inet(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse() {
        return Some((ip, None));
    }
    let address = text.parse::<SocketAddr>().ok()?;
    Some((address.ip(), Some(address.port())))
}

fn local(text: &str) -> Option<ClientIdentity> {
    // A name with a NUL byte cannot be looked up.
    let found = match text.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)).ok().flatten(),
        Err(_) if text.is_empty() || text.contains('\0') => return None,
        Err(_) => Some(User::from_name(text).ok().flatten()?),
    };
    let Some(found) = found else {
        // A process may run under an id without a name.
        return Some(ClientIdentity::Local {
            name: text.to_owned(),
            user: text.parse().ok()?,
            groups: Vec::new(),
        });
    };
    let groups = CString::new(found.name.as_str()).ok().and_then(|name| getgrouplist(&name, found.gid).ok());
    let groups = groups.unwrap_or_default().into_iter().map(nix::unistd::Gid::as_raw).collect();
    Some(ClientIdentity::Local { name: found.name, user: found.uid.as_raw(), groups })
}

impl Display for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientIdentity::Inet(ip, None) => write!(f, "{ip}"),
            ClientIdentity::Inet(ip, Some(port)) => write!(f, "{}", SocketAddr::new(*ip, *port)),
            ClientIdentity::Local { name, .. } => write!(f, "user {name}"),
        }
    }
}

/// `allow` and `deny`.
pub(super) fn networks(case: &Case<'_>, steps: &mut Vec<Decision>) {
    let ClientIdentity::Inet(ip, _) = case.client else { return };
    let ip = plain(ip);
    let (allow, deny) = (&case.settings.allow, &case.settings.deny);
    let verdict = Rules::new(allow, deny).judge(ip);
    let decided = verdict.entry.map(|entry| match entry.list {
        RuleList::Allow => ("allow", allow[entry.number as usize], entry.number),
        RuleList::Deny => ("deny", deny[entry.number as usize], entry.number),
    });
    let outcome = verdict.result().map_or_else(Outcome::Refused, |()| Outcome::Pass);
    steps.push(match decided {
        Some(("allow", ..)) if *allow == everybody() && deny.is_empty() => {
            case.step("allow", outcome, "everybody may come in")
        }
        Some((key, network, number)) => {
            let place = case.origins.nth(key, number as usize);
            Decision {
                place,
                ..case.step(key, outcome, format_args!("{network} is the longest that holds {ip}"))
            }
        }
        None => case.step("allow", outcome, format_args!("no network in it holds {ip}")),
    });
}

/// `allow-users` and `allow-groups`, which apply to the connecting process.
pub(super) fn users(case: &Case<'_>, steps: &mut Vec<Decision>) {
    let (allowed_users, allowed_groups) = (&case.settings.allow_users, &case.settings.allow_groups);
    let peer = match &case.way {
        Way::Direct => &case.client,
        Way::Through(proxy) => proxy,
        Way::ThroughAny => {
            if !(allowed_users.is_empty() && allowed_groups.is_empty()) {
                let text = "the proxy must be one of them, or of `allow-groups`; ask with `--proxy`";
                steps.push(case.step("allow-users", Outcome::Limit, text));
            }
            return;
        }
    };
    let ClientIdentity::Local { name, user, groups } = peer else { return };
    let at = |owners: &[Owner], ids: &[u32]| owners.iter().position(|owner| ids.contains(&owner.id));
    let found = match (at(allowed_users, &[*user]), at(allowed_groups, groups)) {
        (Some(number), _) => Some(("allow-users", number, format!("it names {name}"))),
        (_, Some(number)) => {
            let group = &allowed_groups[number].name;
            Some(("allow-groups", number, format!("{name} is in group {group}")))
        }
        _ => None,
    };
    steps.push(match found {
        Some((key, number, text)) => {
            let place = case.origins.nth(key, number);
            Decision { place, ..case.step(key, Outcome::Pass, text) }
        }
        None if allowed_users.is_empty() && allowed_groups.is_empty() => {
            case.step("allow-users", Outcome::Pass, "everybody may come in")
        }
        None => {
            let (key, text) = match allowed_users.is_empty() {
                true => ("allow-groups", format!("{name} is in none of them")),
                false => ("allow-users", format!("{name} is not in it, and in none of `allow-groups`")),
            };
            case.step(key, Outcome::Refused(RefusalReason::User), text)
        }
    });
}
