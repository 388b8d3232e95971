//! What becomes of the reply to one datagram.

use std::time::Duration;

use super::decision::{self, Question, SourceDecisions};
use crate::{
    config::{Delay, FaultPlan, LONGEST_HOLD},
    report::fault_kind::FaultKind,
};

/// What becomes of a reply. At most one thing changes it; a delay comes on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// What changes it.
    pub(super) change: Option<Change>,
    /// How late it is.
    pub(super) delay: Option<Duration>,
}

/// What changes a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is not sent.
    Drop,
    /// One bit is flipped: the one that is left of this number, divided by the number of bits.
    Corrupt(u64),
    /// Only so many bytes are sent.
    Truncate(u32),
    /// It is sent twice.
    Duplicate,
    /// So many later replies go first.
    Reorder(u32),
}

impl Change {
    /// Its kind.
    pub(super) fn kind(self) -> FaultKind {
        match self {
            Change::Drop => FaultKind::Drop,
            Change::Corrupt(_) => FaultKind::Corrupt,
            Change::Truncate(_) => FaultKind::Truncate,
            Change::Duplicate => FaultKind::Duplicate,
            Change::Reorder(_) => FaultKind::Reorder,
        }
    }

    /// Whether it changes a reply of `length` bytes at all.
    pub(super) fn fits(self, length: usize) -> bool {
        match self {
            Change::Corrupt(_) => length > 0,
            Change::Truncate(to) => (to as usize) < length,
            Change::Drop | Change::Duplicate | Change::Reorder(_) => true,
        }
    }
}

impl Fate {
    /// The fate of reply `number` to a source; `in_burst` is whether a burst of losses takes it.
    ///
    /// The changes exclude each other, the first one in this order hits: so that a client that counts what it lost, and what it
    /// got twice or wrong, comes to the same numbers as the counters.
    pub(super) fn new(plan: &FaultPlan, source: SourceDecisions, number: u64, in_burst: bool) -> Fate {
        let draw = |question| source.draw(number, question);
        let change = if in_burst || plan.drop.hits(draw(Question::Drop)) {
            Some(Change::Drop)
        } else if plan.corrupt.hits(draw(Question::Corrupt)) {
            Some(Change::Corrupt(draw(Question::CorruptPlace)))
        } else if let Some(truncate) = plan.truncate.filter(|it| it.chance.hits(draw(Question::Truncate))) {
            Some(Change::Truncate(truncate.to))
        } else if plan.duplicate.hits(draw(Question::Duplicate)) {
            Some(Change::Duplicate)
        } else {
            let reorder = plan.reorder.filter(|it| it.chance.hits(draw(Question::Reorder)));
            reorder.map(|reorder| Change::Reorder(reorder.by))
        };
        let delay = plan.delay.filter(|_| change != Some(Change::Drop));
        Fate { change, delay: delay.map(|delay| late(delay, draw(Question::Delay))) }
    }
}

/// Whether a burst of losses takes reply `number`, after one that it took or not.
pub(super) fn is_in_burst(plan: &FaultPlan, source: SourceDecisions, number: u64, before: bool) -> bool {
    let Some(burst) = plan.drop_burst else { return false };
    match before {
        true => !burst.leave.hits(source.draw(number, Question::LeaveBurst)),
        false => burst.enter.hits(source.draw(number, Question::EnterBurst)),
    }
}

/// How many later replies one of this plan may wait for: none but itself where it is sent twice, and `None` where none waits.
pub(super) fn waits_for(plan: &FaultPlan) -> Option<u32> {
    let reorder = plan.reorder.filter(|reorder| !reorder.chance.is_never());
    reorder.map(|reorder| reorder.by).or_else(|| (!plan.duplicate.is_never()).then_some(0))
}

/// How many numbers are added for one that is normally distributed.
const SUMMANDS: u32 = 12;

/// How late something is, from a draw. Integers only, so that every processor computes the same.
pub(super) fn late(delay: Delay, draw: u64) -> Duration {
    let spread = delay.spread.as_nanos() as i128;
    let distance = match delay.is_normal {
        // From one end of the spread to the other.
        false => ((i128::from(draw) * (2 * spread + 1)) >> 64) - spread,
        // The sum of twelve even numbers from 0 to 1 has a variance of 1, and is 6 on average.
        true => {
            let numbers = std::iter::successors(Some(draw), |draw| Some(decision::next(*draw)));
            let sum: i128 = numbers.take(SUMMANDS as usize).map(|number| i128::from(number >> 32)).sum();
            ((sum - (i128::from(SUMMANDS / 2) << 32)) * spread) >> 32
        }
    };
    let nanoseconds = (delay.middle.as_nanos() as i128 + distance).max(0);
    u64::try_from(nanoseconds).map_or(LONGEST_HOLD, Duration::from_nanos).min(LONGEST_HOLD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{decision::Decisions, tests::plan_of};

    fn fates(keys: &str, count: u64) -> Vec<Fate> {
        let plan = plan_of(keys);
        let source = Decisions::new(&plan, "udp").of_address([10, 1, 2, 3].into(), Some(4000));
        let mut burst = false;
        let fate = |number| {
            burst = is_in_burst(&plan, source, number, burst);
            Fate::new(&plan, source, number, burst)
        };
        (1..=count).map(fate).collect()
    }

    fn count(fates: &[Fate], is: impl Fn(&Fate) -> bool) -> usize {
        fates.iter().filter(|fate| is(fate)).count()
    }

    #[test]
    fn chances_of_never_and_always_are_kept() {
        assert!(fates("drop = \"0%\"\nduplicate = \"0%\"", 1000).iter().all(|fate| fate.change.is_none()));
        assert!(fates("drop = \"100%\"", 1000).iter().all(|fate| fate.change == Some(Change::Drop)));
    }

    /// A reply that is lost is neither late nor anything else, and one that is wrong is not also there twice.
    #[test]
    fn changes_exclude_each_other_in_their_order() {
        let all = "drop = \"20%\"\ncorrupt = \"20%\"\nduplicate = \"20%\"\nreorder = \"20% by 3\"\n\
                   truncate = \"20% to 10B\"\ndelay = \"5ms\"\n";
        let fates = fates(all, 10_000);
        let of = |kind| count(&fates, |fate| fate.change.is_some_and(|change| change.kind() == kind));
        let shares = [
            (FaultKind::Drop, 2_000),
            (FaultKind::Corrupt, 1_600),
            (FaultKind::Truncate, 1_280),
            (FaultKind::Duplicate, 1_024),
            (FaultKind::Reorder, 819),
        ];
        for (kind, share) in shares {
            assert!(of(kind).abs_diff(share) < 160, "{kind}: {}", of(kind));
        }
        assert!(fates.iter().all(|fate| fate.delay.is_none() == (fate.change == Some(Change::Drop))));
    }

    /// Bursts of 1 / 25 % = 4 replies on average, begun by one of 99 others.
    #[test]
    fn bursts_are_as_long_and_as_many_as_they_should_be() {
        let fates = fates("drop-burst = \"1% enter, 25% leave\"", 100_000);
        let lost: Vec<bool> = fates.iter().map(|fate| fate.change == Some(Change::Drop)).collect();
        let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        let all = lost.iter().filter(|lost| **lost).count();
        assert!((850..=1_100).contains(&bursts), "{bursts}");
        let length = all as f64 / bursts as f64;
        assert!((3.6..=4.4).contains(&length), "{length}");
    }

    #[test]
    fn delays_are_distributed_as_they_say() {
        let delays = |keys: &str| -> Vec<f64> {
            fates(keys, 20_000).iter().map(|fate| fate.delay.unwrap().as_secs_f64() * 1000.0).collect()
        };
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        let deviation = |of: &[f64]| {
            let mean = mean(of);
            (of.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / of.len() as f64).sqrt()
        };
        assert!(delays("delay = \"20ms\"").iter().all(|delay| *delay == 20.0));
        let even = delays("delay = \"20ms +-5ms\"");
        assert!(even.iter().all(|delay| (15.0..=25.0).contains(delay)));
        assert!((mean(&even) - 20.0).abs() < 0.1 && (deviation(&even) - 2.887).abs() < 0.1);
        let normal = delays("delay = \"normal 20ms, 5ms\"");
        assert!((mean(&normal) - 20.0).abs() < 0.2 && (deviation(&normal) - 5.0).abs() < 0.2);
        let cut = delays("delay = \"normal 1ms, 5ms\"");
        assert!(cut.iter().all(|delay| *delay >= 0.0));
        let hour = 3_600_000.0;
        let cut = delays("delay = \"normal 1h, 1h\"");
        assert!(cut.iter().all(|delay| *delay <= hour));
        assert!((8_000..12_000).contains(&cut.iter().filter(|delay| **delay == hour).count()));
    }
}
