//! Decides whether to try accept4(2) once more after a client was accepted.

/// A probe that returns EAGAIN costs as much as a successful accept4(2), and more than an event of the next wait. So it backs
/// off exponentially while clients come one at a time, and probes after every client while they come in bursts.
#[derive(Default)]
pub(super) struct AcceptProbe {
    /// How many clients to skip after a probe in vain.
    interval: u8,
    /// How many of these are left to skip.
    left: u8,
}

/// Longest interval: one probe for this many single clients, and a burst is noticed after this many.
const MOST: u8 = 64;

impl AcceptProbe {
    /// Whether to probe for another client now.
    pub(super) fn is_promising(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                false
            }
            None => true,
        }
    }

    /// Records whether a probe behind `before` clients of this turn found one.
    pub(super) fn record(&mut self, before: usize, found: bool) {
        match (before, found) {
            (0, _) => {}
            (_, true) => self.interval /= 2,
            (_, false) => {
                self.interval = (self.interval * 2).clamp(1, MOST);
                self.left = self.interval;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number of probes while `clients` come one at a time.
    fn probes(accept_probe: &mut AcceptProbe, clients: usize) -> usize {
        let probe = |accept_probe: &mut AcceptProbe| {
            let probe = accept_probe.is_promising();
            if probe {
                accept_probe.record(1, false);
            }
            probe
        };
        (0..clients).filter(|_| probe(accept_probe)).count()
    }

    #[test]
    fn probes_become_rare_while_clients_come_one_at_a_time() {
        let mut accept_probe = AcceptProbe::default();
        assert_eq!(probes(&mut accept_probe, 10), 3);
        probes(&mut accept_probe, 200);
        assert_eq!(probes(&mut accept_probe, 6500), 100);
    }

    #[test]
    fn a_burst_is_noticed_soon_and_probed_as_long_as_it_lasts() {
        let mut accept_probe = AcceptProbe::default();
        probes(&mut accept_probe, 900);
        assert!((0..=MOST).any(|_| accept_probe.is_promising()));
        accept_probe.record(1, true);
        assert!((2..100).all(|n| {
            accept_probe.record(n, true);
            accept_probe.is_promising()
        }));
        accept_probe.record(100, false);
        assert_eq!(probes(&mut accept_probe, 2), 1, "the first in vain is not held against it for long");
    }
}
