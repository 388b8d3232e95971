//! A socket that datagrams leave from. Each may be lost, doubled, spoiled or overtaken, and its answer says which it is.

use std::collections::VecDeque;

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};
use socket2::Socket;

use super::{
    super::probe::Answer,
    channel::{Channel, LoopState, number, sequence},
    flights::{Flights, Known},
};
use crate::sys::clock;

/// Receives for one event, so that a socket which always has more does not hold up the plan.
const MOST: u32 = 32;

/// Sends of one datagram: a call may fail because of an earlier one that was refused.
const TRIES: u32 = 8;

/// A source port of datagrams.
pub(super) struct Datagram {
    socket: Socket,
    channel: u64,
    flights: Flights,
    /// The highest number that was answered, and one more.
    highest: u64,
    /// The planned moments of those that wait for room.
    waiting: VecDeque<u64>,
    /// How many may be sent anew at the next look at the time, in the place of those that were refused or could not be sent:
    /// at once it would go round and round.
    resting: u32,
}

impl Datagram {
    /// Sends one; false if there is no room.
    fn send_one(&mut self, planned: u64, now: u64, state: &mut LoopState) -> bool {
        let size = state.probes.size();
        let number = sequence(self.channel, self.flights.next());
        state.probes.write(number, now - state.epoch, &mut state.outgoing[..size]);
        for _ in 0..TRIES {
            match send(&self.socket, &state.outgoing[..size], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => {
                    state.tally.sent(planned, now);
                    state.tally.fates.lost += self.flights.push(planned, now);
                    return true;
                }
                Err(Errno::AGAIN) => return false,
                Err(Errno::INTR) => {}
                // The failure is that of one sent before, and this one was not sent.
                Err(Errno::CONNREFUSED) if self.refuse(state) => {}
                Err(error) => {
                    state.tally.no_buffers += u64::from(error == Errno::NOBUFS);
                    break;
                }
            }
        }
        state.tally.fates.unsent += 1;
        state.tally.error("OTHER");
        self.resting += 1;
        true
    }

    /// The peer's host says that nobody listens there. It does not say to which datagram.
    fn refuse(&mut self, state: &mut LoopState) -> bool {
        let is_ours = self.flights.refuse();
        if is_ours {
            state.tally.fates.refused += 1;
            state.tally.error("REFUSED");
            self.resting += 1;
        }
        is_ours
    }

    /// Judges what has arrived. Returns whether a message in flight has its fate now.
    fn take(&mut self, bytes: &[u8], state: &mut LoopState) -> bool {
        let answer = state.probes.check(bytes);
        let replies = &mut state.tally.replies;
        let sequence = match answer {
            Answer::Whole { sequence } => sequence,
            Answer::Corrupt => {
                replies.corrupt += 1;
                return false;
            }
            Answer::Stray => {
                replies.stray += 1;
                return false;
            }
        };
        let Some(number) = number(self.channel, self.flights.next(), sequence, state.probes.mask()) else {
            replies.stray += 1;
            return false;
        };
        let time = state.probes.sent(bytes);
        if time.is_some_and(|time| self.flights.sent(number).is_some_and(|sent| sent - state.epoch != time)) {
            replies.corrupt += 1;
            return false;
        }
        let known = self.flights.answer(number);
        match known {
            Known::InFlight(times) | Known::Overdue(times) => {
                replies.reordered += u64::from(number < self.highest);
                self.highest = self.highest.max(number + 1);
                if matches!(known, Known::Overdue(_)) {
                    // It was counted as lost when its time was over.
                    state.tally.fates.lost -= 1;
                    state.tally.answered(times, state.now, 0);
                    return false;
                }
                state.tally.answered(times, state.now, state.timeout);
                true
            }
            Known::Answered => {
                replies.duplicate += 1;
                false
            }
            Known::Unknown => {
                replies.stray += 1;
                false
            }
        }
    }
}

impl Channel for Datagram {
    const IS_EXACT: bool = false;

    fn new(socket: Socket, channel: u64, most: usize) -> Self {
        Self {
            socket,
            channel,
            flights: Flights::new(most),
            highest: 0,
            waiting: VecDeque::new(),
            resting: 0,
        }
    }

    fn socket(&self) -> &Socket {
        &self.socket
    }

    fn send(&mut self, count: u32, planned: u64, now: u64, state: &mut LoopState) {
        state.tally.fates.planned += u64::from(count);
        for _ in 0..count {
            if self.is_blocked() || !self.send_one(planned, now, state) {
                self.waiting.push_back(planned);
            }
        }
    }

    fn receive(&mut self, state: &mut LoopState) -> u32 {
        let mut answered = 0;
        for _ in 0..MOST {
            match recv(&self.socket, &mut *state.incoming, RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    state.now = clock::now();
                    let incoming = std::mem::take(&mut state.incoming);
                    answered += u32::from(self.take(&incoming[..length], state));
                    state.incoming = incoming;
                    // What is doubled comes with the next event.
                    if self.flights.in_flight() == 0 {
                        break;
                    }
                }
                Err(Errno::CONNREFUSED) => _ = self.refuse(state),
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        answered
    }

    fn flush(&mut self, state: &mut LoopState) {
        while let Some(planned) = self.waiting.front().copied() {
            let now = clock::now();
            if now.saturating_sub(planned) > state.backlog {
                state.tally.fates.unsent += 1;
            } else if !self.send_one(planned, now, state) {
                return;
            }
            self.waiting.pop_front();
        }
    }

    fn is_blocked(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn is_over(&self) -> bool {
        false
    }

    fn expire(&mut self, now: u64, state: &mut LoopState) -> u32 {
        while let Some(planned) = self.waiting.front().copied()
            && now.saturating_sub(planned) > state.backlog
        {
            self.waiting.pop_front();
            state.tally.fates.unsent += 1;
        }
        let lost = self.flights.expire(now.saturating_sub(state.timeout));
        state.tally.fates.lost += lost;
        (0..lost).for_each(|_| state.tally.error("TIMEOUT"));
        lost as u32 + std::mem::take(&mut self.resting)
    }

    fn pending(&self) -> u64 {
        self.flights.in_flight() + self.waiting.len() as u64
    }

    fn close(&mut self, state: &mut LoopState) {
        state.tally.fates.unsent += self.waiting.len() as u64;
        self.waiting.clear();
        state.tally.fates.lost += self.flights.close();
        self.resting = 0;
    }
}
