//! Which of a worker's sockets to look at next.
//!
//! A worker with one socket needs no answer: it blocks in accept(2) or recvmmsg(2) itself, without a system call to ask
//! first. With several, or where requests are counted, it polls (ppoll(2)) and its sockets do not block.

use std::{io, os::fd::AsFd, time::Duration};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{signal::SigSet, time::TimeSpec},
};

use crate::{
    admission::Gate,
    listener::Listener,
    sys::interrupt::{self, Attention},
};

/// The sockets that a worker waits at.
pub struct Watch<'a> {
    sockets: Vec<&'a Listener>,
    gate: &'a Gate,
    /// The gate's end, then the sockets.
    polled: Vec<PollFd<'a>>,
    /// Where the last one was found; the search goes on behind it, so that a busy socket does not starve the others.
    last: usize,
    /// An interrupt wakes whoever blocks in a call on the only socket.
    attention: Option<Attention<'a>>,
}

/// How long to wait, and for what else.
#[derive(Default)]
pub struct Patience {
    /// At most so long; `None` for ever.
    pub time: Option<Duration>,
    /// Signals that stay blocked while it waits; the others wake it. `None` leaves all as they are.
    pub blocked: Option<SigSet>,
}

/// What there is to do.
pub enum Ready<'a> {
    /// Take what waits at this socket. It may be gone by then, or the socket blocks until it comes.
    Socket(&'a Listener),
    /// Nothing yet: a signal arrived, or patience was at its end.
    Nothing,
    /// Nothing more.
    Closed,
}

impl<'a> Watch<'a> {
    /// Watches `sockets`. Who needs to be woken by signals cannot block in a call on a socket.
    pub fn new(sockets: Vec<&'a Listener>, gate: &'a Gate, by_signals: bool) -> io::Result<Watch<'a>> {
        let blocks = sockets.len() == 1 && !gate.counts_requests() && !by_signals;
        if !blocks {
            sockets.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
        }
        let attention = blocks.then(|| interrupt::attend(sockets[0].as_fd()));
        let mut polled = vec![PollFd::new(gate.closed(), PollFlags::POLLIN)];
        polled.extend(sockets.iter().map(|&s| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
        Ok(Watch { sockets, gate, polled, last: 0, attention })
    }

    /// Whether calls on the socket wait by themselves.
    pub fn blocks(&self) -> bool {
        self.attention.is_some()
    }

    /// Waits for one of the sockets.
    pub fn wait(&mut self, patience: &Patience) -> Ready<'a> {
        if self.blocks() {
            return Ready::Socket(self.sockets[0]);
        }
        if self.gate.is_exhausted() {
            return Ready::Closed;
        }
        match ppoll(&mut self.polled, patience.time.map(TimeSpec::from), patience.blocked) {
            Ok(0) | Err(Errno::EINTR) => return Ready::Nothing,
            // Only a lack of kernel memory is left (poll(2)): the sockets will tell.
            Err(_) => return Ready::Socket(self.sockets[0]),
            Ok(_) => {}
        }
        let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let count = self.sockets.len();
        let next = (1..=count).map(|step| (self.last + step) % count).find(|&i| ready(&self.polled[i + 1]));
        match next {
            // What came before the end is still served, but not more than `max-requests`.
            Some(i) if !self.gate.is_exhausted() => {
                self.last = i;
                Ready::Socket(self.sockets[i])
            }
            _ => Ready::Closed,
        }
    }
}

/// Waits for any signal, at most `time`; they are let through only here.
pub fn pause(time: Option<Duration>) {
    // Whatever ended it, the caller looks at everything anew.
    let _ = ppoll(&mut [], time.map(TimeSpec::from), Some(SigSet::empty()));
}
