//! The PROXY header phase, before the session sees any bytes. Payload that arrives with the header is kept for the
//! session.

use std::net::SocketAddr;

use crate::{
    config::ProxyProtocol,
    report::refusal_reason::RefusalReason,
    service::request::ProxyInfo,
    stream::{
        connection::{Connection, ConnectionContext, Phase},
        proxy::{self, Reading},
    },
    sys::transport::Transport,
};

/// The header as far as it has arrived; then the payload that arrived with it.
pub(crate) struct ProxyHeader {
    bytes: Vec<u8>,
    /// The header itself, once it is read, if the service tells of it.
    kept: Option<Vec<u8>>,
    /// Whether the connection may begin without a header.
    optional: bool,
}

impl ProxyHeader {
    pub(super) fn new(optional: bool, is_kept: bool) -> ProxyHeader {
        ProxyHeader { bytes: Vec::new(), kept: is_kept.then(Vec::new), optional }
    }

    /// What the header tells, if it was kept and there was one.
    pub(super) fn told(&self) -> Option<ProxyInfo<'_>> {
        self.kept.as_deref().filter(|header| !header.is_empty()).map(proxy::told)
    }

    /// Takes received bytes; an empty slice means end of file. `None` while the header is incomplete; then the client's
    /// address, if the header names one.
    pub(super) fn take(&mut self, arrived: &[u8]) -> Option<Result<Option<SocketAddr>, RefusalReason>> {
        self.bytes.extend_from_slice(arrived);
        match proxy::read(&self.bytes) {
            Reading::Part if !arrived.is_empty() => None,
            Reading::Whole { length, source } => {
                let header = self.bytes.drain(..length);
                if let Some(kept) = &mut self.kept {
                    kept.extend(header);
                }
                Some(Ok(source))
            }
            // Not a header: no more bytes follow, or these do not fit one. They belong to the session.
            Reading::Part | Reading::Absent if self.optional => Some(Ok(None)),
            Reading::Part | Reading::Absent | Reading::Broken => Some(Err(RefusalReason::ProxyHeader)),
        }
    }

    /// The time-out of the header is over. With an optional header, a client that has sent nothing may just be silent.
    pub(super) fn overdue(&self) -> Result<(), RefusalReason> {
        match self.optional && self.bytes.is_empty() {
            true => Ok(()),
            false => Err(RefusalReason::ProxyTimeout),
        }
    }

    /// Moves payload that arrived with the header to the start of `buffer`, as much as fits; returns how much.
    pub(super) fn take_leftover(&mut self, buffer: &mut [u8]) -> usize {
        let n = self.bytes.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.bytes[..n]);
        self.bytes.drain(..n);
        n
    }

    /// Whether all payload was delivered.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Connection {
    /// Expects a PROXY header before the session is opened.
    pub fn awaiting_proxy_header(mut self, context: &ConnectionContext<'_>) -> Connection {
        let optional = context.settings.proxy_protocol == ProxyProtocol::Optional;
        self.phase = Phase::AwaitingProxyHeader;
        let is_kept = context.settings.service.describes_requests();
        self.proxy_header = Some(Box::new(ProxyHeader::new(optional, is_kept)));
        self
    }

    /// The client's address from the PROXY header, once it is known.
    pub fn proxied_source(&self) -> Option<SocketAddr> {
        self.proxied_source.as_deref().copied()
    }

    /// Whether the PROXY header is still awaited.
    pub fn awaits_proxy_header(&self) -> bool {
        self.phase == Phase::AwaitingProxyHeader
    }

    /// Call when the time-out of the PROXY header is over. A silent client that needs no header goes on without one.
    pub fn proxy_header_overdue(&mut self) -> Result<(), RefusalReason> {
        self.proxy_header.as_ref().map_or(Ok(()), |proxy_header| proxy_header.overdue())?;
        self.phase = Phase::HeaderRead;
        Ok(())
    }

    /// Takes received bytes of the header.
    pub(super) fn take_proxy_header(&mut self, arrived: &[u8]) -> Result<(), RefusalReason> {
        if let Some(decided) = self.proxy_header.as_mut().and_then(|proxy_header| proxy_header.take(arrived))
        {
            self.proxied_source = decided?.map(Box::new);
            self.phase = Phase::HeaderRead;
        }
        Ok(())
    }

    /// Payload that arrived with the header, delivered as if it had been received now.
    pub(super) fn header_leftover(
        &mut self,
        transport: &mut impl Transport,
        context: &ConnectionContext<'_>,
    ) -> Option<usize> {
        let proxy_header = self.proxy_header.as_mut()?;
        let n = proxy_header.take_leftover(transport.buffer());
        if proxy_header.is_empty() {
            self.proxy_header = None;
        }
        (n > 0).then(|| self.arrived(n, transport, context))
    }
}
