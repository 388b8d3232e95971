//! What is served. A service is pure: no socket, no log, and no allocation for a message. Its answer is made in the
//! buffer that the request arrived in.

use crate::config::{self, ServiceKind};

mod chargen;
mod daytime;
mod discard;
mod echo;
mod qotd;
mod time;
mod upper;

/// The service that `listener` asks for.
pub fn new(listener: &config::Listener) -> Box<dyn Service> {
    match listener.service {
        ServiceKind::Echo => Box::new(echo::Echo),
        ServiceKind::Upper => Box::new(upper::Upper),
        ServiceKind::Discard => Box::new(discard::Discard),
        ServiceKind::Chargen => Box::new(chargen::Chargen::new(listener.allow_amplification)),
        ServiceKind::Qotd => Box::new(qotd::Qotd::new(&listener.quote)),
        ServiceKind::Daytime => Box::new(daytime::Daytime::new()),
        ServiceKind::Time => Box::new(time::Time::new()),
    }
}

/// One service, shared by all connections and datagrams of a listener.
pub trait Service: Send + Sync {
    /// The state of a new stream connection. A session without state costs no allocation.
    fn connect(&self) -> Box<dyn Session>;

    /// Answers one datagram: `buffer[..request]` is what arrived, the answer is made at the start of `buffer`.
    /// Returns the length of the answer, which may be 0 (an empty datagram), or `None` for silence. Whether an answer that is
    /// longer than its request may be sent is not decided here.
    ///
    /// `buffer` holds at least [`LARGEST_DATAGRAM`] bytes.
    fn datagram(&self, buffer: &mut [u8], request: usize) -> Option<usize>;
}

/// The conversation on one stream connection.
pub trait Session: Send {
    /// Says what to do after `event`. Input and output share `buffer`, see [`SessionEvent`] and [`Next`].
    fn respond(&mut self, event: SessionEvent, buffer: &mut [u8]) -> Next;
}

/// What happened on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// The connection was accepted; nothing has arrived yet.
    Opened,
    /// `buffer[..n]` arrived, n > 0.
    Received(usize),
    /// All that [`Next::Send`] asked to send has been handed to the kernel. Most sessions now say [`Next::Listen`]; one
    /// that says [`Next::Send`] again is a talker (chargen), whose input is read and thrown away.
    Drained,
}

/// What the connection is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for input.
    Listen,
    /// Send `buffer[..n]`, n > 0.
    Send(usize),
    /// Send `buffer[..n]`, then end the connection politely.
    SendThenClose(usize),
}

pub use crate::sys::mmsg::LARGEST_DATAGRAM;

#[cfg(test)]
pub(crate) mod tests;
