//! The Discard Protocol, RFC 863: input is discarded, and nothing is ever sent.

use super::{Next, Service, Session, SessionEvent};

pub(super) struct Discard;

impl Service for Discard {
    fn connect(&self) -> Box<dyn Session> {
        Box::new(Discard)
    }

    fn datagram(&self, _buffer: &mut [u8], _request: usize) -> Option<usize> {
        None
    }
}

impl Session for Discard {
    fn respond(&mut self, _event: SessionEvent, _buffer: &mut [u8]) -> Next {
        Next::Listen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_answers() {
        let mut session = Discard.connect();
        for event in [SessionEvent::Opened, SessionEvent::Received(5), SessionEvent::Drained] {
            assert_eq!(session.respond(event, &mut b"hello".to_vec()), Next::Listen);
        }
        assert_eq!(Discard.datagram(&mut b"hello".to_vec(), 5), None);
        assert_eq!(Discard.datagram(&mut [], 0), None);
    }
}
