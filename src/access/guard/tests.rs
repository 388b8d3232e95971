//! The decisions one by one, without a socket.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::{
    config::{Environment, Inputs},
    report::stats::Stats,
    sys::shared::Shared,
};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const US: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));

fn settings(keys: &str) -> config::Listener {
    let inputs = Inputs { file: None, listen: vec![format!("udp://127.0.0.1:1?{keys}")] };
    config::load(&inputs, &Environment::default()).unwrap().config.listeners.remove(0)
}

fn new_guard(keys: &str) -> Option<Guard> {
    Guard::new(&settings(keys), &mut TableMemory::of(&Shared::<Stats>::new().unwrap())).unwrap()
}

fn guard(keys: &str) -> Guard {
    new_guard(keys).unwrap()
}

fn batch(place: AddressScope) -> BatchContext {
    BatchContext::new(place, clock::now())
}

fn from(place: AddressScope, source: &str, destination: Option<Destination>) -> Result<(), RefusalReason> {
    guard("").addresses(&batch(place), plain(source.parse().unwrap()), destination)
}

fn to(address: &str, local: Option<Ipv4Addr>) -> Option<Destination> {
    Some(Destination { address: address.parse().unwrap(), local })
}

#[test]
fn martians_are_not_answered() {
    for place in [AddressScope::Single(US), AddressScope::Wildcard, AddressScope::Loopback] {
        for source in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::", "::ffff:0.1.2.3"] {
            assert_eq!(from(place, source, None), Err(RefusalReason::SourceAddress), "{source}");
        }
        assert_eq!(from(place, "192.0.2.1", None), Ok(()));
        assert_eq!(from(place, "2001:db8::1", None), Ok(()));
    }
}

#[test]
fn loopback_is_admitted_where_the_machine_may_send_to_itself() {
    for source in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(from(AddressScope::Loopback, source, None), Ok(()), "{source}");
        assert_eq!(from(AddressScope::Wildcard, source, None), Ok(()));
        assert_eq!(from(AddressScope::Single(US), source, None), Err(RefusalReason::SourceAddress));
    }
    let open = guard("trusted=127.0.0.0/8");
    assert_eq!(open.addresses(&batch(AddressScope::Single(US)), Ipv4Addr::LOCALHOST, None), Ok(()));
}

#[test]
fn multicast_and_broadcast_are_not_answered() {
    let us = Some(Ipv4Addr::new(192, 0, 2, 99));
    for (destination, is_ours) in [
        (to("192.0.2.99", us), true),
        (to("2001:db8::1", None), true),
        (to("192.0.2.255", us), false),
        (to("255.255.255.255", us), false),
        (to("224.0.0.1", us), false),
        (to("ff02::1", None), false),
        (to("::ffff:224.0.0.1", None), false),
        (to("::ffff:255.255.255.255", None), false),
        (to("::ffff:127.0.0.1", None), true),
    ] {
        let expected = if is_ours { Ok(()) } else { Err(RefusalReason::DestinationAddress) };
        assert_eq!(from(AddressScope::Wildcard, "192.0.2.1", destination), expected, "{destination:?}");
        let open = guard("allow-multicast=true");
        assert_eq!(open.addresses(&batch(AddressScope::Wildcard), PEER, destination), Ok(()));
        assert_eq!(batch(AddressScope::Wildcard).is_for_many(destination), !is_ours);
    }
    let bound = AddressScope::Single([224, 0, 0, 5].into());
    assert_eq!(from(bound, "192.0.2.1", None), Err(RefusalReason::DestinationAddress));
}

#[test]
fn ports_are_refused_as_the_file_says() {
    for (keys, refused) in [
        ("", "0 7 19 53 123 500"),
        ("deny-source-ports=none", "0"),
        ("deny-source-ports=privileged", "0 1 7 19 53 123 500 501 1023"),
        ("deny-source-ports=500,4000-4001", "0 500 4000 4001"),
    ] {
        let guard = guard(keys);
        let batch = batch(AddressScope::Single(US));
        let all = [0, 1, 7, 19, 53, 123, 500, 501, 1023, 1024, 4000, 4001, 4002, 65_535];
        let found = all.iter().filter(|port| guard.port(&batch, PEER, **port).is_err());
        assert_eq!(found.map(ToString::to_string).collect::<Vec<_>>().join(" "), refused, "{keys}");
    }
    let batch = batch(AddressScope::Loopback);
    assert_eq!(guard("").port(&batch, PEER, 0), Err(RefusalReason::Unanswerable));
    assert_eq!(guard("").port(&batch, PEER, 7), Err(RefusalReason::SourcePort));
}

#[test]
fn some_ports_are_throttled() {
    let (guard, other) = (guard(""), guard("deny-source-ports=privileged"));
    let mut batch = batch(AddressScope::Single(US));
    for second in 0..5 {
        let answered = (0..100).filter(|n| guard.port(&batch, PEER, [1900, 11_211][n % 2]).is_ok()).count();
        assert_eq!(answered, 10, "in second {second}");
        assert_eq!(guard.port(&batch, PEER, 5353), Err(RefusalReason::Throttled));
        assert_eq!(guard.port(&batch, PEER, 5354), Ok(()));
        assert_eq!(other.port(&batch, PEER, 5353), Ok(()));
        batch.now += SECOND;
    }
}

#[test]
fn our_own_listeners_are_not_answered() {
    // A high port, so that no client of another test in this process has it.
    own_ports().unwrap().insert("192.0.2.99:40007".parse().unwrap());
    let batch = batch(AddressScope::Single(US));
    for source in [IpAddr::V4(Ipv4Addr::LOCALHOST), [127, 0, 0, 2].into()] {
        assert_eq!(
            guard("deny-source-ports=none").port(&batch, source, 40_007),
            Err(RefusalReason::OwnListener)
        );
    }
    // Not our address: perhaps a machine with the same listeners.
    assert_eq!(guard("").port(&batch, PEER, 40_007), Err(RefusalReason::SourcePort));
    assert_eq!(guard("deny-source-ports=none").port(&batch, PEER, 40_007), Ok(()));
    assert_eq!(guard("trusted=192.0.2.0/24").port(&batch, PEER, 40_007), Ok(()));
    assert_eq!(guard("trusted=10.0.0.0/8").port(&batch, PEER, 40_007), Err(RefusalReason::SourcePort));
    assert_eq!(guard("").port(&batch, Ipv6Addr::LOCALHOST, 40_007), Ok(()), "the other family");
}

#[test]
fn a_loop_is_broken_except_on_loopback() {
    let guard = guard("loop-breaker=100");
    let withheld = |place| {
        let batch = batch(place);
        (0..1000).filter(|_| guard.peer(&batch, PEER, 4000) == Err(RefusalReason::LoopBreaker)).count()
    };
    assert_eq!(withheld(AddressScope::Loopback), 0);
    assert_eq!(withheld(AddressScope::Single(US)), 10);
    assert_eq!(withheld(AddressScope::Wildcard), 10);
}

#[test]
fn a_trusted_source_is_answered_without_end() {
    let guard = guard("loop-breaker=100&trusted=192.0.2.0/28");
    let withheld = |source: IpAddr| {
        let batch = batch(AddressScope::Wildcard);
        (0..1000).filter(|_| guard.peer(&batch, source, 4000) == Err(RefusalReason::LoopBreaker)).count()
    };
    assert_eq!((withheld(PEER), withheld(US)), (0, 10));
    assert_eq!(guard.port(&batch(AddressScope::Wildcard), PEER, 7), Err(RefusalReason::SourcePort));
}

#[test]
fn where_nothing_is_answered_nothing_is_guarded() {
    assert!(new_guard("service=discard").is_none());
    assert!(filter(&settings("service=discard"), false).is_none());
    assert!(filter(&settings("kernel-filter=false"), true).is_none());
    assert!(filter(&settings(""), false).is_some());
    assert!(!wants_feedback(&settings(""), AddressScope::Loopback));
    assert!(wants_feedback(&settings(""), AddressScope::Wildcard));
}

#[test]
fn scopes_are_told_apart() {
    for (address, place) in [
        ("127.0.0.2:7", AddressScope::Loopback),
        ("[::1]:7", AddressScope::Loopback),
        ("[::ffff:127.0.0.1]:7", AddressScope::Loopback),
        ("0.0.0.0:7", AddressScope::Wildcard),
        ("[::]:7", AddressScope::Wildcard),
        ("192.0.2.99:7", AddressScope::Single(US)),
    ] {
        assert_eq!(AddressScope::of(address.parse().unwrap()), place, "{address}");
    }
}
