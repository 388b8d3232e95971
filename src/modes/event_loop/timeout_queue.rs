//! Who of many has waited for so long? A list for those who all wait equally long, in the order in which they began: the
//! first is due first, so only it is looked at, and whoever begins anew goes to the end. Every step takes constant time.

use std::time::{Duration, Instant};

/// Keys of a [`Slab`](super::slab::Slab), each under a timer of the same length.
pub(super) struct TimeoutQueue {
    time: Duration,
    /// Who began less than this ago is not moved; so all are late by this at most.
    grain: Duration,
    /// By the place of their keys in the slab.
    places: Vec<Link>,
    first: u32,
    last: u32,
}

#[derive(Clone, Copy)]
struct Link {
    /// `VACANT` if there is no timer.
    key: u64,
    began: Instant,
    before: u32,
    behind: u32,
}

/// No key of a slab.
const VACANT: u64 = 0;
/// No place.
const NONE: u32 = u32::MAX;

impl TimeoutQueue {
    /// Timers that run for `time`. If they often begin anew, all of them may be late by a 64th of it: in return a timer is
    /// moved at most 64 times in that time.
    pub(super) fn new(time: Duration, begin_anew: bool) -> TimeoutQueue {
        let grain = if begin_anew { time / 64 } else { Duration::ZERO };
        TimeoutQueue { time, grain, places: Vec::new(), first: NONE, last: NONE }
    }

    /// Starts a timer for `key`.
    pub(super) fn start(&mut self, key: u64, now: Instant) {
        let at = index(key);
        let vacant = Link { key: VACANT, began: now, before: NONE, behind: NONE };
        if self.places.len() <= at as usize {
            self.places.resize(at as usize + 1, vacant);
        }
        self.unlink(at);
        self.places[at as usize] = Link { key, began: now, before: self.last, behind: NONE };
        match self.places.get_mut(self.last as usize) {
            Some(last) => last.behind = at,
            None => self.first = at,
        }
        self.last = at;
    }

    /// Begins the timer of `key` anew, if it has one.
    pub(super) fn restart(&mut self, key: u64, now: Instant) {
        let place = self.places.get(index(key) as usize).filter(|place| place.key == key);
        if place.is_some_and(|place| now.saturating_duration_since(place.began) > self.grain) {
            self.start(key, now);
        }
    }

    /// Ends the timer of `key`, if it has one.
    pub(super) fn stop(&mut self, key: u64) {
        let at = index(key);
        if self.places.get(at as usize).is_some_and(|place| place.key == key) {
            self.unlink(at);
        }
    }

    /// When the first one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.places.get(self.first as usize).map(|place| place.began + self.time + self.grain)
    }

    /// The first one that is due, whose timer ends with that.
    pub(super) fn due(&mut self, now: Instant) -> Option<u64> {
        self.next().filter(|due| *due <= now)?;
        let key = self.places[self.first as usize].key;
        self.unlink(self.first);
        Some(key)
    }

    fn unlink(&mut self, at: u32) {
        let Link { key, before, behind, .. } = self.places[at as usize];
        if key == VACANT {
            return;
        }
        self.places[at as usize].key = VACANT;
        match self.places.get_mut(before as usize) {
            Some(place) => place.behind = behind,
            None => self.first = behind,
        }
        match self.places.get_mut(behind as usize) {
            Some(place) => place.before = before,
            None => self.last = before,
        }
    }
}

fn index(key: u64) -> u32 {
    key as u32
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Start(u64),
        Restart(u64),
        Stop(u64),
        Step(u64),
    }

    fn act() -> impl Strategy<Value = Act> {
        // Few places, and two generations of keys in each.
        let key = || (0..6_u64, 1..3_u64).prop_map(|(place, generation)| generation << 32 | place);
        prop_oneof![
            key().prop_map(Act::Start),
            key().prop_map(Act::Restart),
            key().prop_map(Act::Stop),
            (0..700_u64).prop_map(Act::Step),
        ]
    }

    proptest! {
        /// Nobody is due too early, nobody later than by the grain, and nobody is forgotten.
        #[test]
        fn a_list_without_links_agrees(acts in vec(act(), 0..200), begin_anew in any::<bool>()) {
            let time = Duration::from_millis(1000);
            let late = if begin_anew { time / 64 } else { Duration::ZERO };
            let mut timers = TimeoutQueue::new(time, begin_anew);
            let mut model: Vec<(u64, Instant)> = Vec::new();
            let mut now = Instant::now();
            for act in acts {
                match act {
                    Act::Start(key) => {
                        model.retain(|(other, _)| index(*other) != index(key));
                        model.push((key, now));
                        timers.start(key, now);
                    }
                    Act::Restart(key) => {
                        model.iter_mut().filter(|(other, _)| *other == key).for_each(|(_, began)| *began = now);
                        timers.restart(key, now);
                    }
                    Act::Stop(key) => {
                        model.retain(|(other, _)| *other != key);
                        timers.stop(key);
                    }
                    Act::Step(time) => now += Duration::from_millis(time),
                }
                while let Some(key) = timers.due(now) {
                    let at = model.iter().position(|(other, _)| *other == key);
                    let (_, began) = model.remove(at.expect("it has a timer"));
                    prop_assert!(began + time <= now, "too early");
                }
                prop_assert!(model.iter().all(|(_, began)| *began + time + late > now), "too late");
                prop_assert_eq!(timers.next().is_some(), !model.is_empty());
            }
        }
    }
}
