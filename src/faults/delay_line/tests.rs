//! The order in which replies leave, with a clock of the test: nothing here waits.

use super::*;
use crate::access::memory::TableMemory;

/// A line with one source whose replies are all late, and when it began.
struct Line {
    numbers: Numbers,
    queue: Queue,
    begin: Instant,
}

/// The time from one reply to the next.
const STEP: Duration = Duration::from_millis(2);

impl Line {
    fn new(by: u32) -> Line {
        let stats = Shared::<Stats>::new().unwrap();
        let numbers = Numbers::new(&mut TableMemory::of(&stats), Some(by)).unwrap();
        Line { numbers, queue: Queue::default(), begin: Instant::now() }
    }

    fn hold(&mut self, number: u32, after: Option<GoesAfter>) {
        let socket = self.queue.socket(std::io::stderr().as_fd()).unwrap();
        self.queue.turn += 1;
        self.queue.count += 1;
        self.queue.bytes += HeldAnswer::default().size();
        let order = ReplyOrder { place: 3, number: number.into(), after };
        let (due, turn) = (self.begin + STEP * number, self.queue.turn);
        self.queue.due.push(Reverse(Held { due, turn, order, answer: HeldAnswer::default(), socket }));
    }

    /// The numbers of what leaves until `time` after the begin, if the thread looks at that moment only.
    fn leave(&mut self, time: Duration) -> Vec<u64> {
        let now = self.begin + time;
        let mut left = Vec::new();
        loop {
            self.queue.release(&self.numbers, None);
            let Some(held) = self.queue.next(&self.numbers, now) else { return left };
            self.numbers.lock().note_gone(held.order.place, held.order.number);
            left.push(held.order.number);
        }
    }

    fn is_empty(&self) -> bool {
        (self.queue.count, self.queue.bytes) == (0, 0)
            && self.queue.due.is_empty()
            && self.queue.waiting.is_empty()
    }
}

const LONG: Duration = Duration::from_secs(10);

/// Late ones too: they go when their time has come, and only then are gone.
#[test]
fn a_held_reply_goes_behind_so_many_later_ones_that_are_late_themselves() {
    // Whether the thread looks in time or far too late, the order is the same.
    for looks in [&[STEP * 4, STEP * 5, LONG][..], &[LONG]] {
        let mut line = Line::new(3);
        (1..=8).for_each(|number| line.hold(number, (number == 2).then_some(GoesAfter::Later(3))));
        let left: Vec<_> = looks.iter().flat_map(|time| line.leave(*time)).collect();
        assert_eq!(left, [1, 3, 4, 5, 2, 6, 7, 8]);
        assert!(line.is_empty());
    }
}

/// A later one that waits itself has not gone; as soon as it goes it counts.
#[test]
fn held_replies_wait_for_those_that_go() {
    let mut line = Line::new(2);
    (1..=6).for_each(|number| line.hold(number, matches!(number, 1 | 2 | 4).then_some(GoesAfter::Later(2))));
    assert_eq!(line.leave(STEP * 4), [3]);
    assert_eq!(line.leave(LONG), [5, 1, 2, 6, 4]);
    assert!(line.is_empty());
}

/// None goes first where all wait: each goes when its time is over, in order.
#[test]
fn replies_that_are_all_held_keep_their_order() {
    let mut line = Line::new(1);
    (1..=4).for_each(|number| line.hold(number, Some(GoesAfter::Later(1))));
    assert_eq!(line.leave(REORDERED_AT_MOST), [0; 0]);
    assert_eq!(line.leave(REORDERED_AT_MOST + STEP * 2), [1, 2]);
    assert_eq!(line.leave(LONG), [3, 4]);
    assert!(line.is_empty());
}

/// One that has too few behind it goes when its time is over, before what is due later.
#[test]
fn a_reply_is_held_for_a_time_at_most() {
    let mut line = Line::new(2);
    line.hold(1, Some(GoesAfter::Later(2)));
    line.hold(2, None);
    line.hold(60, None);
    assert_eq!(line.leave(LONG), [2, 1, 60]);
}

/// What has gone at once, by another worker or process, counts as well.
#[test]
fn a_held_reply_sees_what_others_have_sent() {
    let mut line = Line::new(2);
    line.hold(1, Some(GoesAfter::Later(2)));
    line.hold(2, Some(GoesAfter::First));
    assert_eq!(line.leave(STEP * 2), [0; 0]);
    line.numbers.lock().note_gone(3, 2);
    assert_eq!(
        line.leave(STEP * 2),
        [2],
        "its first one has gone; that is one later reply, however often it goes"
    );
    line.numbers.lock().note_gone(3, 3);
    assert_eq!(line.leave(STEP * 2), [1]);
}
