//! Many sources, many threads: counts are exact, no source is forgotten, and forged sources evict only each other.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Barrier,
        atomic::{AtomicU32, AtomicUsize},
    },
    thread::scope,
};

use super::*;
use crate::{
    access::state::Level,
    config::{Period, Rate, SourceRate},
    report::stats::Stats,
    sys::shared::Shared,
};

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1000 * SECOND;

fn sources(most: u32, count: Option<u64>, bytes: Option<u64>) -> Arc<SourceTable> {
    let rate = |number: u64| Rate { number, bytes: false, per: Period::Second, burst: number };
    let limiter = |number: u64| RateLimiter::new(&rate(number));
    let stats = Shared::<Stats>::new().unwrap();
    let mut memory = TableMemory::of(&stats);
    Arc::new(SourceTable {
        sets: memory.array(SETS).unwrap(),
        hash: memory.hash(),
        prefix: 64,
        most,
        count: count.map(limiter),
        bytes: bytes.map(limiter),
        rates: SourceRate { count: count.map(rate), bytes: bytes.map(rate) },
        cool_down: 10 * SECOND,
    })
}

fn v4(number: u32) -> SourceKey {
    SourceKey::Ip(Ipv4Addr::from_bits(number).into())
}

fn open(sources: &SourceTable) -> u64 {
    let words = sources.sets.iter().flat_map(|set| &set.words);
    words.map(|word| word.load(Relaxed) & OPEN).sum()
}

#[test]
fn a_source_is_what_the_prefix_says() {
    let sources = sources(1, None, None);
    let owner = |ip: &str| sources.look_up(SourceKey::Ip(ip.parse().unwrap()));
    assert_eq!(owner("2001:db8::1"), owner("2001:db8::ffff:0:0:1"));
    assert_ne!(owner("2001:db8::1"), owner("2001:db8:0:1::1"));
    assert_eq!(owner("::ffff:192.0.2.1"), owner("192.0.2.1"));
    assert_eq!(owner("::192.0.2.1"), owner("192.0.2.1"));
    assert_ne!(owner("192.0.2.1"), owner("192.0.2.2"));
    assert_ne!(sources.look_up(v4(7)), sources.look_up(SourceKey::User(7)));
    let all = SourceTable { prefix: 128, ..Arc::into_inner(sources).unwrap() };
    let owner = |number| all.look_up(SourceKey::Ip(Ipv6Addr::from_bits(1_u128 << 64 | number).into()));
    assert_ne!(owner(1), owner(2));
}

#[test]
fn so_many_and_no_more_are_open_for_each() {
    let sources = sources(2, None, None);
    let connect = |number| sources.connect(v4(number), NOW).map(Option::unwrap);
    let (first, second) = (connect(1).unwrap(), connect(1).unwrap());
    assert_eq!(connect(1).err(), Some(RefusalReason::SourceFull));
    let _other = connect(2).unwrap();
    drop(first);
    let third = connect(1).unwrap();
    assert_eq!(connect(1).err(), Some(RefusalReason::SourceFull));
    assert_eq!(open(&sources), 3);
    // As the parent of a killed process does.
    sources.leave(second.number());
    std::mem::forget(second);
    assert!(connect(1).is_ok());
    drop(third);
    // Releasing more than was taken does no harm.
    sources.leave(connect(3).unwrap().number());
    assert!(connect(3).is_ok());
}

/// A thread is descheduled while it holds the lock of a set, and goes on after another one has taken the lock over.
#[test]
fn a_late_holder_of_the_lock_changes_nothing() {
    let sources = sources(1, None, None);
    let (number, owner) = sources.look_up(v4(1));
    let mut same = (2..).map(v4).filter(|source| sources.look_up(*source).0 == number);
    // One way is left for two new sources.
    let others: Vec<_> =
        same.by_ref().take(WAYS - 1).map(|source| sources.connect(source, NOW).unwrap()).collect();
    let set = &sources.sets[number];
    let after = NOW + LOCKED_AT_MOST + 1;
    let (slot, given) = set.locked(NOW, |ticket| {
        let way = set.vacate(ticket).unwrap();
        let slot = sources.connect(same.next().unwrap(), after).unwrap().unwrap();
        assert_eq!(slot.number() as usize, number * WAYS + way);
        (slot, set.give(way, ticket, owner))
    });
    assert!(!given && set.find(owner).is_none());
    assert_eq!(open(&sources), WAYS as u64);
    drop((slot, others));
    assert!(sources.connect(v4(1), after).unwrap().is_some());
    assert_eq!(sources.sets[number].locked_until.load(Relaxed), 0);
}

/// All threads meet a new source, and wait for the lock of its set: there must be one entry for it.
#[test]
fn newcomers_are_counted_exactly() {
    const THREADS: usize = 8;
    const MOST: u32 = 3;
    for round in 0..20 {
        let sources = sources(MOST, None, None);
        let (set, _) = sources.look_up(v4(round));
        sources.sets[set].locked_until.store(clock::now() + 60 * SECOND, Relaxed);
        let (met, left) = (AtomicUsize::new(0), Barrier::new(THREADS));
        let attempt = || {
            met.fetch_add(1, Relaxed);
            let slot = sources.connect(v4(round), clock::now());
            left.wait();
            slot.is_ok()
        };
        let admitted = scope(|scope| {
            let attempts: Vec<_> = (0..THREADS).map(|_| scope.spawn(attempt)).collect();
            while met.load(Relaxed) < THREADS {
                yield_now();
            }
            (0..100).for_each(|_| yield_now());
            sources.sets[set].locked_until.store(0, Relaxed);
            attempts.into_iter().map(|attempt| attempt.join().unwrap()).filter(|admitted| *admitted).count()
        });
        assert_eq!((admitted, open(&sources)), (MOST as usize, 0));
    }
}

/// The limit holds while other threads flood the table with forged sources.
#[test]
fn the_limit_holds_under_a_flood() {
    const MOST: u32 = 3;
    let sources = sources(MOST, None, None);
    let inside: Vec<_> = (0..4).map(|_| AtomicU32::new(0)).collect();
    let attempt = |thread: u32| {
        for turn in 0..20_000u32 {
            let number = (turn.wrapping_mul(7) + thread) % 4;
            if let Ok(slot) = sources.connect(v4(number), clock::now()) {
                assert!(slot.is_some(), "its set cannot be full");
                assert!(inside[number as usize].fetch_add(1, AcqRel) < MOST);
                yield_now();
                inside[number as usize].fetch_sub(1, AcqRel);
            }
        }
    };
    let flood = |thread: u32| {
        for number in 0..300_000 {
            let _ = sources.connect(v4(1 << 31 | thread << 24 | number), NOW);
        }
    };
    scope(|scope| {
        (0..4).for_each(|thread| _ = scope.spawn(move || attempt(thread)));
        (0..2).for_each(|thread| _ = scope.spawn(move || flood(thread)));
    });
    assert_eq!(open(&sources), 0);
}

/// A source with an open connection, and one over its rate that keeps sending, are remembered.
#[test]
fn a_million_forged_sources_push_out_only_each_other() {
    let sources = sources(1, Some(5), None);
    let held = sources.connect(v4(1), NOW).unwrap();
    let noisy = Ipv4Addr::from_bits(2).into();
    let results: Vec<_> = (0..7).map(|_| sources.datagram(noisy, 1, NOW)).collect();
    assert_eq!(results[4..], [Ok(()), Err(RefusalReason::Rate), Err(RefusalReason::CoolDown)]);
    for number in 0..1_000_000 {
        assert_eq!(sources.datagram(Ipv4Addr::from_bits(1 << 31 | number).into(), 1, NOW), Ok(()));
        if number % 10_000 == 0 {
            assert_eq!(sources.datagram(noisy, 1, NOW), Err(RefusalReason::CoolDown), "after {number}");
        }
    }
    assert_eq!(sources.connect(v4(1), NOW).err(), Some(RefusalReason::SourceFull));
    drop(held);
    assert!(
        size_of::<SourceSet>() * SETS <= 3 << 20,
        "the table has {} bytes",
        size_of::<SourceSet>() * SETS
    );
}

/// More is open than the table holds: new sources are admitted, and no entry is lost.
#[test]
fn a_full_table_locks_no_source_out() {
    let sources = sources(1, None, None);
    let held: Vec<_> = (0..100_000).map(|number| sources.connect(v4(number), NOW).unwrap()).collect();
    let counted = held.iter().flatten().count();
    assert!(counted <= SETS * WAYS && counted > SETS * WAYS * 9 / 10, "{counted} are counted");
    for (number, slot) in held.iter().enumerate().filter(|(_, slot)| slot.is_some()) {
        let again = sources.connect(v4(number as u32), NOW);
        assert_eq!(again.err(), Some(RefusalReason::SourceFull), "{number} has {}", slot.is_some());
    }
    drop(held);
    assert_eq!(open(&sources), 0);
}

#[test]
fn a_source_over_its_rate_cools_down() {
    let sources = sources(0, Some(2), Some(1000));
    let ip = IpAddr::from([192, 0, 2, 1]);
    let send = |bytes, now| sources.datagram(ip, bytes, now);
    assert_eq!([send(1, NOW), send(1, NOW), send(1, NOW)], [Ok(()), Ok(()), Err(RefusalReason::Rate)]);
    for later in [0, SECOND, 10 * SECOND - 1] {
        assert_eq!(send(1, NOW + later), Err(RefusalReason::CoolDown));
    }
    let now = NOW + 10 * SECOND;
    assert_eq!([send(999, now), send(2, now)], [Ok(()), Err(RefusalReason::Rate)], "bytes count too");
    assert_eq!(sources.datagram([192, 0, 2, 2].into(), 1000, now), Ok(()), "each by itself");
    // Connections are charged to the same rate.
    let connect = |now| sources.connect(SourceKey::User(7), now).map(|slot| assert!(slot.is_none()));
    assert_eq!([connect(NOW), connect(NOW), connect(NOW)], [Ok(()), Ok(()), Err(RefusalReason::Rate)]);
}

/// A process that is killed in the middle of a change leaves a lock and a way behind.
#[test]
fn what_a_killed_process_leaves_behind_is_cleared() {
    let sources = sources(1, None, None);
    let (set, _) = sources.look_up(v4(1));
    sources.sets[set].words.iter().for_each(|word| word.store(taken(7), Relaxed));
    sources.sets[set].locked_until.store(clock::now() + LOCKED_AT_MOST, Relaxed);
    let slot = sources.connect(v4(1), clock::now()).unwrap();
    assert!(slot.is_some());
}

#[test]
fn a_look_tells_what_is_open_and_left_and_when_the_source_has_cooled_down() {
    let sources = sources(3, Some(4), Some(1000));
    let look = |now| sources.look(v4(1), now);
    let level = |now, of| Some(Level { now, of });
    let fresh = look(NOW);
    assert_eq!((fresh.open, fresh.requests, fresh.bytes), (level(0, 3), level(4, 4), level(1000, 1000)));
    assert_eq!((fresh.cool_down, fresh.counted_as.as_str()), (0.0, "0.0.0.1"));
    let slots: Vec<_> = (0..3).map(|_| sources.connect(v4(1), NOW).unwrap()).collect();
    assert_eq!((look(NOW).open, look(NOW).requests), (level(3, 3), level(1, 4)));
    sources.datagram(Ipv4Addr::from_bits(1).into(), 300, NOW).unwrap();
    assert_eq!((look(NOW).requests, look(NOW).bytes), (level(0, 4), level(700, 1000)));
    // A bucket fills again.
    assert_eq!((look(NOW + SECOND / 4).requests, look(NOW + SECOND).requests), (level(1, 4), level(4, 4)));
    assert!(sources.connect(v4(1), NOW).is_err());
    assert_eq!((look(NOW).cool_down, look(NOW + 4 * SECOND).cool_down), (10.0, 6.0));
    assert_eq!(look(NOW + 10 * SECOND).cool_down, 0.0);
    drop(slots);
    assert_eq!(look(NOW).open, level(0, 3));
    assert_eq!(sources.look(v4(2), NOW).requests, level(4, 4));
}

#[test]
fn a_look_changes_nothing() {
    let sources = sources(3, Some(4), Some(1000));
    let _slot = sources.connect(v4(1), NOW).unwrap();
    sources.datagram(Ipv4Addr::from_bits(2).into(), 100, NOW).unwrap();
    let everything = || -> Vec<u64> {
        let of_set = |set: &SourceSet| {
            let buckets = set.buckets.iter().flat_map(|b| [&b.count, &b.bytes, &b.cool_until]);
            let all = set.words.iter().chain([&set.locked_until, &set.hand]).chain(buckets);
            all.map(|word| word.load(Relaxed)).collect::<Vec<_>>()
        };
        sources.sets.iter().flat_map(of_set).collect()
    };
    let before = everything();
    for number in 0..1000 {
        sources.look(v4(number), NOW + u64::from(number));
        sources.look(SourceKey::User(number), NOW);
    }
    assert!(everything() == before);
}

#[test]
fn slots_of_dead_processes_are_released_and_rates_are_not() {
    let sources = sources(2, Some(2), None);
    let slots: Vec<_> = (0..2).map(|_| sources.connect(v4(1), NOW).unwrap()).collect();
    slots.into_iter().for_each(std::mem::forget);
    // Left by a process that was killed while it held the lock of a set.
    let (set, _) = sources.look_up(v4(7));
    sources.sets[set].words[5].store(taken(1), Relaxed);
    sources.release_all();
    assert_eq!((open(&sources), sources.sets[set].words[5].load(Relaxed)), (0, 0));
    assert_eq!(sources.look(v4(1), NOW).requests, Some(Level { now: 0, of: 2 }));
    assert_eq!(sources.connect(v4(1), NOW).err(), Some(RefusalReason::Rate));
}
