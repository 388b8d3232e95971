//! Losses at a fixed step. They are no accident: a server withholds every so many answers to one source, so that it cannot go on for
//! ever with another one that answers its answers (`loop-breaker`).

/// The step of this daemon's guard, unless its configuration has another.
const USUAL: u64 = 65_536;

/// A shorter step is that of a server that is overloaded.
const SHORTEST: u64 = 16;

/// What the lost datagrams have in common.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pattern {
    count: u64,
    /// What divides the numbers of all of them.
    divisor: u64,
}

impl Pattern {
    /// Adds the number that a lost datagram has among those of its flow.
    pub(super) fn add(&mut self, ordinal: u64) {
        self.count += 1;
        self.divisor = divisor(self.divisor, ordinal);
    }

    /// The step, if every datagram at it was lost, and no other. Flows have sent so many each.
    pub(super) fn step(&self, sent: impl Iterator<Item = u64>) -> Option<u64> {
        let step = self.divisor;
        if step < SHORTEST || (self.count == 1 && step != USUAL) {
            return None;
        }
        (sent.map(|sent| sent / step).sum::<u64>() == self.count).then_some(step)
    }
}

/// The greatest common divisor (Euclid).
fn divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(lost: &[u64], sent: &[u64]) -> Option<u64> {
        let mut pattern = Pattern::default();
        lost.iter().for_each(|ordinal| pattern.add(*ordinal));
        pattern.step(sent.iter().copied())
    }

    #[test]
    fn only_a_step_without_exception_is_one() {
        assert_eq!(step(&[1024, 2048, 3072], &[4000]), Some(1024));
        assert_eq!(step(&[1024, 2048, 1024, 2048], &[3000, 2500]), Some(1024));
        assert_eq!(step(&[65_536], &[70_000]), Some(65_536));
        assert_eq!(step(&[1024], &[1500]), None);
        assert_eq!(step(&[1024, 2048], &[4000]), None);
        assert_eq!(step(&[1024, 2048, 2049], &[3000]), None);
        assert_eq!(step(&[2, 4, 6], &[7]), None);
        assert_eq!(step(&[], &[7]), None);
    }
}
