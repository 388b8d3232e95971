//! Rules by address: the lists `allow` and `deny`. The longest prefix that contains an address decides, and of two
//! equally long ones that in `deny`. An address that no network contains is refused.
//!
//! The networks are compiled to sorted borders: one binary search finds the deciding network, however deeply they are
//! nested.

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
pub enum RuleList {
    /// `deny`; it sorts first, because it wins a tie.
    Deny,
    /// `allow`.
    Allow,
}

/// One network of one of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleMatch {
    /// The list that the network is in.
    pub list: RuleList,
    /// Its index there.
    pub number: u32,
}

/// What the lists decide about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The network that decided, if any contains the address.
    pub entry: Option<RuleMatch>,
}

impl Verdict {
    /// Whether the address is allowed, or why not.
    pub fn result(self) -> Result<(), RefusalReason> {
        match self.entry.map(|entry| entry.list) {
            Some(RuleList::Allow) => Ok(()),
            Some(RuleList::Deny) => Err(RefusalReason::Denied),
            None => Err(RefusalReason::NotAllowed),
        }
    }
}

impl Rules {
    /// The rules of a listener; `None` if they allow every address.
    pub fn of(settings: &config::Listener) -> Option<Rules> {
        let everybody = settings.deny.is_empty() && settings.allow == config::everybody();
        (!everybody).then(|| Rules::new(&settings.allow, &settings.deny))
    }

    /// Compiles two lists.
    pub fn new(allow: &[IpNet], deny: &[IpNet]) -> Rules {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (list, networks) in [(RuleList::Deny, deny), (RuleList::Allow, allow)] {
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

    /// What the lists decide about an address. An IPv4 address embedded in an IPv6 one is treated as IPv4.
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

/// Sorted borders: each network decides from its border to the next.
#[derive(Debug)]
struct RangeMap<A>(Vec<(A, Option<RuleMatch>)>);

impl<A: Copy + Ord> RangeMap<A> {
    /// Two networks are disjoint, or one contains the other: so the outer one continues where the inner one ends.
    fn new(mut ranges: Vec<AddressRange<A>>, zero: A, after: impl Fn(A) -> Option<A>) -> RangeMap<A> {
        // Outer networks first; of two equal ones that in `deny` sorts first, and stays.
        ranges.sort_unstable_by_key(|range| (range.first, std::cmp::Reverse(range.last), range.entry));
        ranges.dedup_by_key(|range| (range.first, range.last));
        let mut borders = vec![(zero, None)];
        let mut draw = |at: A, entry| {
            // Where several networks begin, the innermost is added last and stays.
            borders.pop_if(|(last, _)| *last == at);
            borders.push((at, entry));
        };
        let mut open: Vec<AddressRange<A>> = Vec::new();
        let close = |open: &mut Vec<AddressRange<A>>, draw: &mut dyn FnMut(A, Option<RuleMatch>)| {
            let ended = open.pop().and_then(|range| after(range.last));
            // Nothing follows a network that ends with the last address.
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
        // The first border is at zero.
        self.0[behind.max(1) - 1].1
    }
}

#[cfg(test)]
mod tests;
