//! One after the other: who accepts also serves. Also what each worker of a pool does.

use std::io;

use crate::{
    serve::{
        context::{Door, Duty},
        datagram,
    },
    socket::listener::Listener,
    stream::connection::SCRATCH,
    sys::shared::Pages,
};

/// One connection after the other; the next client waits in the backlog.
pub(super) fn stream(duty: &Duty, sockets: &[Listener]) -> io::Result<()> {
    let mut scratch = Pages::new(SCRATCH)?;
    if !duty.startup.meet() {
        return Ok(());
    }
    duty.at_door(|post| {
        let mut door = Door::new(duty, sockets, post, false)?;
        while let Some(guest) = door.accept() {
            duty.serve(guest, &mut scratch);
        }
        door.end().0
    })
}

/// One batch of datagrams after the other.
pub(super) fn datagrams(duty: &Duty, sockets: &[&Listener]) -> io::Result<()> {
    let mut batch = datagram::batch(duty, sockets.iter().copied(), datagram::MOST)?;
    if !duty.startup.meet() {
        return Ok(());
    }
    duty.at_door(|post| {
        let mut desk = datagram::Desk::new(duty, sockets.to_vec(), post, false)?;
        while let Some(socket) = desk.receive(&mut batch) {
            datagram::answer(duty, socket, &mut batch);
        }
        Ok(())
    })
}
