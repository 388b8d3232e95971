//! Many threads at once: requests are counted exactly, and no slot is given out twice.

use std::{
    sync::atomic::AtomicUsize,
    thread::{scope, yield_now},
};

use super::*;

const THREADS: usize = 8;

fn slots(most: u32, requests: u64) -> (Arc<ConnectionSlots>, Arc<Shared<Stats>>) {
    let stats = Arc::new(Shared::new().unwrap());
    (Arc::new(ConnectionSlots::new(most, requests, Arc::clone(&stats)).unwrap()), stats)
}

/// Each thread reserves some requests, and receives all, some or none of them.
#[test]
fn max_requests_is_met_exactly() {
    const REQUESTS: u64 = 10_000;
    let (slots, stats) = slots(1, REQUESTS);
    let counted = AtomicUsize::new(0);
    let take = |mut seed: usize| {
        while !slots.is_exhausted() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let claimed = slots.reserve(1 + (seed >> 33) % 64);
            let taken = (seed >> 45) % (claimed + 1);
            counted.fetch_add(taken, Relaxed);
            assert!(!slots.is_closed_for_all() || claimed == 0, "claimed after the end");
            slots.commit(claimed, taken);
            yield_now();
        }
    };
    scope(|scope| (0..THREADS).for_each(|seed| _ = scope.spawn(move || take(seed))));
    assert_eq!(counted.into_inner() as u64, REQUESTS);
    assert_eq!([&stats.taken, &stats.claimed].map(|count| count.load(Relaxed)), [REQUESTS; 2]);
    assert!(slots.is_closed() && slots.is_closed_for_all() && slots.reserve(1) == 0);
}

/// Half of the threads wait as workers do, half as event loops do; none waits in vain.
#[test]
fn no_more_than_the_limit_are_inside() {
    const MOST: u32 = 3;
    let (slots, stats) = slots(MOST, 0);
    let (inside, served) = (AtomicU32::new(0), AtomicUsize::new(0));
    let serve = |mut permit: Permit| {
        permit.open();
        assert!(inside.fetch_add(1, AcqRel) < MOST);
        assert!(stats.open.load(Relaxed) <= MOST);
        yield_now();
        inside.fetch_sub(1, AcqRel);
        served.fetch_add(1, Relaxed);
    };
    let as_thread = || (0..1000).for_each(|_| serve(slots.acquire().unwrap()));
    let as_loop = || {
        let waker = Waker::new().unwrap();
        for _ in 0..1000 {
            loop {
                if let Some(permit) = slots.try_acquire() {
                    break serve(permit);
                }
                if slots.wait_for_slot(&waker) {
                    let freed = poll(&mut [PollFd::new(waker.as_fd(), PollFlags::POLLIN)], 30_000u16);
                    assert_eq!(freed, Ok(1), "no wake-up for a free slot");
                    slots.stop_waiting(&waker);
                }
            }
        }
    };
    scope(|scope| {
        for _ in 0..THREADS / 2 {
            scope.spawn(as_thread);
            scope.spawn(as_loop);
        }
    });
    assert_eq!(served.into_inner(), THREADS * 1000);
    let left = slots.lock();
    assert_eq!((stats.open.load(Relaxed), left.inside, left.waiting.len()), (0, 0, 0));
}

#[test]
fn a_thread_that_waits_for_a_slot_returns_when_the_listener_closes() {
    let (slots, _) = slots(1, 0);
    let inside = slots.acquire().unwrap();
    scope(|scope| {
        let waiting = scope.spawn(|| slots.acquire().is_none());
        slots.close();
        assert!(waiting.join().unwrap());
    });
    assert!(!slots.is_stopped());
    drop(inside);
}
