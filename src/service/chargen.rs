//! The Character Generator Protocol, RFC 864: lines of 72 printable characters, each line starting one character later in a ring
//! of all 95. A connection gets them until it ends; its input is discarded.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use super::{Next, Service, Session, SessionEvent};

/// The printable characters of ASCII, space to tilde.
const RING: usize = 95;
/// 72 characters and the line end.
const LINE: usize = 74;
/// The text repeats after one line for each character of the ring.
const PERIOD: usize = RING * LINE;

static PATTERN: [u8; PERIOD] = pattern();

/// Bytes per send on a connection: enough to keep a fast peer busy, little enough to stop soon.
const CHUNK: usize = 16 * 1024;
/// The longest datagram that RFC 864 allows.
const LONGEST_DATAGRAM: usize = 512;

pub(super) struct Chargen {
    amplify: bool,
    /// The last random number, see [`Chargen::draw`].
    random: AtomicU32,
}

impl Chargen {
    pub(super) fn new(amplify: bool) -> Self {
        Chargen { amplify, random: AtomicU32::new(0x2545_f491) }
    }

    /// A random length from 0 to 512 (xorshift). Two threads may draw the same number at the same time, which does no harm.
    /// Forked children start with a copy of the same state, so the process id goes into each number.
    fn draw(&self) -> usize {
        let mut x = self.random.load(Relaxed) ^ process::id();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random.store(x, Relaxed);
        x as usize % (LONGEST_DATAGRAM + 1)
    }
}

impl Service for Chargen {
    fn connect(&self) -> Box<dyn Session> {
        Box::new(CharacterStream { position: 0 })
    }

    fn datagram(&self, buffer: &mut [u8], request: usize) -> Option<usize> {
        let n = match self.amplify {
            true => self.draw(),
            false => request.min(LONGEST_DATAGRAM),
        };
        write_pattern(&mut buffer[..n], 0);
        Some(n)
    }
}

/// The position of a connection in the pattern, which may be within a line.
struct CharacterStream {
    position: usize,
}

impl Session for CharacterStream {
    fn respond(&mut self, event: SessionEvent, buffer: &mut [u8]) -> Next {
        match event {
            SessionEvent::Opened | SessionEvent::Drained => {
                let n = buffer.len().min(CHUNK);
                self.position = write_pattern(&mut buffer[..n], self.position);
                Next::Send(n)
            }
            SessionEvent::Received(_) => Next::Listen,
        }
    }
}

/// Fills `out` with the pattern from `position`, and returns the next position.
fn write_pattern(mut out: &mut [u8], mut position: usize) -> usize {
    while !out.is_empty() {
        let n = out.len().min(PERIOD - position);
        let (head, tail) = out.split_at_mut(n);
        head.copy_from_slice(&PATTERN[position..position + n]);
        position = (position + n) % PERIOD;
        out = tail;
    }
    position
}

const fn pattern() -> [u8; PERIOD] {
    let mut text = [0; PERIOD];
    let mut i = 0;
    while i < PERIOD {
        let (line, column) = (i / LINE, i % LINE);
        text[i] = match LINE - column {
            2 => b'\r',
            1 => b'\n',
            _ => b' ' + ((line + column) % RING) as u8,
        };
        i += 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(session: &mut dyn Session, event: SessionEvent, buffer: &mut [u8]) -> usize {
        match session.respond(event, buffer) {
            Next::Send(n) => n,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_rotate_through_the_ring() {
        let lines: Vec<&[u8]> = PATTERN.chunks(LINE).collect();
        assert_eq!(lines.len(), 95);
        assert_eq!(
            lines[0],
            b" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg\r\n"
        );
        assert!(lines[1].starts_with(b"!\"#") && lines[1].ends_with(b"efgh\r\n"));
        assert!(lines[94].starts_with(b"~ !\"") && lines[94].ends_with(b"def\r\n"));
    }

    #[test]
    fn a_connection_gets_the_pattern_without_a_gap() {
        for room in [1, 73, 74, 1000, 65_536] {
            let mut session = Chargen::new(false).connect();
            let mut buffer = vec![0; room];
            let mut event = SessionEvent::Opened;
            let mut position = 0;
            while position < 2 * PERIOD {
                let n = sent(&mut *session, event, &mut buffer);
                assert_eq!(n, room.min(CHUNK));
                for byte in &buffer[..n] {
                    assert_eq!(*byte, PATTERN[position % PERIOD]);
                    position += 1;
                }
                event = SessionEvent::Drained;
            }
        }
    }

    #[test]
    fn input_is_discarded() {
        let mut session = Chargen::new(false).connect();
        let mut buffer = [0; LINE];
        sent(&mut *session, SessionEvent::Opened, &mut buffer);
        assert_eq!(session.respond(SessionEvent::Received(9), &mut buffer), Next::Listen);
        sent(&mut *session, SessionEvent::Drained, &mut buffer);
        assert_eq!(buffer, PATTERN[LINE..2 * LINE]);
    }

    #[test]
    fn a_datagram_is_as_long_as_its_request_up_to_512() {
        let chargen = Chargen::new(false);
        for (request, answer) in [(0, 0), (1, 1), (100, 100), (512, 512), (60_000, 512)] {
            let mut buffer = vec![0; 65_536];
            assert_eq!(chargen.datagram(&mut buffer, request), Some(answer));
            assert_eq!(buffer[..answer], PATTERN[..answer]);
        }
    }

    #[test]
    fn with_amplification_the_length_is_random() {
        let chargen = Chargen::new(true);
        let mut buffer = vec![0; 65_536];
        let mut seen = [false; LONGEST_DATAGRAM + 1];
        for _ in 0..100_000 {
            seen[chargen.datagram(&mut buffer, 0).expect("an answer")] = true;
        }
        assert!(seen.iter().all(|&seen| seen), "some length never came");
    }
}
