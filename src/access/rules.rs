//! Who may in, by address: the lists `allow` and `deny`. The longest prefix that holds an address decides, and of two that
//! are equally long the one in `deny`. An address that no network holds is refused.
//!
//! The networks are compiled to the borders between them: an address is looked up by one binary search, however deeply
//! they are nested.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    config::{self, embedded::plain},
    report::refusal_reason::RefusalReason,
};

/// The compiled lists of one listener.
#[derive(Debug)]
pub struct Rules {
    v4: RangeMap<u32>,
    v6: RangeMap<u128>,
}

/// One of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// `deny`; it comes first, because it wins.
    Deny,
    /// `allow`.
    Allow,
}

/// One network of one of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleMatch {
    /// The list it is in.
    pub list: List,
    /// Its number there.
    pub number: u32,
}

/// What the lists say about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The network that decided, if any holds the address.
    pub entry: Option<RuleMatch>,
}

impl Verdict {
    /// Whether the address may come in, or why not.
    pub fn result(self) -> Result<(), RefusalReason> {
        match self.entry.map(|entry| entry.list) {
            Some(List::Allow) => Ok(()),
            Some(List::Deny) => Err(RefusalReason::Denied),
            None => Err(RefusalReason::NotAllowed),
        }
    }
}

impl Rules {
    /// The rules of a listener; `None` if they let everybody in.
    pub fn of(settings: &config::Listener) -> Option<Rules> {
        let everybody = settings.deny.is_empty() && settings.allow == config::everybody();
        (!everybody).then(|| Rules::new(&settings.allow, &settings.deny))
    }

    /// Compiles two lists.
    pub fn new(allow: &[IpNet], deny: &[IpNet]) -> Rules {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (list, networks) in [(List::Deny, deny), (List::Allow, allow)] {
            for (network, number) in networks.iter().zip(0..) {
                let entry = RuleMatch { list, number };
                match network {
                    IpNet::V4(net) => v4.push(AddressRange {
                        first: net.network().to_bits(),
                        last: net.broadcast().to_bits(),
                        entry,
                    }),
                    IpNet::V6(net) => v6.push(AddressRange {
                        first: net.network().to_bits(),
                        last: net.broadcast().to_bits(),
                        entry,
                    }),
                }
            }
        }
        Rules {
            v4: RangeMap::new(v4, 0, |last| last.checked_add(1)),
            v6: RangeMap::new(v6, 0, |last| last.checked_add(1)),
        }
    }

    /// What the lists say about an address. An IPv4 address in IPv6's clothes is judged as IPv4.
    pub fn judge(&self, ip: IpAddr) -> Verdict {
        let entry = match plain(ip) {
            IpAddr::V4(ip) => self.v4.find(ip.to_bits()),
            IpAddr::V6(ip) => self.v6.find(ip.to_bits()),
        };
        Verdict { entry }
    }
}

/// The addresses of a network.
struct AddressRange<A> {
    first: A,
    last: A,
    entry: RuleMatch,
}

/// Where another network begins to decide: each one counts from its border to the next.
#[derive(Debug)]
struct RangeMap<A>(Vec<(A, Option<RuleMatch>)>);

impl<A: Copy + Ord> RangeMap<A> {
    /// Two networks are apart, or one holds the other: so an outer one goes on where the inner one ends.
    fn new(mut ranges: Vec<AddressRange<A>>, zero: A, after: impl Fn(A) -> Option<A>) -> RangeMap<A> {
        // Outer ones first; of the same network `deny` comes first, and counts.
        ranges.sort_by_key(|range| (range.first, std::cmp::Reverse(range.last), range.entry));
        ranges.dedup_by_key(|range| (range.first, range.last));
        let mut borders = vec![(zero, None)];
        let mut draw = |at: A, entry| {
            // Where several begin, the innermost is drawn last.
            borders.pop_if(|(last, _)| *last == at);
            borders.push((at, entry));
        };
        let mut open: Vec<AddressRange<A>> = Vec::new();
        let close = |open: &mut Vec<AddressRange<A>>, draw: &mut dyn FnMut(A, Option<RuleMatch>)| {
            let ended = open.pop().and_then(|range| after(range.last));
            // The one that ends with the last address has nothing behind it.
            ended.inspect(|at| draw(*at, open.last().map(|outer| outer.entry)));
        };
        for range in ranges {
            while open.last().is_some_and(|outer| outer.last < range.first) {
                close(&mut open, &mut draw);
            }
            draw(range.first, Some(range.entry));
            open.push(range);
        }
        while !open.is_empty() {
            close(&mut open, &mut draw);
        }
        RangeMap(borders)
    }

    fn find(&self, address: A) -> Option<RuleMatch> {
        let behind = self.0.partition_point(|(border, _)| *border <= address);
        // There is a border at zero.
        self.0[behind.max(1) - 1].1
    }
}

#[cfg(test)]
mod tests;
