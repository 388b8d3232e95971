//! The eight services: what a listener answers.
//!
//! In: an event on a connection, or a datagram, in a buffer. Out: what the caller does next ([`Next`]), or the length of the
//! answer. The answer is made in the buffer that the request arrived in. A service has no socket and no log, and makes no
//! allocation for a message; modes and transports are the caller's concern.
//!
//! Read this file for the two traits, then `echo` (the smallest), `qotd`, `daytime` and `time` (answer and close), `chargen`
//! (streaming), `discard` and `upper`. `whoami` answers with what is known of the request beside its bytes (`request`).

use self::request::RequestInfo;
use crate::config::{self, ServiceKind};

mod chargen;
mod daytime;
mod discard;
mod echo;
mod qotd;
pub mod request;
mod time;
mod upper;
mod whoami;

/// The service that `listener` is configured for.
pub fn new(listener: &config::Listener) -> Box<dyn Service> {
    match listener.service {
        ServiceKind::Echo => Box::new(echo::Echo),
        ServiceKind::Upper => Box::new(upper::Upper),
        ServiceKind::Discard => Box::new(discard::Discard),
        ServiceKind::Chargen => Box::new(chargen::Chargen::new(listener.allow_amplification)),
        ServiceKind::Qotd => Box::new(qotd::Qotd::new(&listener.quote)),
        ServiceKind::Daytime => Box::new(daytime::Daytime::new()),
        ServiceKind::Time => Box::new(time::Time::new()),
        ServiceKind::Whoami => Box::new(whoami::Whoami::new(listener)),
    }
}

/// A service, shared by all connections and datagrams of a listener.
pub trait Service: Send + Sync {
    /// The session of a new stream connection. A session without state makes no allocation.
    fn connect(&self) -> Box<dyn Session>;

    /// Answers the datagram in `buffer[..request]`, with the answer at the start of `buffer`. Returns the length of the answer,
    /// which may be 0 (an empty datagram), or `None` for no answer. The caller decides whether an answer longer than its request
    /// may be sent.
    ///
    /// `buffer` holds at least [`LARGEST_DATAGRAM`] bytes.
    fn datagram(&self, buffer: &mut [u8], request: usize) -> Option<usize>;

    /// As [`Service::datagram`], which only a service that describes requests ([`ServiceKind::describes_requests`]) is called by.
    fn described_datagram(
        &self,
        buffer: &mut [u8],
        request: usize,
        _info: &RequestInfo<'_>,
    ) -> Option<usize> {
        self.datagram(buffer, request)
    }
}

/// The state of a service for one stream connection.
pub trait Session: Send {
    /// Returns what to do after `event`. Input and output share `buffer`, see [`SessionEvent`] and [`Next`].
    fn respond(&mut self, event: SessionEvent, buffer: &mut [u8]) -> Next;

    /// Tells the session of its connection, before [`SessionEvent::Opened`]. Only the session of a service that describes requests
    /// ([`ServiceKind::describes_requests`]) is told.
    fn introduce(&mut self, _info: &RequestInfo<'_>) {}
}

/// An event on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// The connection was accepted; nothing has arrived yet.
    Opened,
    /// `buffer[..n]` has arrived, n > 0 unless it is an empty record.
    Received(usize),
    /// The kernel has accepted all that [`Next::Send`] asked to send. Most sessions then return [`Next::Listen`]. A streaming
    /// session (chargen) returns [`Next::Send`] again; the caller reads and discards its input.
    Drained,
}

/// What the connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for input.
    Listen,
    /// Send `buffer[..n]`, n > 0 unless it is an empty record.
    Send(usize),
    /// Send `buffer[..n]`, then close the connection gracefully.
    SendThenClose(usize),
}

pub use crate::sys::mmsg::LARGEST_DATAGRAM;

#[cfg(test)]
pub(crate) mod tests;
