//! What carries probes to a target: datagrams, a lasting connection, or a connection for each probe.

use nix::poll::PollFlags;
use std::os::fd::BorrowedFd;

use super::books::Books;
use crate::report::error::Failure;

/// The way to one target and back. Nothing here blocks.
pub(super) trait Wire {
    /// Opens what lasts for the whole run.
    ///
    /// # Errors
    /// This machine does not give it.
    fn open(&mut self, books: &mut Books) -> Result<(), Failure>;

    /// Whether the first probe can leave, or it is known that it cannot.
    fn is_open(&self) -> bool {
        true
    }

    /// Sends the next probe.
    fn send(&mut self, books: &mut Books);

    /// The descriptors to wait for. Their order is that in which [`Wire::ready`] is told of them.
    fn watch<'a>(&'a self, watched: &mut Vec<(BorrowedFd<'a>, PollFlags)>);

    /// Does what a descriptor is ready for: number `index` of those that [`Wire::watch`] named last.
    fn ready(&mut self, index: usize, what: PollFlags, books: &mut Books);

    /// Gives up what has lasted too long.
    fn expire(&mut self, _now: u64, _books: &mut Books) {}

    /// When there is something to give up.
    fn next_expiry(&self) -> Option<u64> {
        None
    }

    /// Times of connections that were made and ended.
    fn connections(&self) -> Connections<'_> {
        Connections::default()
    }

    /// Datagrams that the kernel of this machine dropped, because the client did not read them.
    fn dropped(&self) -> u64 {
        0
    }

    /// Whether the kernel stamps what arrives.
    fn has_stamps(&self) -> bool {
        false
    }
}

/// Times of connections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connections<'a> {
    /// Times to connect.
    pub(super) connect: Option<&'a crate::client::histogram::Histogram>,
    /// From our end to the server's.
    pub(super) close: Option<&'a crate::client::histogram::Histogram>,
}
