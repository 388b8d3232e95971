//! Time-outs of one common length, as a linked list in start order; every operation is O(1).

use std::time::{Duration, Instant};

/// Keys of a [`Slab`](super::slab::Slab) with their time-outs.
pub(super) struct TimeoutQueue {
    time: Duration,
    /// A time-out younger than this is not restarted; so each may be late by this much.
    grain: Duration,
    /// Indexed by the low half of the key, the index in the slab.
    links: Vec<Link>,
    first: u32,
    last: u32,
}

#[derive(Clone, Copy)]
struct Link {
    /// `VACANT` if no time-out runs.
    key: u64,
    began: Instant,
    before: u32,
    behind: u32,
}

/// Never a key of a slab.
const VACANT: u64 = 0;
/// Never an index.
const NONE: u32 = u32::MAX;

impl TimeoutQueue {
    /// Time-outs of length `time`. With `restarts`, each may be late by a 64th of it, and is moved at most 64 times in that
    /// time.
    pub(super) fn new(time: Duration, restarts: bool) -> TimeoutQueue {
        let grain = if restarts { time / 64 } else { Duration::ZERO };
        TimeoutQueue { time, grain, links: Vec::new(), first: NONE, last: NONE }
    }

    /// Starts the time-out of `key`.
    pub(super) fn start(&mut self, key: u64, now: Instant) {
        let at = index(key);
        let vacant = Link { key: VACANT, began: now, before: NONE, behind: NONE };
        if self.links.len() <= at as usize {
            self.links.resize(at as usize + 1, vacant);
        }
        self.unlink(at);
        self.links[at as usize] = Link { key, began: now, before: self.last, behind: NONE };
        match self.links.get_mut(self.last as usize) {
            Some(last) => last.behind = at,
            None => self.first = at,
        }
        self.last = at;
    }

    /// Restarts the time-out of `key`, if one runs.
    pub(super) fn restart(&mut self, key: u64, now: Instant) {
        let link = self.links.get(index(key) as usize).filter(|link| link.key == key);
        if link.is_some_and(|link| now.saturating_duration_since(link.began) > self.grain) {
            self.start(key, now);
        }
    }

    /// Cancels the time-out of `key`, if one runs.
    pub(super) fn stop(&mut self, key: u64) {
        let at = index(key);
        if self.links.get(at as usize).is_some_and(|link| link.key == key) {
            self.unlink(at);
        }
    }

    /// When the first time-out expires.
    pub(super) fn next(&self) -> Option<Instant> {
        self.links.get(self.first as usize).map(|link| link.began + self.time + self.grain)
    }

    /// Removes and returns the first key whose time-out has expired.
    pub(super) fn due(&mut self, now: Instant) -> Option<u64> {
        self.next().filter(|due| *due <= now)?;
        let key = self.links[self.first as usize].key;
        self.unlink(self.first);
        Some(key)
    }

    fn unlink(&mut self, at: u32) {
        let Link { key, before, behind, .. } = self.links[at as usize];
        if key == VACANT {
            return;
        }
        self.links[at as usize].key = VACANT;
        match self.links.get_mut(before as usize) {
            Some(link) => link.behind = behind,
            None => self.first = behind,
        }
        match self.links.get_mut(behind as usize) {
            Some(link) => link.before = before,
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
        // Few indices, and two generations of keys for each.
        let key = || (0..6_u64, 1..3_u64).prop_map(|(index, generation)| generation << 32 | index);
        prop_oneof![
            key().prop_map(Act::Start),
            key().prop_map(Act::Restart),
            key().prop_map(Act::Stop),
            (0..700_u64).prop_map(Act::Step),
        ]
    }

    proptest! {
        /// No time-out expires early, none is later than the grain, and none is lost.
        #[test]
        fn agrees_with_a_plain_list(acts in vec(act(), 0..200), restarts in any::<bool>()) {
            let time = Duration::from_millis(1000);
            let late = if restarts { time / 64 } else { Duration::ZERO };
            let mut timers = TimeoutQueue::new(time, restarts);
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
