//! The Time Protocol, RFC 868: the seconds since 1900 as 32 bits in network byte order, then the connection closes. The number
//! wraps to 0 on 7 February 2036, as the RFC's format does; a client has to know the era.

use std::time::{Duration, SystemTime};

use super::{Next, Service, Session, SessionEvent};

/// From 1900-01-01 to 1970-01-01 in UTC: 70 years with 17 leap days.
const SECONDS_BEFORE_1970: Duration = Duration::from_secs((70 * 365 + 17) * 86_400);

/// The length of every answer.
const ANSWER: usize = 4;

#[derive(Clone, Copy)]
pub(super) struct Time {
    /// The clock; tests replace it.
    now: fn() -> SystemTime,
}

impl Time {
    pub(super) fn new() -> Self {
        Time { now: SystemTime::now }
    }

    fn answer(self) -> [u8; ANSWER] {
        let year_1900 = SystemTime::UNIX_EPOCH - SECONDS_BEFORE_1970;
        // The format has no time before 1900, so an earlier clock gives 0.
        let seconds = (self.now)().duration_since(year_1900).unwrap_or_default();
        // The format has 32 bits.
        (seconds.as_secs() as u32).to_be_bytes()
    }
}

impl Service for Time {
    fn connect(&self) -> Box<dyn Session> {
        Box::new(*self)
    }

    fn datagram(&self, buffer: &mut [u8], _request: usize) -> Option<usize> {
        buffer[..ANSWER].copy_from_slice(&self.answer());
        Some(ANSWER)
    }
}

impl Session for Time {
    fn respond(&mut self, event: SessionEvent, buffer: &mut [u8]) -> Next {
        match event {
            SessionEvent::Opened => {
                buffer[..ANSWER].copy_from_slice(&self.answer());
                Next::SendThenClose(ANSWER)
            }
            SessionEvent::Received(_) | SessionEvent::Drained => Next::Listen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 868: 2,629,584,000 is midnight of 1 May 1983.
    fn may_1983() -> Time {
        Time { now: || SystemTime::UNIX_EPOCH + Duration::from_secs(420_595_200) }
    }

    const MAY_1983: [u8; 4] = 2_629_584_000_u32.to_be_bytes();

    #[test]
    fn a_connection_gets_the_number_at_once() {
        let mut session = may_1983().connect();
        let mut buffer = [0; 512];
        assert_eq!(session.respond(SessionEvent::Opened, &mut buffer), Next::SendThenClose(4));
        assert_eq!(buffer[..4], MAY_1983);
    }

    #[test]
    fn the_number_wraps_in_2036() {
        let mut time = may_1983();
        time.now = || SystemTime::UNIX_EPOCH + Duration::from_secs(2_085_978_495);
        assert_eq!(time.answer(), [0xff; 4]);
        time.now = || SystemTime::UNIX_EPOCH + Duration::from_secs(2_085_978_496);
        assert_eq!(time.answer(), [0; 4]);
    }

    #[test]
    fn a_clock_before_1900_does_not_panic() {
        let mut time = may_1983();
        time.now = || SystemTime::UNIX_EPOCH - Duration::from_secs(1 << 40);
        assert_eq!(time.answer(), [0; 4]);
    }

    #[test]
    fn a_datagram_is_answered_with_the_number() {
        let mut buffer = vec![0; 65_536];
        assert_eq!(may_1983().datagram(&mut buffer, 0), Some(4));
        assert_eq!(buffer[..4], MAY_1983);
    }
}
