//! io_uring(7): requests and completions in memory shared with the kernel. A [`Poller`] that also carries bytes.
//!
//! One multishot request receives from a connection, each time into a provided buffer that the kernel selects. The answer is made
//! in that buffer and sent from it by a request that the next wait submits, so a message costs no system call of its own.
//! Everything else (a peer that sends much or reads slowly, a streaming service, a close) goes through system calls on the same
//! socket, when a poll request reports it ready.
//!
//! Two properties keep the bytes in order. First, the kernel works for this ring only within its own system calls
//! (`IORING_SETUP_DEFER_TASKRUN`), so nothing is received between two of them, and a recv(2) cannot overtake what the ring has
//! received. Second, a send never waits (`MSG_DONTWAIT`): when the call that submitted it returns, it has succeeded, in full or
//! in part, or failed. Its buffer is reused only then.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    thread,
    time::Duration,
};

use socket2::Socket;

use self::{
    buffers::{Buffers, Piece},
    fd_state::FdState,
    queue::{Armed, Queue, RingRequest, Wait},
    transport::RingTransport,
};
use super::{
    poller::{Interest, Poller, Readiness, passes},
    transport::Transport,
};

mod buffers;
mod completions;
mod fd_state;
mod queue;
mod transport;

/// The pause before the next attempt to submit.
const PAUSE: Duration = Duration::from_millis(10);

/// An io_uring instance. Only the thread that created it may use it.
pub struct Ring {
    queue: Queue,
    buffers: Buffers,
    /// The state of each watched descriptor, by its number.
    states: Vec<FdState>,
    /// Descriptors that may need a new request before the next wait.
    unarmed: Vec<RawFd>,
    /// Descriptors whose input no completion will report.
    ready: Vec<RawFd>,
    /// Events from completions that were read outside of a wait.
    events: Vec<Readiness>,
    /// The answers pushed since the last submission.
    sends: Vec<Sending>,
    /// The number of submissions.
    round: u32,
}

/// An answer that is not submitted yet, or whose result is not known yet.
struct Sending {
    fd: RawFd,
    generation: u32,
    piece: Piece,
}

impl Ring {
    /// A new io_uring instance.
    ///
    /// # Errors
    /// ENOSYS, EINVAL (a kernel before 6.1), EPERM (denied by `kernel.io_uring_disabled` or a sandbox), or ENOMEM.
    pub fn new() -> io::Result<Ring> {
        let queue = Queue::new()?;
        let buffers = Buffers::new(&queue)?;
        Ok(Ring {
            queue,
            buffers,
            states: Vec::new(),
            unarmed: Vec::new(),
            ready: Vec::new(),
            events: Vec::new(),
            sends: Vec::new(),
            round: 0,
        })
    }

    fn state(&mut self, fd: RawFd) -> &mut FdState {
        let at = fd as usize;
        if self.states.len() <= at {
            self.states.resize_with(at + 1, FdState::default);
        }
        &mut self.states[at]
    }

    fn watch(&mut self, fd: RawFd, key: u64, interest: Interest, carries: bool) {
        self.state(fd).start(key, interest, carries);
        self.arm_later(fd);
    }

    /// Has the right request for `fd` armed before the next wait.
    fn arm_later(&mut self, fd: RawFd) {
        let state = &mut self.states[fd as usize];
        if !state.in_unarmed {
            state.in_unarmed = true;
            self.unarmed.push(fd);
        }
    }

    /// Has the next wait report input that has been received already.
    fn report_later(&mut self, fd: RawFd) {
        let state = &mut self.states[fd as usize];
        if state.has_input() && !state.in_ready {
            state.in_ready = true;
            self.ready.push(fd);
        }
    }

    /// Makes room for one more request, by submitting if need be.
    fn make_room(&mut self) -> io::Result<()> {
        match self.queue.is_full() {
            true => self.insist(Wait::Not),
            false => Ok(()),
        }
    }

    /// Arms the request for what the owner of `fd` waits for, in place of another one.
    fn arm(&mut self, fd: RawFd) -> io::Result<()> {
        let state = &mut self.states[fd as usize];
        state.in_unarmed = false;
        let wanted = state.wanted();
        if wanted == state.armed {
            return Ok(());
        }
        self.disarm(fd)?;
        if wanted != Armed::No {
            self.make_room()?;
            let state = &mut self.states[fd as usize];
            (state.armed, state.submitted_in) = (wanted, self.round);
            self.queue.push(&RingRequest::arm(wanted, fd, state.generation));
        }
        Ok(())
    }

    fn disarm(&mut self, fd: RawFd) -> io::Result<()> {
        self.make_room()?;
        let state = &mut self.states[fd as usize];
        match std::mem::replace(&mut state.armed, Armed::No) {
            Armed::No => {}
            armed => self.queue.push(&RingRequest::cancel(armed, fd, state.generation)),
        }
        Ok(())
    }

    /// Submits all requests, waits, and reads all completions.
    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let mut entered = self.queue.enter(wait);
        self.read_completions();
        while !self.queue.is_submitted() {
            // EBUSY: the kernel wants completions to be read first. EINTR: a signal arrived.
            if let Err(error) = entered
                && !matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EINTR))
            {
                return Err(error);
            }
            entered = self.queue.enter(Wait::Not);
            self.read_completions();
        }
        self.round = self.round.wrapping_add(1);
        self.complete_sends();
        entered
    }

    /// Like [`Ring::enter`], but retries while the kernel is short of memory: no later request may overtake these.
    fn insist(&mut self, wait: Wait) -> io::Result<()> {
        loop {
            match self.enter(wait) {
                Err(error) if passes(&error) => thread::sleep(PAUSE),
                entered => return entered,
            }
        }
    }

    fn unwatch(&mut self, fd: RawFd) -> io::Result<()> {
        if self.states.get(fd as usize).is_none_or(|state| !state.is_watched) {
            return Ok(());
        }
        if self.states[fd as usize].submitted_in == self.round {
            // A request that is submitted after the descriptor was closed would concern its next owner.
            self.insist(Wait::Not)?;
        }
        self.disarm(fd)?;
        self.states[fd as usize].reset(&mut self.buffers);
        Ok(())
    }
}

impl Poller for Ring {
    fn add(&mut self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        self.watch(fd.as_raw_fd(), key, interest, false);
        Ok(())
    }

    fn add_transport(&mut self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        self.watch(fd.as_raw_fd(), key, Interest::Read, true);
        Ok(())
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, _: u64, interest: Interest) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        let state = &mut self.states[fd as usize];
        (state.interest, state.carry) = (interest, false);
        state.copy_out_if_waiting(&mut self.buffers);
        self.arm_later(fd);
        self.report_later(fd);
        Ok(())
    }

    fn remove(&mut self, fd: BorrowedFd<'_>) {
        // The request holds a reference to the socket until its completion is read; a listening socket would still accept
        // clients.
        let _ = self.unwatch(fd.as_raw_fd()).and_then(|()| self.insist(Wait::Look));
    }

    fn forget(&mut self, fd: BorrowedFd<'_>) {
        // The next wait meets an error again.
        let _ = self.unwatch(fd.as_raw_fd());
    }

    fn transport<'a>(&'a mut self, socket: &'a Socket, scratch: &'a mut [u8]) -> impl Transport + 'a {
        RingTransport::new(self, socket, scratch)
    }

    fn wait(&mut self, events: &mut Vec<Readiness>, time: Option<Duration>) -> io::Result<()> {
        events.clear();
        while let Some(fd) = self.unarmed.pop() {
            if let Err(error) = self.arm(fd) {
                self.arm_later(fd);
                return Err(error);
            }
        }
        let wait = match time {
            _ if !self.ready.is_empty() || !self.events.is_empty() => Wait::Look,
            Some(Duration::ZERO) => Wait::Look,
            Some(time) => Wait::AtMost(time),
            None => Wait::Long,
        };
        let entered = self.enter(wait);
        self.report(events);
        match entered {
            Err(error) if events.is_empty() => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Before the buffers are unmapped, no request may be left that would write to them.
        if !self.queue.cancel_all() {
            self.buffers.leak();
        }
    }
}
