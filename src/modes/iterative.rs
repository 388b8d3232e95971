//! One after the other: who accepts also serves. Also what each worker of a pool does.

use std::io;

use crate::{
    serve::{
        context::{Acceptor, ListenerContext},
        datagram,
    },
    socket::listener::Listener,
    stream::connection::SCRATCH,
    sys::shared::Mapping,
};

/// One connection after the other; the next client waits in the backlog.
pub(super) fn stream(context: &ListenerContext, sockets: &[Listener]) -> io::Result<()> {
    let mut scratch = Mapping::new(SCRATCH)?;
    if !context.startup.meet() {
        return Ok(());
    }
    context.with_worker(|worker| {
        let mut acceptor = Acceptor::new(context, sockets, worker, false)?;
        while let Some(accepted) = acceptor.accept() {
            context.serve(accepted, &mut scratch);
        }
        acceptor.end().0
    })
}

/// One batch of datagrams after the other.
pub(super) fn datagrams(context: &ListenerContext, sockets: &[&Listener]) -> io::Result<()> {
    let mut batch = datagram::batch(context, sockets.iter().copied(), datagram::MOST)?;
    if !context.startup.meet() {
        return Ok(());
    }
    context.with_worker(|worker| {
        let mut receiver = datagram::DatagramReceiver::new(context, sockets.to_vec(), worker, false)?;
        while let Some(socket) = receiver.receive(&mut batch) {
            datagram::answer(context, socket, &mut batch);
        }
        Ok(())
    })
}
