//! One socket of many: what the loop asks of it, whatever its protocol.

use socket2::Socket;

use super::{super::probe::Probes, tally::Tally};

/// Each socket numbers its messages from here on: no message of a run is like another.
const OF_SOCKET: u32 = 40;

/// A message that could not be sent at its moment may be sent so much later; then the plan is not held.
pub(super) const BACKLOG: u64 = 10_000_000;

/// Bytes that are received at once.
const ROOM: usize = 64 << 10;

/// One connection, or one source port of datagrams.
pub(super) trait Channel {
    /// Whether each answer comes once, in order: nothing can follow when all are there.
    const IS_EXACT: bool;

    fn new(socket: Socket, number: u64, most: usize) -> Self;

    fn socket(&self) -> &Socket;

    /// Sends so many messages at `now` that were planned for `planned`. What the socket has no room for waits.
    fn send(&mut self, count: u32, planned: u64, now: u64, state: &mut LoopState);

    /// Takes what has arrived. Returns how many messages have got their fate.
    fn receive(&mut self, state: &mut LoopState) -> u32;

    /// Sends what waits for room.
    fn flush(&mut self, state: &mut LoopState);

    /// Whether something waits for room.
    fn is_blocked(&self) -> bool;

    /// Whether nothing can be sent any more.
    fn is_over(&self) -> bool;

    /// Gives up messages that were sent too long ago, and returns how many more may be sent for them.
    fn expire(&mut self, now: u64, state: &mut LoopState) -> u32;

    /// Messages whose fate is open.
    fn pending(&self) -> u64;

    /// Ends a round: what is open gets its fate.
    fn close(&mut self, state: &mut LoopState);
}

/// What all sockets of a loop use.
pub(super) struct LoopState {
    pub(super) probes: Probes,
    /// How long an answer may take.
    pub(super) timeout: u64,
    /// How long a message may wait for room; for ever in a closed loop.
    pub(super) backlog: u64,
    /// The start of the run, from which the times in messages count.
    pub(super) epoch: u64,
    pub(super) tally: Tally,
    pub(super) incoming: Box<[u8]>,
    pub(super) outgoing: Box<[u8]>,
    /// When the last bytes were received.
    pub(super) now: u64,
}

impl LoopState {
    pub(super) fn new(probes: Probes, timeout: u64, epoch: u64) -> Self {
        Self {
            probes,
            timeout,
            backlog: u64::MAX,
            epoch,
            tally: Tally::default(),
            // One byte more than any datagram has: a longer answer is seen to be one.
            incoming: vec![0; ROOM + 1].into(),
            outgoing: vec![0; ROOM].into(),
            now: epoch,
        }
    }
}

/// The sequence number of message `number` of socket `channel`.
pub(super) fn sequence(channel: u64, number: u64) -> u64 {
    (channel << OF_SOCKET) | number
}

/// The number of a message, if it is one of this socket. Of a short message only the low bits come back, so it is the last one sent
/// that has them: `next` is the number of the next send.
pub(super) fn number(channel: u64, next: u64, sequence: u64, mask: u64) -> Option<u64> {
    if mask == u64::MAX {
        return (sequence >> OF_SOCKET == channel).then_some(sequence & ((1 << OF_SOCKET) - 1));
    }
    let last = next.checked_sub(1)?;
    last.checked_sub(last.wrapping_sub(sequence) & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_again() {
        for (channel, n) in [(0, 0), (7, 3), (9_000, 1 << 33)] {
            assert_eq!(number(channel, n + 1, sequence(channel, n), u64::MAX), Some(n));
        }
        assert_eq!(number(1, 5, sequence(2, 3), u64::MAX), None);
        assert_eq!(number(1, 300, 43, 255), Some(299));
        assert_eq!(number(1, 300, 44, 255), Some(44));
        assert_eq!((number(1, 3, 7, 255), number(1, 0, 0, 255)), (None, None));
        assert_eq!(number(1, 3, 0, 0), Some(2));
    }
}
