//! The Daytime Protocol, RFC 867: the date and time as text, in the RFC's format and in UTC; then the connection closes. Input is
//! discarded.

use std::{io::Write, time::SystemTime};

use jiff::{Timestamp, tz::Offset};

use super::{Next, Service, Session, SessionEvent};

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

#[rustfmt::skip]
const MONTHS: [&str; 12] = [
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
];

#[derive(Clone, Copy)]
pub(super) struct Daytime {
    /// The clock; tests replace it.
    now: fn() -> SystemTime,
}

impl Daytime {
    pub(super) fn new() -> Self {
        Daytime { now: SystemTime::now }
    }

    /// Writes the line to the start of `buffer`, and returns its length.
    fn write(self, buffer: &mut [u8]) -> usize {
        // A clock outside the years -9999 to 9999 gives the last date that the calendar has.
        let now = Timestamp::try_from((self.now)()).unwrap_or(Timestamp::MAX);
        let date = Offset::UTC.to_datetime(now);
        let two = |number: i8| [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        let day = two(date.day());
        let [hour, minute, second] = [date.hour(), date.minute(), date.second()].map(two);
        let year = date.year().unsigned_abs();
        let year_digits = [two((year / 100) as i8), two((year % 100) as i8)];
        let parts: [&[u8]; 14] = [
            WEEKDAYS[date.weekday().to_monday_zero_offset() as usize].as_bytes(),
            b", ",
            MONTHS[date.month() as usize - 1].as_bytes(),
            b" ",
            &day[usize::from(day[0] == b'0')..],
            if date.year() < 0 { b", -" } else { b", " },
            year_digits.as_flattened(),
            b" ",
            &hour,
            b":",
            &minute,
            b":",
            &second,
            b"-UTC\r\n",
        ];
        let room = buffer.len();
        let mut rest = buffer;
        for part in parts {
            // Fails only if the buffer has fewer than some 45 bytes; the answer is then cut.
            let _ = rest.write_all(part);
        }
        room - rest.len()
    }
}

impl Service for Daytime {
    fn connect(&self) -> Box<dyn Session> {
        Box::new(*self)
    }

    fn datagram(&self, buffer: &mut [u8], _request: usize) -> Option<usize> {
        Some(self.write(buffer))
    }
}

impl Session for Daytime {
    fn respond(&mut self, event: SessionEvent, buffer: &mut [u8]) -> Next {
        match event {
            SessionEvent::Opened => Next::SendThenClose(self.write(buffer)),
            SessionEvent::Received(_) | SessionEvent::Drained => Next::Listen,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// 2026-11-23 06:15:18 UTC.
    const LINE: &[u8] = b"Monday, November 23, 2026 06:15:18-UTC\r\n";

    fn stopped() -> Daytime {
        Daytime { now: || SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_414_518) }
    }

    #[test]
    fn a_connection_gets_the_line_at_once() {
        let mut session = stopped().connect();
        let mut buffer = [0; 512];
        assert_eq!(session.respond(SessionEvent::Opened, &mut buffer), Next::SendThenClose(LINE.len()));
        assert_eq!(&buffer[..LINE.len()], LINE);
    }

    #[test]
    fn a_day_has_no_leading_zero() {
        let epoch = Daytime { now: || SystemTime::UNIX_EPOCH };
        let mut buffer = [0; 64];
        let n = epoch.write(&mut buffer);
        assert_eq!(&buffer[..n], b"Thursday, January 1, 1970 00:00:00-UTC\r\n");
    }

    #[test]
    fn a_clock_beyond_the_calendar_does_not_panic() {
        let far = Daytime { now: || SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 60) };
        let mut buffer = [0; 64];
        let n = far.write(&mut buffer);
        assert!(buffer[..n].ends_with(b"-UTC\r\n"));
        assert_eq!(far.write(&mut [0; 5]), 5);
    }

    #[test]
    fn a_datagram_is_answered_by_the_whole_line() {
        let mut buffer = vec![0; 65_536];
        assert_eq!(stopped().datagram(&mut buffer, 0), Some(LINE.len()));
        assert_eq!(&buffer[..LINE.len()], LINE);
    }
}
