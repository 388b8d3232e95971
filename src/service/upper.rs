//! Sends input back in upper case, as the example of the `socketserver` tutorial does. Only ASCII letters change: a message may
//! end within a multi-byte character, and the answer keeps the length of the request.

use super::{Next, Service, Session, SessionEvent};

pub(super) struct Upper;

impl Service for Upper {
    fn connect(&self) -> Box<dyn Session> {
        Box::new(Upper)
    }

    fn datagram(&self, buffer: &mut [u8], request: usize) -> Option<usize> {
        buffer[..request].make_ascii_uppercase();
        Some(request)
    }
}

impl Session for Upper {
    fn respond(&mut self, event: SessionEvent, buffer: &mut [u8]) -> Next {
        match event {
            SessionEvent::Received(n) => {
                buffer[..n].make_ascii_uppercase();
                Next::Send(n)
            }
            SessionEvent::Opened | SessionEvent::Drained => Next::Listen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_the_input_and_nothing_behind_it() {
        let mut session = Upper.connect();
        let mut buffer = *b"hello, rest";
        assert_eq!(session.respond(SessionEvent::Opened, &mut buffer), Next::Listen);
        assert_eq!(session.respond(SessionEvent::Received(5), &mut buffer), Next::Send(5));
        assert_eq!(&buffer, b"HELLO, rest");
        assert_eq!(session.respond(SessionEvent::Drained, &mut buffer), Next::Listen);
    }

    #[test]
    fn leaves_other_bytes_alone() {
        let mut buffer = *b"a\xc3\xa4\x00\xffz";
        assert_eq!(Upper.datagram(&mut buffer, 6), Some(6));
        assert_eq!(&buffer, b"A\xc3\xa4\x00\xffZ");
    }
}
