//! The wait on the listening sockets of one worker.
//!
//! A worker with one socket blocks in accept(2) or recvmmsg(2) itself, and saves the system call that waits. With
//! several sockets, or where requests are counted, it waits in ppoll(2), and the sockets are non-blocking.

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
    sys::{alarm::Alarm, interrupt, worker_state::WorkerState},
};

pub use crate::serve::linger::{LingerList, MOST as MOST_LINGER};

/// A worker that stops still serves what has arrived, but no longer than this: while clients keep coming there is no
/// last one.
pub const BACKLOG_DRAIN_TIME: Duration = Duration::from_millis(30);

/// Back-off after a wait that failed for lack of kernel memory.
const REST: Duration = Duration::from_millis(10);

/// Up to so many descriptors are polled from the stack.
const FEW: usize = 8;

/// The listening sockets of one worker.
pub struct ListenerSet<'a> {
    sockets: Vec<&'a Listener>,
    slots: &'a ConnectionSlots,
    worker: &'a WorkerState<'a>,
    /// Readable when the listener closes; then the sockets.
    polled: Vec<PollFd<'a>>,
    /// The deadline for what arrived before the stop.
    end: Option<Instant>,
    /// The socket found last. The next search begins behind it, so that a busy socket does not starve the others.
    last: usize,
    /// Refused clients that are still to read their message.
    lingering: LingerList,
    /// Whether system calls on the only socket block.
    blocks: bool,
    /// When a call that blocks is to come back, because lines of the log wait to be written.
    log: Option<Instant>,
}

/// How long to wait, and with which signals.
#[derive(Default)]
pub struct WaitOptions {
    /// The time-out; `None` waits for ever.
    pub time: Option<Duration>,
    /// The signal mask while waiting: other signals wake the worker. `None` leaves the mask unchanged.
    pub blocked: Option<SigSet>,
}

/// The result of a wait.
pub enum Ready<'a> {
    /// Accept or receive here. What was ready may be gone by then, or the socket may block until something arrives.
    Socket(&'a Listener),
    /// Nothing yet: a signal arrived, or the time-out is over.
    Nothing,
    /// The listener is closed.
    Closed,
}

impl<'a> ListenerSet<'a> {
    /// Waits on `sockets`. A worker that must be woken by signals, or that has refused clients to look after, `polls`:
    /// it never blocks in a call on a socket.
    pub fn new(
        sockets: Vec<&'a Listener>,
        slots: &'a ConnectionSlots,
        worker: &'a WorkerState<'a>,
        polls: bool,
    ) -> io::Result<ListenerSet<'a>> {
        let blocks = sockets.len() == 1 && !slots.counts_requests() && !polls;
        // All generations and processes with this socket share O_NONBLOCK (it belongs to the open file description), so
        // only the generation that serves it may set it: otherwise an event loop of the previous generation would block
        // in accept(2).
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
            log: None,
        })
    }

    /// The sockets of the set.
    pub fn sockets(&self) -> impl Iterator<Item = &'a Listener> + Clone {
        self.sockets.iter().copied()
    }

    /// Call when something has arrived: until the next wait this worker does not wait for clients.
    pub fn leave(&self) {
        self.worker.end_wait();
    }

    /// Keeps a refused client until it has read its message; closes it if there are too many. Only for sets that poll.
    pub fn linger(&mut self, socket: Socket) {
        if !self.blocks() {
            self.lingering.add(socket);
        }
    }

    /// The refused clients that have not read their message yet.
    pub fn lingering(self) -> LingerList {
        self.lingering
    }

    /// Whether calls on the socket block.
    pub fn blocks(&self) -> bool {
        self.blocks
    }

    /// Makes a `call` on a ready socket; where it blocks, an interrupt wakes it, or the log that has lines to write.
    pub fn call<T>(&self, call: impl FnOnce() -> T) -> T {
        if !self.blocks {
            return call();
        }
        let _alarm = self.log.map(|due| Alarm::set(time_to(due)));
        interrupt::with_fd_guard(self.sockets[0].as_fd(), call)
    }

    /// Whether a blocking socket has become non-blocking because this worker is to stop.
    ///
    /// If another process that shares the socket was meant, the socket blocks again from now on.
    pub fn is_asked_to_stop(&self) -> bool {
        if !self.blocks() || interrupt::is_interrupted() || self.slots.is_closed_for_all() {
            return self.blocks();
        }
        // If this fails, the next call reports why.
        let _ = self.sockets[0].set_nonblocking(false);
        false
    }

    /// Whether the time for what arrived before the stop is over.
    fn is_over(&mut self, closed: bool) -> bool {
        if !closed {
            return false;
        }
        let end = *self.end.get_or_insert_with(|| Instant::now() + BACKLOG_DRAIN_TIME);
        end <= Instant::now()
    }

    /// Waits until one of the sockets is ready.
    pub fn wait(&mut self, options: &WaitOptions) -> Ready<'a> {
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
            self.log = log.and_then(|_| {
                logging::catch_up();
                logging::due_in_worker()
            });
            return Ready::Socket(self.sockets[0]);
        }
        if self.slots.is_exhausted() {
            return Ready::Closed;
        }
        let (lingers, log) = (self.lingering.due().map(time_to), log.map(time_to));
        let time = options.time.into_iter().chain(lingers).chain(log).min().map(TimeSpec::from);
        let found = match lingers {
            None => self.poll(time, options.blocked),
            Some(_) => self.poll_with_lingering(time, options.blocked),
        };
        if log.is_some() {
            logging::catch_up();
        }
        let (closed, next) = match found {
            Ok((false, None)) | Err(Errno::EINTR) => return Ready::Nothing,
            // Only ENOMEM is left, poll(2): after the back-off, try the sockets one after the other.
            Err(_) => {
                thread::sleep(REST);
                self.last = (self.last + 1) % self.sockets.len();
                return Ready::Socket(self.sockets[self.last]);
            }
            Ok(ready) => ready,
        };
        if closed && self.slots.is_handed_over() {
            // Stale event: the socket already belongs to the next generation.
            self.worker.end_wait();
            return Ready::Closed;
        }
        if self.is_over(closed) {
            return Ready::Closed;
        }
        match next {
            // What arrived before the stop is still served, but not beyond `max-requests`.
            Some(i) if !self.slots.is_exhausted() => {
                self.last = i;
                Ready::Socket(self.sockets[i])
            }
            _ => Ready::Closed,
        }
    }

    /// Polls once; returns whether the listener is closed, and a socket that is ready.
    fn poll(
        &mut self,
        time: Option<TimeSpec>,
        blocked: Option<SigSet>,
    ) -> nix::Result<(bool, Option<usize>)> {
        // A copy on the stack, if it is short: in a process that forks, writing to any other page costs a copy
        // (copy-on-write).
        let mut few: [_; FEW] =
            std::array::from_fn(|i| self.polled.get(i).unwrap_or(&self.polled[0]).clone());
        let polled = match few.get_mut(..self.polled.len()) {
            Some(few) => few,
            None => &mut self.polled[..],
        };
        ppoll(polled, time, blocked)?;
        Ok(first_ready(polled, self.last))
    }

    /// As [`ListenerSet::poll`], while refused clients linger.
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
        let result = ppoll(&mut polled, time, blocked);
        let (own, lingering) = polled.split_at(self.polled.len());
        let ready = result.map(|_| first_ready(own, self.last));
        let is_ready = |fd: &PollFd<'_>| result.is_ok() && fd.any().unwrap_or(true);
        let ready_clients = lingering.iter().zip(self.lingering.sockets()).filter(|(fd, _)| is_ready(fd));
        let numbers: Vec<u32> = ready_clients.map(|(_, (number, _))| number).collect();
        numbers.into_iter().for_each(|number| _ = self.lingering.read(number));
        while self.lingering.expire().is_some() {}
        ready
    }
}

fn time_to(due: Instant) -> Duration {
    due.saturating_duration_since(Instant::now())
}

/// Whether the first descriptor is ready, and which of the others, searched from the one behind `last`.
fn first_ready(polled: &[PollFd<'_>], last: usize) -> (bool, Option<usize>) {
    let closed = polled[0].any().unwrap_or(false);
    let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
    let count = polled.len() - 1;
    (closed, (1..=count).map(|step| (last + step) % count).find(|&i| ready(&polled[i + 1])))
}

/// Waits for a signal as `options` say, or until `event` is readable.
pub fn pause(options: &WaitOptions, event: Option<BorrowedFd<'_>>) {
    let mut polled = event.map(|event| [PollFd::new(event, PollFlags::POLLIN)]);
    let polled = polled.as_mut().map_or(&mut [][..], |polled| &mut polled[..]);
    // Whatever ended the wait, the caller checks everything anew.
    if ppoll(polled, options.time.map(TimeSpec::from), options.blocked).is_err_and(|e| e != Errno::EINTR) {
        thread::sleep(REST);
    }
}
