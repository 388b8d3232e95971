//! Which of a worker's sockets to look at next.
//!
//! A worker with one socket needs no answer: it blocks in accept(2) or recvmmsg(2) itself, without a system call to ask
//! first. With several, or where requests are counted, it polls (ppoll(2)) and its sockets do not block.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{signal::SigSet, time::TimeSpec},
};

use socket2::Socket;

use crate::{
    access::slots::ConnectionSlots,
    report::logging,
    socket::listener::Listener,
    sys::{interrupt, worker_state::WorkerState},
};

pub use crate::serve::linger::{LingerList, MOST as MOST_LINGER};

/// Who stops serves what has arrived already, but not for longer than this: where clients keep coming there is no last one.
pub const BACKLOG_DRAIN_TIME: Duration = Duration::from_millis(30);

/// The rest after a wait that failed for want of kernel memory.
const REST: Duration = Duration::from_millis(10);

/// So many descriptors are polled on the stack.
const FEW: usize = 8;

/// The sockets that a worker waits at.
pub struct ListenerSet<'a> {
    sockets: Vec<&'a Listener>,
    slots: &'a ConnectionSlots,
    worker: &'a WorkerState<'a>,
    /// The gate's end, then the sockets.
    polled: Vec<PollFd<'a>>,
    /// When what arrived before the end has had its time.
    end: Option<Instant>,
    /// Where the last one was found; the search goes on behind it, so that a busy socket does not starve the others.
    last: usize,
    /// Those who were refused, and read why.
    lingering: LingerList,
    /// Whether calls on the only socket wait by themselves.
    blocks: bool,
}

/// How long to wait, and for what else.
#[derive(Default)]
pub struct WaitOptions {
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

impl<'a> ListenerSet<'a> {
    /// Watches `sockets`. Who needs to be woken by signals, or has refused clients to look after, `polls` and does not block in a
    /// call on a socket.
    pub fn new(
        sockets: Vec<&'a Listener>,
        slots: &'a ConnectionSlots,
        worker: &'a WorkerState<'a>,
        polls: bool,
    ) -> io::Result<ListenerSet<'a>> {
        let blocks = sockets.len() == 1 && !slots.counts_requests() && !polls;
        // All generations and processes that share a socket share this: only the one that serves it may say so. An event loop of
        // the generation before would wait for a single client.
        sockets.iter().try_for_each(|socket| socket.set_nonblocking(!blocks))?;
        let mut polled = vec![PollFd::new(slots.closed(), PollFlags::POLLIN)];
        polled.extend(sockets.iter().map(|&s| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
        Ok(ListenerSet {
            sockets,
            slots,
            worker,
            polled,
            end: None,
            last: 0,
            lingering: LingerList::default(),
            blocks,
        })
    }

    /// The sockets that are watched.
    pub fn sockets(&self) -> impl Iterator<Item = &'a Listener> + Clone {
        self.sockets.iter().copied()
    }

    /// To be called when somebody came: until the next wait nobody is waited for here.
    pub fn leave(&self) {
        self.worker.end_wait();
    }

    /// Takes in a client that was refused, until it has read why; closes it if there are too many. Only for who polls.
    pub fn linger(&mut self, socket: Socket) {
        if !self.blocks() {
            self.lingering.add(socket);
        }
    }

    /// The refused clients that have not read why yet.
    pub fn lingering(self) -> LingerList {
        self.lingering
    }

    /// Whether calls on the socket wait by themselves.
    pub fn blocks(&self) -> bool {
        self.blocks
    }

    /// Makes a `call` on a socket that is ready; an interrupt wakes it where it blocks.
    pub fn call<T>(&self, call: impl FnOnce() -> T) -> T {
        match self.blocks {
            true => interrupt::with_fd_guard(self.sockets[0].as_fd(), call),
            false => call(),
        }
    }

    /// Whether a socket that blocked does not any more because this worker is to stop.
    ///
    /// If it was meant for another process that shares the socket, it blocks again from now on.
    pub fn is_asked_to_stop(&self) -> bool {
        if !self.blocks() || interrupt::is_interrupted() || self.slots.is_closed_for_all() {
            return self.blocks();
        }
        // If that fails, the next call will tell why.
        let _ = self.sockets[0].set_nonblocking(false);
        false
    }

    /// Whether enough time was given to what arrived before the end.
    fn is_over(&mut self, closed: bool) -> bool {
        if !closed {
            return false;
        }
        let end = *self.end.get_or_insert_with(|| Instant::now() + BACKLOG_DRAIN_TIME);
        end <= Instant::now()
    }

    /// Waits for one of the sockets.
    pub fn wait(&mut self, patience: &WaitOptions) -> Ready<'a> {
        self.worker.begin_wait();
        if self.slots.is_handed_over() {
            self.worker.end_wait();
            return Ready::Closed;
        }
        let log = logging::due_in_worker();
        if self.blocks() {
            if self.is_over(interrupt::is_interrupted()) {
                return Ready::Closed;
            }
            if log.is_none() {
                return Ready::Socket(self.sockets[0]);
            }
        }
        if self.slots.is_exhausted() {
            return Ready::Closed;
        }
        let left = |due: Instant| due.saturating_duration_since(Instant::now());
        let (lingers, log) = (self.lingering.due().map(left), log.map(left));
        let time = patience.time.into_iter().chain(lingers).chain(log).min().map(TimeSpec::from);
        let found = match lingers {
            None => self.poll(time, patience.blocked),
            Some(_) => self.poll_with_lingering(time, patience.blocked),
        };
        if log.is_some() {
            logging::catch_up();
        }
        let (closed, next) = match found {
            Ok((false, None)) | Err(Errno::EINTR) => return Ready::Nothing,
            // Only a lack of kernel memory is left (poll(2)): after a rest the sockets will tell, one after the other.
            Err(_) => {
                thread::sleep(REST);
                self.last = (self.last + 1) % self.sockets.len();
                return Ready::Socket(self.sockets[self.last]);
            }
            Ok(told) => told,
        };
        if closed && self.slots.is_handed_over() {
            // Who came at the same moment is not ours any more.
            self.worker.end_wait();
            return Ready::Closed;
        }
        if self.is_over(closed) {
            return Ready::Closed;
        }
        match next {
            // What came before the end is still served, but not more than `max-requests`.
            Some(i) if !self.slots.is_exhausted() => {
                self.last = i;
                Ready::Socket(self.sockets[i])
            }
            _ => Ready::Closed,
        }
    }

    /// Polls once: whether the gate is closed, and a socket that is ready.
    fn poll(
        &mut self,
        time: Option<TimeSpec>,
        blocked: Option<SigSet>,
    ) -> nix::Result<(bool, Option<usize>)> {
        // A copy on the stack, if it is short: in a process that forks, every other page that is written to must be copied.
        let mut few: [_; FEW] =
            std::array::from_fn(|i| self.polled.get(i).unwrap_or(&self.polled[0]).clone());
        let polled = match few.get_mut(..self.polled.len()) {
            Some(few) => few,
            None => &mut self.polled[..],
        };
        ppoll(polled, time, blocked)?;
        Ok(first_ready(polled, self.last))
    }

    /// As [`ListenerSet::poll`], while refused clients read why.
    fn poll_with_lingering(
        &mut self,
        time: Option<TimeSpec>,
        blocked: Option<SigSet>,
    ) -> nix::Result<(bool, Option<usize>)> {
        let mut polled: Vec<PollFd<'_>> = Vec::with_capacity(self.polled.len() + MOST_LINGER);
        for fd in &self.polled {
            polled.push(fd.clone());
        }
        polled.extend(self.lingering.sockets().map(|(_, fd)| PollFd::new(fd, PollFlags::POLLIN)));
        let happened = ppoll(&mut polled, time, blocked);
        let (own, lingering) = polled.split_at(self.polled.len());
        let told = happened.map(|_| first_ready(own, self.last));
        let has_come = |fd: &PollFd<'_>| happened.is_ok() && fd.any().unwrap_or(true);
        let come = lingering.iter().zip(self.lingering.sockets()).filter(|(fd, _)| has_come(fd));
        let come: Vec<u32> = come.map(|(_, (number, _))| number).collect();
        come.into_iter().for_each(|number| _ = self.lingering.read(number));
        while self.lingering.expire().is_some() {}
        told
    }
}

/// Whether the first of these is ready, and which of the others, from the one behind `last` on.
fn first_ready(polled: &[PollFd<'_>], last: usize) -> (bool, Option<usize>) {
    let closed = polled[0].any().unwrap_or(false);
    let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
    let count = polled.len() - 1;
    (closed, (1..=count).map(|step| (last + step) % count).find(|&i| ready(&polled[i + 1])))
}

/// Waits for a signal as `patience` says, or until `event` is readable.
pub fn pause(patience: &WaitOptions, event: Option<BorrowedFd<'_>>) {
    let mut polled = event.map(|event| [PollFd::new(event, PollFlags::POLLIN)]);
    let polled = polled.as_mut().map_or(&mut [][..], |polled| &mut polled[..]);
    // Whatever ended it, the caller looks at everything anew.
    if ppoll(polled, patience.time.map(TimeSpec::from), patience.blocked).is_err_and(|e| e != Errno::EINTR) {
        thread::sleep(REST);
    }
}
