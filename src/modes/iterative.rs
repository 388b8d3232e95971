//! Mode iterative: the worker that accepts a connection serves it to its end. Also the body of each worker of a pool of
//! threads or processes.

use std::io;

use crate::{
    serve::{acceptor::Acceptor, context::ListenerContext, datagram},
    socket::listener::Listener,
};

/// Accepts a connection, serves it in this thread, accepts the next. Other clients wait in the backlog meanwhile.
pub(super) fn stream(context: &ListenerContext, sockets: &[Listener]) -> io::Result<()> {
    let mut scratch = context.scratch()?;
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

/// Receives a batch of datagrams, answers it in this thread, receives the next.
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
        context.finish_replies();
        Ok(())
    })
}
