use std::net::Ipv4Addr;

use super::*;
use crate::{report::stats::Stats, sys::shared::Shared};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_000_000 * SECOND;
const PEER: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4000);

fn peers() -> Peers {
    Peers::new(&mut TableMemory::of(&Shared::<Stats>::new().unwrap())).unwrap()
}

fn ask(peers: &Peers, now: u64, breaker: u32) -> Result<(), RefusalReason> {
    peers.answer(PEER.0, PEER.1, now, breaker)
}

#[test]
fn every_answer_of_that_number_in_a_row_is_withheld() {
    let peers = peers();
    for number in 1..=1000_u64 {
        let expected = if number % 100 == 0 { Err(RefusalReason::LoopBreaker) } else { Ok(()) };
        assert_eq!(ask(&peers, START + number * SECOND / 2, 100), expected, "{number}");
    }
}

#[test]
fn a_pause_begins_anew() {
    let peers = peers();
    for round in 0..10 {
        (0..99).for_each(|n| ask(&peers, START + round * 2 * SECOND + n * 1_000_000, 100).unwrap());
    }
}

#[test]
fn nothing_is_withheld_without_a_breaker() {
    let peers = peers();
    (0..200_000).for_each(|_| ask(&peers, START, 0).unwrap());
}

/// Many datagrams circulate between two servers without a guard: all are gone in the end.
#[test]
fn a_loop_of_many_datagrams_dies() {
    for circulating in [1, 5, 100] {
        let peers = peers();
        let (mut left, mut answers) = (circulating, 0);
        while left > 0 {
            match ask(&peers, START + answers * 10_000, 1000) {
                Ok(()) => answers += 1,
                Err(RefusalReason::LoopBreaker) => left -= 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(answers, circulating * 999);
    }
}

/// A million other sources at the same time neither hide the loop nor are refused.
#[test]
fn a_flood_does_not_hide_a_loop() {
    let peers = peers();
    let (mut others, mut withheld) = (0_u32, 0);
    // A few more than ten runs: a new source may evict an entry that has just begun, which then begins again.
    for number in 0..10_050_u64 {
        let now = START + number * 20_000;
        withheld += u64::from(ask(&peers, now, 1000).is_err());
        for _ in 0..100 {
            others += 1;
            peers.answer(Ipv4Addr::from_bits(0x0a00_0000 + others).into(), 9, now, 1000).unwrap();
        }
    }
    assert_eq!(withheld, 10);
}

#[test]
fn three_port_unreachables_in_a_second_silence_for_a_minute() {
    let peers = peers();
    let on_port_unreachable = |now| peers.on_port_unreachable(PEER.0, PEER.1, now, None);
    ask(&peers, START, 0).unwrap();
    assert_eq!([0, 1, 2].map(|n| on_port_unreachable(START + n)), [false, false, true]);
    assert_eq!(ask(&peers, START + 3, 0), Err(RefusalReason::Victim));
    assert_eq!(ask(&peers, START + 59 * SECOND, 0), Err(RefusalReason::Victim));
    assert_eq!(peers.answer(PEER.0, PEER.1 + 1, START + 3, 0), Ok(()), "another port");
    assert_eq!(ask(&peers, START + 61 * SECOND, 0), Ok(()));
    assert_eq!(ask(&peers, START + 61 * SECOND + 1, 0), Ok(()));
}

#[test]
fn slow_port_unreachables_do_not_silence() {
    let peers = peers();
    for second in 0..20 {
        ask(&peers, START + second * SECOND, 0).unwrap();
        assert!(!peers.on_port_unreachable(PEER.0, PEER.1, START + second * SECOND + 1, None));
    }
}

/// Forged port unreachables can silence only peers that are being answered at that moment.
#[test]
fn a_peer_that_was_not_answered_is_not_believed() {
    let peers = peers();
    (0..10).for_each(|n| assert!(!peers.on_port_unreachable(PEER.0, PEER.1, START + n, None)));
    ask(&peers, START, 0).unwrap();
    (0..10).for_each(|n| assert!(!peers.on_port_unreachable(PEER.0, PEER.1, START + 6 * SECOND + n, None)));
    ask(&peers, START + 7 * SECOND, 0).unwrap();
}

#[test]
fn ten_ports_silence_the_address() {
    let peers = peers();
    let other = Ipv4Addr::new(192, 0, 2, 2).into();
    for port in 1..=10 {
        assert_eq!(peers.answer(PEER.0, 999, START, 0), Ok(()), "before port {port}");
        peers.answer(PEER.0, port, START, 0).unwrap();
        (0..3).for_each(|n| _ = peers.on_port_unreachable(PEER.0, port, START + n, None));
    }
    assert_eq!(peers.answer(PEER.0, 999, START + 5, 0), Err(RefusalReason::Victim));
    assert_eq!(peers.answer(other, 999, START + 5, 0), Ok(()));
    assert_eq!(peers.answer(PEER.0, 999, START + 61 * SECOND, 0), Ok(()));
}

#[test]
fn a_look_tells_of_runs_and_victims_and_changes_nothing() {
    let peers = peers();
    let (address, port) = PEER;
    let look = |port, now| peers.look(address, port, now, 100, None);
    let run = |now| Some(Level { now, of: 100 });
    assert_eq!(look(Some(port), START), PeerState { run: run(0), ..PeerState::default() });
    (0..7).for_each(|_| ask(&peers, START, 100).unwrap());
    (0..1000).for_each(|_| assert_eq!(look(Some(port), START).run, run(7)));
    assert_eq!(look(Some(port), START + SECOND).run, run(0), "a pause ends a run");
    assert_eq!(look(Some(port + 1), START).run, run(0));
    assert_eq!(look(None, START).run, None, "runs are counted by port");
    assert_eq!(peers.look(address, Some(port), START, 0, None).run, None, "there is no breaker");
    (0..ENOUGH).for_each(|_| _ = peers.on_port_unreachable(address, port, START, None));
    assert_eq!(
        look(Some(port), START + 18 * SECOND),
        PeerState { victim: Some(42.0), run: run(0), trusted: false }
    );
    assert_eq!(look(None, START).victim, None, "its other ports are none");
    assert_eq!(look(Some(port), START + 60 * SECOND).victim, None);
}

#[test]
fn a_look_tells_of_an_address_that_is_a_victim_as_a_whole() {
    let peers = peers();
    for port in 0..PORTS as u16 {
        peers.answer(PEER.0, port, START, 0).unwrap();
        (0..ENOUGH).for_each(|_| _ = peers.on_port_unreachable(PEER.0, port, START, None));
    }
    let victim = |port, seconds| peers.look(PEER.0, port, START + seconds * SECOND, 0, None).victim;
    assert_eq!((victim(None, 0), victim(Some(40_000), 20)), (Some(60.0), Some(40.0)));
    assert_eq!(victim(None, 60), None);
}

/// Has answered one peer a moment ago, and keeps what it is told.
#[derive(Debug)]
struct OtherTable(std::sync::Mutex<Vec<(IpAddr, Option<u16>, u64)>>);

impl KernelPeers for OtherTable {
    fn run(&self, address: IpAddr, port: u16) -> Option<super::super::KernelRun> {
        let run = super::super::KernelRun { answers: 7, last: START };
        (address == PEER.0 && port != 99).then_some(run)
    }

    fn silence(&self, address: IpAddr, port: Option<u16>, until: u64) {
        self.0.lock().unwrap().push((address, port, until));
    }
}

#[test]
fn what_the_kernel_has_answered_counts_as_answered_and_is_silenced_there_too() {
    let (peers, kernel) = (peers(), OtherTable(std::sync::Mutex::default()));
    let told = |port, now| peers.on_port_unreachable(PEER.0, port, now, Some(&kernel));
    assert_eq!([0, 1, 2, 3].map(|n| told(PEER.1, START + n)), [false, false, true, false]);
    let until = START + 2 + 60 * SECOND;
    assert_eq!(*kernel.0.lock().unwrap(), [(PEER.0, Some(PEER.1), until)]);
    assert_eq!(peers.answer(PEER.0, PEER.1, START + 3, 0), Err(RefusalReason::Victim));
    assert!((0..9).all(|n| !told(99, START + n)), "nobody has answered this port");
    assert!((0..9).all(|n| !told(98, START + 6 * SECOND + n)), "that is too long ago");
    let run = |port| peers.look(PEER.0, Some(port), START + 1, 100, Some(&kernel)).run.unwrap().now;
    assert_eq!((run(98), run(99)), (7, 0));
    (200..209).for_each(|port| (0..3).for_each(|n| _ = told(port, START + n)));
    assert_eq!(kernel.0.lock().unwrap().last(), Some(&(PEER.0, None, START + 2 + 60 * SECOND)));
}
