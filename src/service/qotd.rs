//! The Quote of the Day Protocol, RFC 865: one text, then the connection closes. Input is discarded.

use std::sync::Arc;

use super::{Next, Service, Session, SessionEvent};

pub(super) struct Qotd {
    text: Arc<[u8]>,
}

impl Qotd {
    /// `quote` has no line end yet.
    pub(super) fn new(quote: &str) -> Self {
        Qotd { text: format!("{quote}\r\n").into_bytes().into() }
    }
}

impl Service for Qotd {
    fn connect(&self) -> Box<dyn Session> {
        Box::new(Quote(Arc::clone(&self.text)))
    }

    fn datagram(&self, buffer: &mut [u8], _request: usize) -> Option<usize> {
        let answer = self.text.len();
        buffer[..answer].copy_from_slice(&self.text);
        Some(answer)
    }
}

struct Quote(Arc<[u8]>);

impl Session for Quote {
    fn respond(&mut self, event: SessionEvent, buffer: &mut [u8]) -> Next {
        match event {
            SessionEvent::Opened => {
                buffer[..self.0.len()].copy_from_slice(&self.0);
                Next::SendThenClose(self.0.len())
            }
            SessionEvent::Received(_) | SessionEvent::Drained => Next::Listen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTE: &str = "Less is more.";

    #[test]
    fn a_connection_gets_the_quote_at_once() {
        let mut session = Qotd::new(QUOTE).connect();
        let mut buffer = [0; 512];
        assert_eq!(session.respond(SessionEvent::Opened, &mut buffer), Next::SendThenClose(15));
        assert_eq!(&buffer[..15], b"Less is more.\r\n");
    }

    #[test]
    fn a_datagram_is_answered_with_the_whole_quote() {
        let mut buffer = vec![b'x'; 65_536];
        assert_eq!(Qotd::new(QUOTE).datagram(&mut buffer, 0), Some(15));
        assert_eq!(&buffer[..15], b"Less is more.\r\n");
    }
}
