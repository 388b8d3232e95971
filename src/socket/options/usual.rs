//! The values of options that the configuration leaves to the kernel.

use std::{io, time::Duration};

use socket2::{Socket, TcpKeepalive};

use super::{header::Header, mptcp};
use crate::{
    config::{Keepalive, Probes},
    sys::buffer_lock::{self, Chosen},
};

/// Options of a socket before this daemon has set any.
#[derive(Clone, Copy, Debug)]
pub struct Usual {
    receive: Buffer,
    send: Buffer,
    /// TCP: how a silent peer is probed.
    probing: Option<Probing>,
    pub(super) header: Option<Header>,
}

/// When the kernel probes a silent peer, and when it gives that up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probing {
    idle: Duration,
    interval: Duration,
    count: u32,
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
            probing: Probing::of(socket),
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
        let chosen = Chosen {
            receive: if receive { self.receive.chosen } else { now.receive.chosen },
            send: if send { self.send.chosen } else { now.send.chosen },
        };
        mptcp::unless_mptcp(socket, buffer_lock::set(socket, &chosen))
    }

    /// Has silent peers probed as `keepalive` says. What that leaves to the kernel becomes as usual.
    pub(super) fn probe(&self, socket: &Socket, keepalive: Keepalive) -> io::Result<()> {
        if let (Some(usual), Some(now)) = (self.probing, Probing::of(socket)) {
            let wanted = match keepalive {
                Keepalive::Off | Keepalive::On => usual,
                Keepalive::After(Probes { idle, interval, count }) => Probing {
                    idle,
                    interval: interval.unwrap_or(usual.interval),
                    count: count.unwrap_or(usual.count),
                },
            };
            let mut change = TcpKeepalive::new();
            if wanted.idle != now.idle {
                change = change.with_time(wanted.idle);
            }
            if wanted.interval != now.interval {
                change = change.with_interval(wanted.interval);
            }
            if wanted.count != now.count {
                change = change.with_retries(wanted.count);
            }
            // It also switches probing on.
            if wanted != now {
                socket.set_tcp_keepalive(&change)?;
            }
        }
        socket.set_keepalive(keepalive != Keepalive::Off)
    }
}

impl Probing {
    /// The present one of `socket`, if that is one of TCP.
    fn of(socket: &Socket) -> Option<Probing> {
        Some(Probing {
            idle: socket.tcp_keepalive_time().ok()?,
            interval: socket.tcp_keepalive_interval().ok()?,
            count: socket.tcp_keepalive_retries().ok()?,
        })
    }
}
