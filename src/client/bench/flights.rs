//! The datagrams of one socket that are not answered yet, and those that were given up: which of them is an answer to?

use std::collections::VecDeque;

/// When a datagram was to be sent, and when it was. The number of its send is its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flight {
    planned: u64,
    /// 0 once it has its fate.
    sent: u64,
}

/// A datagram that was given up. An answer to it is late.
#[derive(Clone, Copy, Debug)]
struct Overdue {
    number: u64,
    flight: Flight,
}

/// What a number in an answer stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// In flight: the planned moment and that of the send.
    InFlight((u64, u64)),
    /// Given up: the same.
    Overdue((u64, u64)),
    /// Answered before.
    Answered,
    /// Never sent, or in an earlier round, or so long ago that it is forgotten.
    Unknown,
}

/// The datagrams of one socket, numbered in the order of their sends.
#[derive(Debug)]
pub(super) struct Flights {
    /// Those from `oldest` to `next`; the length is a power of two.
    ring: Vec<Flight>,
    oldest: u64,
    next: u64,
    /// By number. An answered one has no time of its send.
    overdue: VecDeque<Overdue>,
    /// All before are over: no answer to them is counted.
    closed: u64,
    in_flight: u64,
    /// Remembered at most, in flight and overdue.
    most: usize,
}

impl Flights {
    pub(super) fn new(most: usize) -> Self {
        Self {
            ring: vec![Flight::default(); 16],
            oldest: 0,
            next: 0,
            overdue: VecDeque::new(),
            closed: 0,
            in_flight: 0,
            most: most.next_power_of_two(),
        }
    }

    /// The number of the next send.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Notes a send. Returns how many older ones had to be given up, because there are more than can be remembered.
    pub(super) fn push(&mut self, planned: u64, sent: u64) -> u64 {
        let mut given_up = 0;
        if self.next - self.oldest == self.ring.len() as u64 {
            match self.ring.len() < self.most {
                true => self.grow(),
                false => given_up = self.give_up_oldest(),
            }
        }
        let place = self.place(self.next);
        self.ring[place] = Flight { planned, sent };
        self.next += 1;
        self.in_flight += 1;
        given_up
    }

    /// What an answer to the datagram of this number means; the answer is noted.
    pub(super) fn answer(&mut self, number: u64) -> Known {
        if number >= self.next || number < self.closed {
            return Known::Unknown;
        }
        if number >= self.oldest {
            let place = self.place(number);
            let flight = std::mem::take(&mut self.ring[place]);
            if flight.sent == 0 {
                return Known::Answered;
            }
            self.in_flight -= 1;
            self.skip_answered();
            return Known::InFlight((flight.planned, flight.sent));
        }
        match self.overdue.binary_search_by_key(&number, |overdue| overdue.number) {
            Ok(found) => match std::mem::take(&mut self.overdue[found].flight) {
                Flight { sent: 0, .. } => Known::Answered,
                Flight { planned, sent } => Known::Overdue((planned, sent)),
            },
            Err(_) => Known::Answered,
        }
    }

    /// When the datagram of this number was sent, if it is not answered yet.
    pub(super) fn sent(&self, number: u64) -> Option<u64> {
        let sent = match number {
            _ if number >= self.next || number < self.closed => 0,
            _ if number >= self.oldest => self.ring[self.place(number)].sent,
            _ => {
                let found = self.overdue.binary_search_by_key(&number, |overdue| overdue.number).ok()?;
                self.overdue[found].flight.sent
            }
        };
        (sent > 0).then_some(sent)
    }

    /// Gives up those that were sent before `deadline`, and returns how many.
    pub(super) fn expire(&mut self, deadline: u64) -> u64 {
        let mut count = 0;
        while self.in_flight > 0 && self.ring[self.place(self.oldest)].sent < deadline {
            count += self.give_up_oldest();
        }
        count
    }

    /// Takes out the oldest in flight, because the peer's host refused one; whether there is any.
    pub(super) fn refuse(&mut self) -> bool {
        if self.in_flight == 0 {
            return false;
        }
        let place = self.place(self.oldest);
        self.ring[place] = Flight::default();
        self.in_flight -= 1;
        self.skip_answered();
        true
    }

    /// Ends a round: no answer to what was sent before counts any more. Returns how many were in flight.
    pub(super) fn close(&mut self) -> u64 {
        let left = self.in_flight;
        (self.oldest, self.closed, self.in_flight) = (self.next, self.next, 0);
        self.overdue.clear();
        left
    }

    /// The oldest is in flight, or there is none: each answer keeps it so.
    fn give_up_oldest(&mut self) -> u64 {
        let place = self.place(self.oldest);
        let flight = std::mem::take(&mut self.ring[place]);
        if self.overdue.len() == self.most
            && let Some(forgotten) = self.overdue.pop_front()
        {
            self.closed = forgotten.number + 1;
        }
        self.overdue.push_back(Overdue { number: self.oldest, flight });
        self.oldest += 1;
        self.in_flight -= 1;
        self.skip_answered();
        1
    }

    fn skip_answered(&mut self) {
        while self.oldest < self.next && self.ring[self.place(self.oldest)].sent == 0 {
            self.oldest += 1;
        }
    }

    fn grow(&mut self) {
        let mut larger = vec![Flight::default(); self.ring.len() * 2];
        let length = larger.len() as u64;
        for number in self.oldest..self.next {
            larger[(number % length) as usize] = self.ring[self.place(number)];
        }
        self.ring = larger;
    }

    fn place(&self, number: u64) -> usize {
        number as usize & (self.ring.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sends: u64, most: usize) -> Flights {
        let mut flights = Flights::new(most);
        (0..sends).for_each(|n| assert_eq!(flights.push(n + 1, n + 10), 0));
        flights
    }

    #[test]
    fn an_answer_counts_once() {
        let mut flights = of(100, 1024);
        assert_eq!((flights.answer(40), flights.answer(40)), (Known::InFlight((41, 50)), Known::Answered));
        assert_eq!(flights.answer(100), Known::Unknown);
        (0..100).filter(|n| *n != 40).for_each(|n| assert_ne!(flights.answer(n), Known::Answered));
        assert_eq!((flights.in_flight(), flights.answer(3)), (0, Known::Answered));
    }

    #[test]
    fn what_comes_after_its_time_is_overdue() {
        let mut flights = of(100, 1024);
        assert_eq!((flights.sent(7), flights.expire(20)), (Some(17), 10));
        assert_eq!((flights.sent(7), flights.answer(7)), (Some(17), Known::Overdue((8, 17))));
        assert_eq!((flights.sent(7), flights.answer(7), flights.in_flight()), (None, Known::Answered, 90));
        assert!(flights.refuse());
        assert_eq!(flights.answer(10), Known::Answered);
        assert_eq!(flights.close(), 89);
        assert_eq!((flights.answer(50), flights.answer(8)), (Known::Unknown, Known::Unknown));
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut flights = of(64, 64);
        assert_eq!((64..256).map(|n| flights.push(n, n)).sum::<u64>(), 192);
        assert_eq!(
            (flights.in_flight(), flights.answer(3), flights.answer(150)),
            (64, Known::Unknown, Known::Overdue((150, 150)))
        );
        assert!((192..256).all(|n| matches!(flights.answer(n), Known::InFlight(_))));
    }
}
