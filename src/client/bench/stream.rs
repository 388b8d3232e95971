//! A connection: answers come in the order of the sends, in pieces of any size or, where it keeps records apart, as they were sent.

use std::collections::VecDeque;

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};
use socket2::{Socket, Type};

use super::{
    channel::{Channel, LoopState, sequence},
    tally::Tally,
};
use crate::sys::{clock, tcp_info};

/// Receives for one event, so that a connection which always has more does not hold up the plan.
const MOST: u32 = 16;

/// How often the kernel is asked what it sent again.
const LOOK: u64 = 1_000_000_000;

/// A message that was sent, at least in part.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    planned: u64,
    sent: u64,
    /// Its round is over, and it is counted as lost.
    is_counted: bool,
}

/// A connection.
pub(super) struct Stream {
    socket: Socket,
    channel: u64,
    next: u64,
    /// Those not answered yet.
    sent: VecDeque<Sent>,
    /// How many of them are of this round.
    open: u64,
    /// Bytes that have come of the answer to the first of them, and whether one is wrong.
    received: usize,
    is_wrong: bool,
    /// Bytes of the last of them that are sent, if the socket had no room for all.
    written: Option<usize>,
    /// The planned moments of those that wait for room.
    waiting: VecDeque<u64>,
    is_over: bool,
    /// Whether each message is a record of its own, and its answer is to be one (SOCK_SEQPACKET).
    keeps_records: bool,
    again: Again,
}

/// What a connection sent again. TCP loses nothing, it waits: a loss is seen in the time of an answer, and here.
#[derive(Debug, Default)]
struct Again {
    /// When it was looked for, and how many segments there had been.
    looked: u64,
    segments: u32,
    /// Answers since then.
    answers: u64,
}

impl Stream {
    /// Looks whether the kernel has sent something again since the last look: then the answers since then may have waited for that.
    fn look(&mut self, now: u64, state: &mut LoopState) {
        let segments = tcp_info::retransmits(&self.socket).unwrap_or_default();
        if segments > self.again.segments {
            state.tally.replies.retransmitted += self.again.answers;
        }
        self.again = Again { looked: now, segments, answers: 0 };
    }

    /// Begins the next message.
    fn begin(&mut self, planned: u64, now: u64, state: &mut LoopState) {
        self.sent.push_back(Sent { number: self.next, planned, sent: now, is_counted: false });
        self.next += 1;
        self.open += 1;
        state.tally.sent(planned, now);
    }

    /// Sends the rest of the last message, from byte `from` on.
    fn write_rest(&mut self, from: usize, state: &mut LoopState) {
        let Some(last) = self.sent.back().copied() else { return };
        let size = state.probes.size();
        let mut written = from;
        while written < size {
            let part = &mut state.outgoing[..];
            let length = part.len().min(size - written);
            let part = &mut part[..length];
            let number = sequence(self.channel, last.number);
            state.probes.write_part(number, last.sent - state.epoch, written, part);
            match self.write(part, &mut state.tally) {
                0 => break,
                length => written += length,
            }
        }
        self.written = (written < size && !self.is_over).then_some(written);
    }

    /// Sends several messages at once: a stream carries them as well in one piece.
    fn write_many(&mut self, count: usize, planned: u64, now: u64, state: &mut LoopState) {
        let size = state.probes.size();
        let mut outgoing = std::mem::take(&mut state.outgoing);
        for message in outgoing.chunks_exact_mut(size).take(count) {
            let number = sequence(self.channel, self.next);
            state.probes.write(number, now - state.epoch, message);
            self.begin(planned, now, state);
        }
        let mut written = self.write(&outgoing[..count * size], &mut state.tally);
        state.outgoing = outgoing;
        // What did not fit has not been sent.
        while !self.is_over && self.sent.len() > 1 && count * size - written >= size {
            self.sent.pop_back();
            self.next -= 1;
            self.open -= 1;
            self.waiting.push_front(planned);
            written += size;
        }
        let rest = count * size - written;
        self.written = (rest > 0 && !self.is_over).then_some(size - rest);
    }

    /// Returns how many bytes the socket took.
    fn write(&mut self, bytes: &[u8], tally: &mut Tally) -> usize {
        loop {
            match send(&self.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(length) => return length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return 0,
                Err(_) => {
                    tally.error("OTHER");
                    self.is_over = true;
                    return 0;
                }
            }
        }
    }

    /// Compares bytes that came with those that were sent. Returns how many messages they complete.
    fn take(&mut self, mut bytes: &[u8], state: &mut LoopState) -> u32 {
        let size = state.probes.size();
        let mut answered = 0;
        while !bytes.is_empty() {
            let Some(first) = self.sent.front().copied() else {
                state.tally.replies.stray += 1;
                break;
            };
            let (part, rest) = bytes.split_at(bytes.len().min(size - self.received));
            let (number, sent) = (sequence(self.channel, first.number), first.sent - state.epoch);
            self.is_wrong |= !state.probes.is_part(number, sent, self.received, part);
            self.received += part.len();
            bytes = rest;
            if self.received < size {
                break;
            }
            self.sent.pop_front();
            self.received = 0;
            let is_wrong = std::mem::take(&mut self.is_wrong);
            if first.is_counted {
                continue;
            }
            self.open -= 1;
            match is_wrong {
                true => {
                    state.tally.replies.corrupt += 1;
                    state.tally.fates.lost += 1;
                }
                false => {
                    self.again.answers += 1;
                    state.tally.answered((first.planned, first.sent), state.now, state.timeout);
                }
            }
            answered += 1;
        }
        answered
    }
}

impl Channel for Stream {
    const IS_EXACT: bool = true;

    fn new(socket: Socket, channel: u64, _: usize) -> Self {
        let segments = tcp_info::retransmits(&socket).unwrap_or_default();
        let keeps_records = socket.r#type().is_ok_and(|kind| kind == Type::SEQPACKET);
        Self {
            socket,
            channel,
            next: 0,
            sent: VecDeque::new(),
            open: 0,
            received: 0,
            is_wrong: false,
            written: None,
            waiting: VecDeque::new(),
            is_over: false,
            keeps_records,
            again: Again { segments, ..Again::default() },
        }
    }

    fn socket(&self) -> &Socket {
        &self.socket
    }

    fn send(&mut self, count: u32, planned: u64, now: u64, state: &mut LoopState) {
        state.tally.fates.planned += u64::from(count);
        if self.is_over {
            state.tally.fates.unsent += u64::from(count);
            return;
        }
        let at_once = match self.keeps_records {
            true => 1,
            false => (state.outgoing.len() / state.probes.size()).max(1) as u32,
        };
        let mut left = count;
        while left > 0 && !self.is_blocked() && !self.is_over {
            let part = left.min(at_once);
            match part {
                1 => {
                    self.begin(planned, now, state);
                    self.write_rest(0, state);
                }
                _ => self.write_many(part as usize, planned, now, state),
            }
            left -= part;
        }
        match self.is_over {
            true => state.tally.fates.unsent += u64::from(left),
            false => self.waiting.extend((0..left).map(|_| planned)),
        }
    }

    fn receive(&mut self, state: &mut LoopState) -> u32 {
        let mut answered = 0;
        for _ in 0..MOST {
            let mut incoming = std::mem::take(&mut state.incoming);
            let received = recv(&self.socket, &mut *incoming, RecvFlags::DONTWAIT);
            let room = incoming.len();
            match received {
                Ok((length, _)) if length > 0 => {
                    state.now = clock::now();
                    self.is_wrong |= self.keeps_records && length != state.probes.size();
                    answered += self.take(&incoming[..length], state);
                    state.incoming = incoming;
                    // A stream is empty then; a record may be followed by the next.
                    if length < room && (!self.keeps_records || self.sent.is_empty()) {
                        break;
                    }
                }
                Err(Errno::INTR) => state.incoming = incoming,
                Err(Errno::AGAIN) => {
                    state.incoming = incoming;
                    break;
                }
                // The end, or a reset.
                _ => {
                    state.incoming = incoming;
                    if !self.is_over {
                        state.tally.error("OTHER");
                    }
                    self.is_over = true;
                    break;
                }
            }
        }
        answered
    }

    fn flush(&mut self, state: &mut LoopState) {
        if let Some(written) = self.written {
            self.write_rest(written, state);
        }
        while self.written.is_none()
            && !self.is_over
            && let Some(planned) = self.waiting.pop_front()
        {
            let now = clock::now();
            if now.saturating_sub(planned) > state.backlog {
                state.tally.fates.unsent += 1;
                continue;
            }
            self.begin(planned, now, state);
            self.write_rest(0, state);
        }
    }

    fn is_blocked(&self) -> bool {
        self.written.is_some() || !self.waiting.is_empty()
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    /// A stream loses nothing: an answer that has not come may still come, and those behind it wait.
    fn expire(&mut self, now: u64, state: &mut LoopState) -> u32 {
        while let Some(planned) = self.waiting.front().copied()
            && now.saturating_sub(planned) > state.backlog
        {
            self.waiting.pop_front();
            state.tally.fates.unsent += 1;
        }
        if now.saturating_sub(self.again.looked) >= LOOK {
            self.look(now, state);
        }
        0
    }

    fn pending(&self) -> u64 {
        match self.is_over {
            true => 0,
            false => self.open + self.waiting.len() as u64,
        }
    }

    fn close(&mut self, state: &mut LoopState) {
        self.look(clock::now(), state);
        state.tally.fates.unsent += self.waiting.len() as u64;
        self.waiting.clear();
        state.tally.fates.lost += std::mem::take(&mut self.open);
        self.sent.iter_mut().for_each(|sent| sent.is_counted = true);
    }
}
