//! What a socket has where the configuration leaves it to the kernel.

use std::{io, time::Duration};

use socket2::{Socket, TcpKeepalive};

use crate::sys::buffer_lock::{self, Chosen};

/// Options of one socket before anybody has set them.
#[derive(Clone, Copy, Debug)]
pub struct Usual {
    receive: Buffer,
    send: Buffer,
    /// Of TCP.
    idle: Option<Duration>,
}

/// The size of a buffer, and whether the kernel leaves it at that.
#[derive(Clone, Copy, Debug)]
struct Buffer {
    size: usize,
    chosen: bool,
}

impl Usual {
    /// What `socket` has now.
    pub fn of(socket: &Socket) -> io::Result<Usual> {
        let Chosen { send, receive } = buffer_lock::is_set(socket)?;
        Ok(Usual {
            receive: Buffer { size: socket.recv_buffer_size()?, chosen: receive },
            send: Buffer { size: socket.send_buffer_size()?, chosen: send },
            idle: socket.tcp_keepalive_time().ok(),
        })
    }

    /// What a new socket like `socket` has.
    pub fn of_new(socket: &Socket) -> io::Result<Usual> {
        Usual::of(&Socket::new(socket.domain()?, socket.r#type()?, None)?)
    }

    /// Takes back the sizes of those buffers that are `free`, for receiving and for sending.
    pub(super) fn free_buffers(&self, socket: &Socket, free: Chosen) -> io::Result<()> {
        let now = Usual::of(socket)?;
        let differs = |now: Buffer, usual: Buffer| now.chosen != usual.chosen || now.size != usual.size;
        let receive = free.receive && differs(now.receive, self.receive);
        let send = free.send && differs(now.send, self.send);
        // The kernel doubles what it is given.
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

    /// Takes back how long a peer is silent before it is probed.
    pub(super) fn free_idle_time(&self, socket: &Socket) -> io::Result<()> {
        match self.idle {
            Some(idle) if socket.tcp_keepalive_time()? != idle => {
                socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))
            }
            _ => Ok(()),
        }
    }
}
