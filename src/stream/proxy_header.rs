//! What comes before a conversation that a proxy passes on: its header, which the session never sees. What arrives
//! with it is kept for the session.

use std::net::SocketAddr;

use crate::stream::connection::{Connection, Context, Phase};
use crate::{
    config::ProxyProtocol,
    report::refusal_reason::RefusalReason,
    stream::proxy::{self, Reading},
    sys::transport::Transport,
};

/// The bytes of a header, as far as they have come; then those that came with it.
pub(crate) struct ProxyHeader {
    bytes: Vec<u8>,
    /// Whether there may be none.
    optional: bool,
}

impl ProxyHeader {
    pub(super) fn new(optional: bool) -> ProxyHeader {
        ProxyHeader { bytes: Vec::new(), optional }
    }

    /// Takes in what has arrived; nothing means the end of file. `None` if more is needed, else whom the proxy speaks for, if
    /// it says so.
    pub(super) fn take(&mut self, arrived: &[u8]) -> Option<Result<Option<SocketAddr>, RefusalReason>> {
        self.bytes.extend_from_slice(arrived);
        match proxy::read(&self.bytes) {
            Reading::Part if !arrived.is_empty() => None,
            Reading::Whole { length, source } => {
                self.bytes.drain(..length);
                Some(Ok(source))
            }
            // It looked like a header; but it is all that there will be, and belongs to the session.
            Reading::Part | Reading::Absent if self.optional => Some(Ok(None)),
            Reading::Part | Reading::Absent | Reading::Broken => Some(Err(RefusalReason::ProxyHeader)),
        }
    }

    /// The time for a header is over: who has said nothing yet may just be a silent client.
    pub(super) fn overdue(&self) -> Result<(), RefusalReason> {
        match self.optional && self.bytes.is_empty() {
            true => Ok(()),
            false => Err(RefusalReason::ProxyTimeout),
        }
    }

    /// Moves what came with the header to the start of `buffer`, as much as fits; tells how much that is.
    pub(super) fn pass_on(&mut self, buffer: &mut [u8]) -> usize {
        let n = self.bytes.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.bytes[..n]);
        self.bytes.drain(..n);
        n
    }

    /// Whether all was passed on.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Connection {
    /// Awaits the header of a proxy, before the session hears of anything.
    pub fn awaiting_proxy_header(mut self, context: &Context<'_>) -> Connection {
        let optional = context.settings.proxy_protocol == ProxyProtocol::Optional;
        self.phase = Phase::AwaitingProxyHeader;
        self.proxy_header = Some(Box::new(ProxyHeader::new(optional)));
        self
    }

    /// Whom a proxy speaks for, once that is known.
    pub fn proxied_source(&self) -> Option<SocketAddr> {
        self.proxied_source.as_deref().copied()
    }

    /// Whether the header of a proxy is still awaited.
    pub fn awaits_proxy_header(&self) -> bool {
        self.phase == Phase::AwaitingProxyHeader
    }

    /// Says that the time for the header of a proxy is over. A silent client that needs none goes on without.
    pub fn proxy_header_overdue(&mut self) -> Result<(), RefusalReason> {
        self.proxy_header.as_ref().map_or(Ok(()), |proxy_header| proxy_header.overdue())?;
        self.phase = Phase::HeaderRead;
        Ok(())
    }

    /// Takes in what has arrived of a header.
    pub(super) fn admit_proxied(&mut self, arrived: &[u8]) -> Result<(), RefusalReason> {
        if let Some(decided) = self.proxy_header.as_mut().and_then(|proxy_header| proxy_header.take(arrived))
        {
            self.proxied_source = decided?.map(Box::new);
            self.phase = Phase::HeaderRead;
        }
        Ok(())
    }

    /// What came with a header, as if it arrived now.
    pub(super) fn passed_on(
        &mut self,
        transport: &mut impl Transport,
        context: &Context<'_>,
    ) -> Option<usize> {
        let proxy_header = self.proxy_header.as_mut()?;
        let n = proxy_header.pass_on(transport.buffer());
        if proxy_header.is_empty() {
            self.proxy_header = None;
        }
        (n > 0).then(|| self.arrived(n, transport, context))
    }
}
