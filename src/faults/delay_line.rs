//! Replies to datagrams that are sent later, by a thread of their own: no loop waits for them.
//!
//! A process has one line for each listener with a plan. Its thread starts with the first reply that is held, and ends with the
//! listener. A process that may not have threads sends its replies itself before it ends ([`DelayLine::finish`]). The line is
//! bounded: what finds no room is lost, and counted.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::numbers::Numbers;
use crate::{
    report::{fault_kind::FaultKind, stats::Stats},
    sys::{
        mmsg::{HeldAnswer, Sent},
        shared::Shared,
        thread,
    },
};

/// Replies that a line holds, at most, and their bytes.
const MOST: usize = 65_536;
const MOST_BYTES: usize = 64 << 20;

/// How long a reply waits for later ones to go first.
const REORDERED_AT_MOST: Duration = Duration::from_millis(100);

/// While a reply waits for others, which another process may send, the line looks so often whether they have gone.
const LOOK: Duration = Duration::from_millis(1);

/// The stack of the thread, in bytes.
const STACK: usize = 128 << 10;

/// What is told of an answer that could not be sent.
pub(super) type OnUnsent = Box<dyn Fn(&Sent) + Send + Sync>;

/// The replies of one listener in one process.
pub(super) struct DelayLine {
    queue: Mutex<Queue>,
    changed: Condvar,
    numbers: Arc<Numbers>,
    stats: Arc<Shared<Stats>>,
    on_unsent: OnUnsent,
    /// Whether the process may have a thread for it.
    may_have_thread: bool,
}

#[derive(Default)]
struct Queue {
    /// The first one is due first.
    due: BinaryHeap<Reverse<Held>>,
    /// Those that are due, and wait for others. The first one was due first.
    waiting: VecDeque<Held>,
    count: usize,
    bytes: usize,
    /// Numbers replies, so that those that are due at one moment keep their order.
    turn: u64,
    /// Duplicates of the sockets that replies leave from, by the number of the socket: the listener may close its own before the
    /// last reply has gone.
    sockets: Vec<(RawFd, Arc<OwnedFd>)>,
    has_thread: bool,
    /// The listener is gone: the thread ends.
    is_over: bool,
    /// The thread is sending.
    is_sending: bool,
}

struct Held {
    due: Instant,
    /// Among those that are due at one moment.
    turn: u64,
    order: ReplyOrder,
    answer: HeldAnswer,
    socket: Arc<OwnedFd>,
}

/// Which reply it is, and what it waits for when it is due.
#[derive(Clone, Copy)]
pub(super) struct ReplyOrder {
    /// The place of the source.
    pub(super) place: u32,
    /// The number of the reply.
    pub(super) number: u64,
    pub(super) after: Option<GoesAfter>,
}

/// What must have gone before a reply goes.
#[derive(Clone, Copy)]
pub(super) enum GoesAfter {
    /// The reply itself, of which this is the second one.
    First,
    /// So many later replies to the same source.
    Later(u32),
}

impl ReplyOrder {
    fn is_ready(self, numbers: &Numbers) -> bool {
        match self.after {
            None => true,
            Some(GoesAfter::First) => numbers.has_gone(self.place, self.number),
            Some(GoesAfter::Later(count)) => numbers.have_gone_after(self.place, self.number, count),
        }
    }
}

impl DelayLine {
    pub(super) fn new(
        numbers: &Arc<Numbers>,
        stats: &Arc<Shared<Stats>>,
        on_unsent: OnUnsent,
        may_have_thread: bool,
    ) -> Arc<DelayLine> {
        Arc::new(DelayLine {
            queue: Mutex::default(),
            changed: Condvar::new(),
            numbers: Arc::clone(numbers),
            stats: Arc::clone(stats),
            on_unsent,
            may_have_thread,
        })
    }

    /// Sends `answer` from `socket` in `delay` from now on, and then as soon as all has gone that its `order` says.
    pub(super) fn hold(
        self: &Arc<Self>,
        socket: BorrowedFd<'_>,
        answer: HeldAnswer,
        delay: Duration,
        order: ReplyOrder,
    ) {
        let mut queue = self.lock();
        let size = answer.size();
        let has_room = queue.count < MOST && queue.bytes + size <= MOST_BYTES;
        let socket = queue.socket(socket);
        let (true, Ok(socket)) = (has_room && self.has_sender(&mut queue), socket) else {
            self.stats.inject(FaultKind::Overflow);
            return;
        };
        (queue.count, queue.bytes, queue.turn) = (queue.count + 1, queue.bytes + size, queue.turn + 1);
        let due = Instant::now() + delay;
        let held = Held { due, turn: queue.turn, order, answer, socket };
        queue.due.push(Reverse(held));
        drop(queue);
        self.changed.notify_all();
    }

    /// Call when replies were sent that others may wait for.
    pub(super) fn look(&self) {
        if !self.lock().waiting.is_empty() {
            self.changed.notify_all();
        }
    }

    /// Whether something will send the replies: the thread, which is started if it does not run, or else [`DelayLine::finish`].
    fn has_sender(self: &Arc<Self>, queue: &mut Queue) -> bool {
        if !self.may_have_thread {
            return true;
        }
        if !queue.has_thread {
            let line = Arc::clone(self);
            queue.has_thread = thread::spawn(STACK, move || line.run(None)).is_ok();
        }
        queue.has_thread
    }

    /// Waits until every reply has gone. What is left at the end that `cut` tells is lost.
    pub(super) fn finish(&self, cut: impl Fn() -> Option<Instant>) {
        let mut queue = self.lock();
        if !queue.has_thread {
            drop(queue);
            return self.run(Some(&cut));
        }
        while queue.count > 0 || queue.is_sending {
            if cut().is_some_and(|cut| cut <= Instant::now()) {
                return self.discard(&mut queue);
            }
            // The cut may be set meanwhile.
            let wait = Duration::from_millis(10);
            queue = self.changed.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the thread. What it holds is lost.
    pub(super) fn end(&self) {
        let mut queue = self.lock();
        queue.is_over = true;
        self.discard(&mut queue);
        self.changed.notify_all();
    }

    /// Sends what is due, until the line is over; with a `cut` until it is empty.
    fn run(&self, cut: Option<&dyn Fn() -> Option<Instant>>) {
        let mut queue = self.lock();
        // To which source a reply has just gone, and when all that wait were looked at.
        let (mut sent_to, mut looked) = (None, Instant::now());
        while !queue.is_over {
            let now = Instant::now();
            if let Some(cut) = cut {
                match cut().is_some_and(|cut| cut <= now) {
                    true => self.discard(&mut queue),
                    false if queue.count > 0 => {}
                    false => return,
                }
            }
            let only = sent_to.take().filter(|_| now < looked + LOOK);
            looked = if only.is_none() { now } else { looked };
            queue.release(&self.numbers, only);
            let Some(held) = queue.next(&self.numbers, now) else {
                let next = queue.due.peek().map(|Reverse(held)| held.due.saturating_duration_since(now));
                let look = (!queue.waiting.is_empty()).then_some(LOOK);
                queue = match next.into_iter().chain(look).min() {
                    Some(time) => {
                        self.changed.wait_timeout(queue, time).unwrap_or_else(PoisonError::into_inner).0
                    }
                    None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                };
                continue;
            };
            queue.is_sending = true;
            drop(queue);
            let sent = held.answer.send(held.socket.as_fd());
            self.stats.sent(sent.bytes);
            if sent.error != 0 {
                (self.on_unsent)(&sent);
            }
            if self.numbers.notes_gone() {
                self.numbers.lock().note_gone(held.order.place, held.order.number);
                sent_to = Some(held.order.place);
            }
            queue = self.lock();
            queue.is_sending = false;
            if queue.count == 0 {
                self.changed.notify_all();
            }
        }
    }

    fn discard(&self, queue: &mut Queue) {
        (0..queue.count).for_each(|_| self.stats.inject(FaultKind::Overflow));
        queue.due.clear();
        queue.waiting.clear();
        (queue.count, queue.bytes) = (0, 0);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// A duplicate of the socket.
    fn socket(&mut self, socket: BorrowedFd<'_>) -> io::Result<Arc<OwnedFd>> {
        let number = socket.as_raw_fd();
        if let Some((_, own)) = self.sockets.iter().find(|(known, _)| *known == number) {
            return Ok(Arc::clone(own));
        }
        let own = Arc::new(socket.try_clone_to_owned()?);
        self.sockets.push((number, Arc::clone(&own)));
        Ok(own)
    }

    /// Those that wait for what has gone meanwhile are next; with `only` a look at those to the source in this place is enough.
    fn release(&mut self, numbers: &Numbers, only: Option<u32>) {
        let mut at = 0;
        while let Some(held) = self.waiting.get(at) {
            let order = held.order;
            if only.is_some_and(|place| place != order.place) || !order.is_ready(numbers) {
                at += 1;
            } else if let Some(held) = self.waiting.remove(at) {
                self.due.push(Reverse(Held { order: ReplyOrder { after: None, ..order }, ..held }));
            }
        }
    }

    /// Takes the next one that may go.
    fn next(&mut self, numbers: &Numbers, now: Instant) -> Option<Held> {
        let held = loop {
            let due = self.due.peek().map(|Reverse(held)| held.due);
            let until = self.waiting.front().map(|held| held.due + REORDERED_AT_MOST);
            // A line that is behind keeps the order that it would have had in time.
            if until.is_some_and(|until| until <= now && due.is_none_or(|due| until <= due)) {
                break self.waiting.pop_front()?;
            }
            if due? > now {
                return None;
            }
            let Reverse(held) = self.due.pop()?;
            match held.order.is_ready(numbers) {
                true => break held,
                false => self.waiting.push_back(held),
            }
        };
        self.count -= 1;
        self.bytes -= held.answer.size();
        Some(held)
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Held) -> std::cmp::Ordering {
        (self.due, self.turn).cmp(&(other.due, other.turn))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Held) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Held) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Held {}

#[cfg(test)]
mod tests;
