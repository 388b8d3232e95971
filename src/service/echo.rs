//! The Echo Protocol, RFC 862: input is sent back.

use super::{Next, Service, Session, SessionEvent};

pub(super) struct Echo;

impl Service for Echo {
    fn connect(&self) -> Box<dyn Session> {
        Box::new(Echo)
    }

    fn datagram(&self, _buffer: &mut [u8], request: usize) -> Option<usize> {
        Some(request)
    }
}

impl Session for Echo {
    fn respond(&mut self, event: SessionEvent, _buffer: &mut [u8]) -> Next {
        match event {
            SessionEvent::Received(n) => Next::Send(n),
            SessionEvent::Opened | SessionEvent::Drained => Next::Listen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_back_what_arrived() {
        let mut session = Echo.connect();
        let mut buffer = *b"hello";
        assert_eq!(session.respond(SessionEvent::Opened, &mut buffer), Next::Listen);
        assert_eq!(session.respond(SessionEvent::Received(3), &mut buffer), Next::Send(3));
        assert_eq!(session.respond(SessionEvent::Drained, &mut buffer), Next::Listen);
        assert_eq!(&buffer, b"hello");
    }

    #[test]
    fn answers_an_empty_datagram_with_an_empty_one() {
        assert_eq!(Echo.datagram(&mut [], 0), Some(0));
        assert_eq!(Echo.datagram(&mut [7; 65_536], 65_507), Some(65_507));
    }
}
