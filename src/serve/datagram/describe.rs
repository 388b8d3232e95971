//! The answers of a service that describes requests (whoami).

use std::net::SocketAddr;

use crate::{
    report::refusal_reason::RefusalReason,
    serve::context::ListenerContext,
    service::request::{RequestAddress, RequestInfo},
    socket::{address::Peer, listener::Listener},
    sys::mmsg::Request,
};

/// As [`super::answer::reply`]: the answer to a datagram, told what is known of it.
pub(super) fn reply(
    context: &ListenerContext,
    listener: &Listener,
    buffer: &mut [u8],
    request: Request<'_>,
) -> Result<Option<usize>, RefusalReason> {
    let (source, length) = (request.source(), request.length());
    let info = RequestInfo {
        peer: RequestAddress::from(&source),
        local: local(listener, request),
        proxy: None,
        process: None,
        notes: request.notes(),
    };
    match context.service.described_datagram(buffer, length, &info) {
        // A sender that forges its source could use the answer to amplify an attack.
        Some(answer) if answer > length && !context.settings.allow_amplification => {
            Err(RefusalReason::Unpadded)
        }
        answer => Ok(answer),
    }
}

/// The address that was asked: the destination of the datagram, where the socket has several addresses.
fn local<'a>(listener: &'a Listener, request: Request<'_>) -> RequestAddress<'a> {
    let Peer::Inet(bound) = listener.address() else { return RequestAddress::from(listener.address()) };
    match request.destination() {
        Some(destination) if !destination.address.is_unspecified() => {
            RequestAddress::Inet(SocketAddr::new(destination.address, bound.port()))
        }
        // The address of many hosts was cleared, so that the kernel chooses the source of the answer.
        Some(_) => RequestAddress::Unnamed,
        None => RequestAddress::Inet(*bound),
    }
}
