//! The compiled lists against a naive search.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::{collection::vec, prelude::*};

use super::*;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn judge(allow: &[&str], deny: &[&str], ip: &str) -> Option<(RuleList, u32)> {
    let verdict = Rules::new(&nets(allow), &nets(deny)).judge(ip.parse().unwrap());
    verdict.entry.map(|entry| (entry.list, entry.number))
}

#[test]
fn the_longest_prefix_decides_and_deny_wins_a_tie() {
    let allow = ["10.0.0.0/8", "10.1.2.0/24", "2001:db8::/32"];
    let deny = ["10.1.0.0/16", "10.1.2.0/24", "2001:db8:1::/48"];
    for (ip, entry) in [
        ("9.255.255.255", None),
        ("10.0.0.0", Some((RuleList::Allow, 0))),
        ("10.1.0.0", Some((RuleList::Deny, 0))),
        ("10.1.2.3", Some((RuleList::Deny, 1))),
        ("10.1.3.0", Some((RuleList::Deny, 0))),
        ("10.255.255.255", Some((RuleList::Allow, 0))),
        ("11.0.0.0", None),
        ("2001:db8::1", Some((RuleList::Allow, 2))),
        ("2001:db8:1::1", Some((RuleList::Deny, 2))),
        ("::ffff:10.0.0.1", Some((RuleList::Allow, 0))),
        ("::ffff:10.1.0.1", Some((RuleList::Deny, 0))),
    ] {
        assert_eq!(judge(&allow, &deny, ip), entry, "{ip}");
    }
}

#[test]
fn the_first_and_the_last_address_are_covered() {
    let all = ["0.0.0.0/0", "::/0"];
    for ip in ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
        assert!(judge(&all, &[], ip).is_some(), "{ip}");
        assert_eq!(judge(&[], &[], ip), None, "{ip}");
        let single = format!("{ip}/{}", if ip.contains(':') { 128 } else { 32 });
        assert_eq!(judge(&all, &[&single], ip), Some((RuleList::Deny, 0)), "{ip}");
    }
}

/// Reference: the longest prefix that contains the address; on a tie `deny`, and then the first of the list.
fn naive(allow: &[IpNet], deny: &[IpNet], ip: IpAddr) -> Option<RuleMatch> {
    let all = [(RuleList::Allow, allow), (RuleList::Deny, deny)].into_iter().flat_map(|(list, networks)| {
        networks.iter().zip(0..).map(move |(network, number)| (network, RuleMatch { list, number }))
    });
    all.filter(|(network, _)| network.contains(&ip))
        .max_by_key(|(network, entry)| (network.prefix_len(), std::cmp::Reverse(*entry)))
        .map(|(_, entry)| entry)
}

/// Few bits vary, so that networks nest and touch; both ends of the range are included.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = (0..4u32, 0..4u32, any::<bool>()).prop_map(|(high, low, ones)| {
        let middle = if ones { 0x3fff_fffc } else { 0 };
        IpAddr::from(Ipv4Addr::from_bits(high << 30 | middle | low))
    });
    let v6 = (0..4u128, 0..4u128, any::<bool>()).prop_map(|(high, low, ones)| {
        let middle = if ones { (u128::MAX >> 4) << 2 } else { 0 };
        IpAddr::from(Ipv6Addr::from_bits(high << 126 | middle | low))
    });
    prop_oneof![v4, v6]
}

fn network() -> impl Strategy<Value = IpNet> {
    (address(), 0..=128u8).prop_map(|(ip, length)| {
        let most = if ip.is_ipv4() { 32 } else { 128 };
        IpNet::new(ip, length % (most + 1)).unwrap().trunc()
    })
}

proptest! {
    #[test]
    fn the_ranges_decide_as_the_lists_do(
        allow in vec(network(), 0..12),
        deny in vec(network(), 0..12),
        ips in vec(address(), 1..32),
    ) {
        let rules = Rules::new(&allow, &deny);
        let edges = allow.iter().chain(&deny).flat_map(|network| [network.network(), network.broadcast()]);
        for ip in ips.into_iter().chain(edges) {
            // The reference does not know embedded IPv4 addresses.
            let expected = naive(&allow, &deny, plain(ip));
            prop_assert_eq!(rules.judge(ip).entry, expected, "{} by {:?} {:?}", ip, allow, deny);
        }
    }
}
