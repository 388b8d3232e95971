//! Whether somebody waits behind a client that was accepted.

/// To look is to accept, which costs as much in vain as with success, and more than to be told by the next wait. So a loop
/// whose clients come one by one looks seldom, and one whose clients come in crowds always.
#[derive(Default)]
pub(super) struct AcceptProbe {
    /// How many times not to look after a look in vain.
    interval: u8,
    /// How many of these are left.
    left: u8,
}

/// One look of so many is lost on clients that come one by one, and a crowd is noticed after so many.
const MOST: u8 = 64;

impl AcceptProbe {
    /// Whether to look for somebody behind a client.
    pub(super) fn is_promising(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                false
            }
            None => true,
        }
    }

    /// Notes whether anybody was there behind so many clients.
    pub(super) fn looked(&mut self, before: usize, anybody: bool) {
        match (before, anybody) {
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

    /// How many looks there are while so many clients come one by one.
    fn looks(queue: &mut AcceptProbe, clients: usize) -> usize {
        let look = |queue: &mut AcceptProbe| {
            let look = queue.is_promising();
            if look {
                queue.looked(1, false);
            }
            look
        };
        (0..clients).filter(|_| look(queue)).count()
    }

    #[test]
    fn looks_become_rare_while_clients_come_one_by_one() {
        let mut queue = AcceptProbe::default();
        assert_eq!(looks(&mut queue, 10), 3);
        looks(&mut queue, 200);
        assert_eq!(looks(&mut queue, 6500), 100);
    }

    #[test]
    fn a_crowd_is_noticed_soon_and_looked_at_as_long_as_it_lasts() {
        let mut queue = AcceptProbe::default();
        looks(&mut queue, 900);
        assert!((0..=MOST).any(|_| queue.is_promising()));
        queue.looked(1, true);
        assert!((2..100).all(|n| {
            queue.looked(n, true);
            queue.is_promising()
        }));
        queue.looked(100, false);
        assert_eq!(looks(&mut queue, 2), 1, "the first in vain is not held against it for long");
    }
}
