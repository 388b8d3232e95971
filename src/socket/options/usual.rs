//! The values of options that the configuration leaves to the kernel.

use std::{io, time::Duration};

use socket2::{Socket, TcpKeepalive};

use super::header::Header;
use crate::sys::buffer_lock::{self, Chosen};

/// Options of a socket before this daemon has set any.
#[derive(Clone, Copy, Debug)]
pub struct Usual {
    receive: Buffer,
    send: Buffer,
    /// TCP: how long a connection is silent before it is probed.
    idle: Option<Duration>,
    pub(super) header: Option<Header>,
}

/// The size of a buffer, and whether it was set explicitly: the kernel does not auto-tune such a buffer.
#[derive(Clone, Copy, Debug)]
struct Buffer {
    size: usize,
    chosen: bool,
}

impl Usual {
    /// The present values of `socket`.
    pub fn of(socket: &Socket) -> io::Result<Usual> {
        let Chosen { send, receive } = buffer_lock::is_set(socket)?;
        Ok(Usual {
            receive: Buffer { size: socket.recv_buffer_size()?, chosen: receive },
            send: Buffer { size: socket.send_buffer_size()?, chosen: send },
            idle: socket.tcp_keepalive_time().ok(),
            header: Header::of(socket),
        })
    }

    /// The values of a new socket like `socket`.
    pub fn of_new(socket: &Socket) -> io::Result<Usual> {
        Usual::of(&Socket::new(socket.domain()?, socket.r#type()?, None)?)
    }

    /// Restores the sizes of the buffers in `free`.
    pub(super) fn free_buffers(&self, socket: &Socket, free: Chosen) -> io::Result<()> {
        let now = Usual::of(socket)?;
        let differs = |now: Buffer, usual: Buffer| now.chosen != usual.chosen || now.size != usual.size;
        let receive = free.receive && differs(now.receive, self.receive);
        let send = free.send && differs(now.send, self.send);
        // The kernel doubles the size that is set, socket(7).
        if receive {
            socket.set_recv_buffer_size(self.receive.size / 2)?;
        }
        if send {
            socket.set_send_buffer_size(self.send.size / 2)?;
        }
        if !receive && !send {
            return Ok(());
        }
        buffer_lock::set(
            socket,
            &Chosen {
                receive: if receive { self.receive.chosen } else { now.receive.chosen },
                send: if send { self.send.chosen } else { now.send.chosen },
            },
        )
    }

    /// Restores how long a connection is silent before it is probed.
    pub(super) fn free_idle_time(&self, socket: &Socket) -> io::Result<()> {
        match self.idle {
            Some(idle) if socket.tcp_keepalive_time()? != idle => {
                socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))
            }
            _ => Ok(()),
        }
    }
}
