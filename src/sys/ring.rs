//! io_uring(7): requests and completions in memory shared with the kernel. A [`Poller`] that also carries bytes.
//!
//! A connection is received from by one request that stays (multishot), into a buffer that the kernel picks from those
//! provided. The answer is made in that buffer and sent from it by a request that is submitted with the next wait, so a
//! message costs no system call of its own. Whatever is not as simple as that (a peer that sends much or reads slowly, a
//! service that talks, an end) goes by system calls on the same socket, when a poll request says that it is ready.
//!
//! Two things make that sound. The kernel works for this ring only inside of our own calls (`IORING_SETUP_DEFER_TASKRUN`),
//! so between two of them nothing is received behind our back, and a receive by system call cannot overtake what the
//! ring has received. And a send never waits (`MSG_DONTWAIT`): it has succeeded, fully or in part, or failed, when the
//! call that submitted it returns; only then, and not before, its buffer is used again.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    thread,
    time::Duration,
};

use socket2::Socket;

use self::{
    buffers::{Buffers, Piece},
    post::{Armed, FdState},
    queue::{Queue, Request, Wait},
    transport::RingTransport,
};
use super::{
    poller::{Interest, Poller, Readiness, passes},
    transport::Transport,
};

mod buffers;
mod completions;
mod post;
mod queue;
mod transport;

/// The rest before another try to submit.
const REST: Duration = Duration::from_millis(10);

/// An io_uring instance, to be used by the thread that made it.
pub struct Ring {
    queue: Queue,
    buffers: Buffers,
    /// What is watched, by the number of its descriptor.
    worker_states: Vec<FdState>,
    /// Who may need a new request before the next wait.
    unarmed: Vec<RawFd>,
    /// Who has something to be told of that no completion will tell.
    ready: Vec<RawFd>,
    /// What happened while completions were read ahead of a wait.
    happened: Vec<Readiness>,
    /// Answers on their way since the last submission.
    sends: Vec<Sending>,
    /// Counts submissions.
    round: u32,
}

/// An answer that was not submitted yet, or whose fate is not known yet.
struct Sending {
    fd: RawFd,
    generation: u32,
    piece: Piece,
}

impl Ring {
    /// A new one.
    ///
    /// # Errors
    /// ENOSYS, EINVAL (a kernel before 6.1) or EPERM (denied by `kernel.io_uring_disabled` or a sandbox), or ENOMEM.
    pub fn new() -> io::Result<Ring> {
        let queue = Queue::new()?;
        let buffers = Buffers::new(&queue)?;
        Ok(Ring {
            queue,
            buffers,
            worker_states: Vec::new(),
            unarmed: Vec::new(),
            ready: Vec::new(),
            happened: Vec::new(),
            sends: Vec::new(),
            round: 0,
        })
    }

    fn post(&mut self, fd: RawFd) -> &mut FdState {
        let at = fd as usize;
        if self.worker_states.len() <= at {
            self.worker_states.resize_with(at + 1, FdState::default);
        }
        &mut self.worker_states[at]
    }

    fn listener_set(&mut self, fd: RawFd, key: u64, interest: Interest, carries: bool) {
        self.post(fd).move_in(key, interest, carries);
        self.arm_later(fd);
    }

    /// Sees to it that a request tells of what is waited for, before the next wait.
    fn arm_later(&mut self, fd: RawFd) {
        let post = &mut self.worker_states[fd as usize];
        if !post.listed {
            post.listed = true;
            self.unarmed.push(fd);
        }
    }

    /// Sees to it that what is there already is told with the next wait.
    fn tell_later(&mut self, fd: RawFd) {
        let post = &mut self.worker_states[fd as usize];
        if post.has_news() && !post.told {
            post.told = true;
            self.ready.push(fd);
        }
    }

    /// Sees to it that one more request can be made.
    fn make_room(&mut self) -> io::Result<()> {
        match self.queue.is_full() {
            true => self.insist(Wait::Not),
            false => Ok(()),
        }
    }

    /// Puts the request in place that tells of what is waited for.
    fn arm(&mut self, fd: RawFd) -> io::Result<()> {
        let post = &mut self.worker_states[fd as usize];
        post.listed = false;
        let wanted = post.wanted();
        if wanted == post.armed {
            return Ok(());
        }
        self.disarm(fd)?;
        if wanted != Armed::No {
            self.make_room()?;
            let post = &mut self.worker_states[fd as usize];
            (post.armed, post.touched) = (wanted, self.round);
            self.queue.push(&Request::arm(wanted, fd, post.generation));
        }
        Ok(())
    }

    fn disarm(&mut self, fd: RawFd) -> io::Result<()> {
        self.make_room()?;
        let post = &mut self.worker_states[fd as usize];
        match std::mem::replace(&mut post.armed, Armed::No) {
            Armed::No => {}
            armed => self.queue.push(&Request::cancel(armed, fd, post.generation)),
        }
        Ok(())
    }

    /// Submits all requests, and waits for completions; reads all that there are.
    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let mut entered = self.queue.enter(wait);
        self.read_completions();
        while !self.queue.is_submitted() {
            // The kernel wanted completions to be read first, or a signal came.
            if let Err(error) = entered
                && !matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EINTR))
            {
                return Err(error);
            }
            entered = self.queue.enter(Wait::Not);
            self.read_completions();
        }
        self.round = self.round.wrapping_add(1);
        self.settle_sends();
        entered
    }

    /// As [`Ring::enter`], again and again while the kernel is short of memory: what follows must not come first.
    fn insist(&mut self, wait: Wait) -> io::Result<()> {
        loop {
            match self.enter(wait) {
                Err(error) if passes(&error) => thread::sleep(REST),
                entered => return entered,
            }
        }
    }

    fn leave(&mut self, fd: RawFd) -> io::Result<()> {
        if self.worker_states.get(fd as usize).is_none_or(|post| !post.taken) {
            return Ok(());
        }
        if self.worker_states[fd as usize].touched == self.round {
            // A request that was not submitted yet would be about whoever gets the number next.
            self.insist(Wait::Not)?;
        }
        self.disarm(fd)?;
        self.worker_states[fd as usize].move_out(&mut self.buffers);
        Ok(())
    }
}

impl Poller for Ring {
    fn add(&mut self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        self.listener_set(fd.as_raw_fd(), key, interest, false);
        Ok(())
    }

    fn add_transport(&mut self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        self.listener_set(fd.as_raw_fd(), key, Interest::Read, true);
        Ok(())
    }

    fn modify(&mut self, fd: BorrowedFd<'_>, _: u64, interest: Interest) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        let post = &mut self.worker_states[fd as usize];
        (post.interest, post.carry) = (interest, false);
        post.set_aside_if_waiting(&mut self.buffers);
        self.arm_later(fd);
        self.tell_later(fd);
        Ok(())
    }

    fn remove(&mut self, fd: BorrowedFd<'_>) {
        // The request holds on to the socket until its end was seen: a listening one would go on to take clients in.
        let _ = self.leave(fd.as_raw_fd()).and_then(|()| self.insist(Wait::Look));
    }

    fn forget(&mut self, fd: BorrowedFd<'_>) {
        // An error would come again with the next wait.
        let _ = self.leave(fd.as_raw_fd());
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
            _ if !self.ready.is_empty() || !self.happened.is_empty() => Wait::Look,
            Some(Duration::ZERO) => Wait::Look,
            Some(time) => Wait::AtMost(time),
            None => Wait::Long,
        };
        let entered = self.enter(wait);
        self.tell(events);
        match entered {
            Err(error) if events.is_empty() => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Before the buffers are unmapped: no request may be left that would write to them.
        if !self.queue.cancel_all() {
            self.buffers.leak();
        }
    }
}
