//! The submission queue and the completion queue.

#![allow(unsafe_code)]

use std::{io, os::fd::RawFd, time::Duration};

use io_uring::{
    IoUring, cqueue, opcode, squeue,
    squeue::Flags,
    types::{CancelBuilder, Fd, SubmitArgs, Timespec},
};

use crate::sys::shared::Mapping;

/// Requests per submission, at most.
const REQUESTS: u32 = 1024;

/// Size of the completion queue. The kernel keeps an overflow elsewhere, at a cost.
const COMPLETIONS: u32 = 8192;

/// Attempts to cancel all requests, and the pause after one that fails.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// The group id of the provided buffers.
const GROUP: u16 = 0;

// The kind of a completion, in the highest byte of its user data.
const RECEIVE: u64 = 1 << 56;
const POLL: u64 = 2 << 56;
const SEND: u64 = 3 << 56;

/// Both queues of an io_uring instance.
pub(super) struct Queue {
    ring: IoUring,
    /// Receive requests whose last completion was not read: the kernel may write to the provided buffers for them.
    receiving: usize,
}

/// How long to wait for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Only submit.
    Not,
    /// Only fetch the completions that are there.
    Look,
    /// At most this long.
    AtMost(Duration),
    /// Until there is one.
    Long,
}

/// A submission queue entry.
pub(super) struct RingRequest(squeue::Entry);

/// The request in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Armed {
    /// None.
    #[default]
    No,
    /// A multishot receive.
    Receive,
    /// A poll for input.
    PollIn,
    /// A poll for a connection to accept, exclusive among the rings that share the socket.
    PollAccept,
    /// A poll for room in the send buffer.
    PollOut,
}

/// A completion, decoded.
pub(super) enum Completion {
    /// Bytes, or the end of input, have arrived. With `more`, the request stays in flight. With `left`, there may be data left in
    /// the socket, which the same request receives next.
    Received { fd: RawFd, generation: u32, result: i32, buffer: Option<u16>, more: bool, left: bool },
    /// A poll request reports events. With `more`, it stays in flight.
    Polled { fd: RawFd, generation: u32, result: i32, more: bool },
    /// A send has failed or stopped short.
    Unsent { number: u32, result: i32 },
    /// A completion that needs no action.
    Other,
}

impl RingRequest {
    /// The request for `armed`.
    pub(super) fn arm(armed: Armed, fd: RawFd, generation: u32) -> RingRequest {
        let poll = |events: i32| opcode::PollAdd::new(Fd(fd), events as u32);
        let entry = match armed {
            Armed::Receive => opcode::RecvMulti::new(Fd(fd), GROUP).build(),
            Armed::PollIn | Armed::No => poll(libc::EPOLLIN).build(),
            Armed::PollAccept => poll(libc::EPOLLIN | libc::EPOLLEXCLUSIVE).build(),
            // Multishot, so that it reports changes. A single-shot poll would report a half-closed peer again each time it is
            // armed: io_uring adds `EPOLLRDHUP` to every poll.
            Armed::PollOut => poll(libc::EPOLLOUT).multi(true).build(),
        };
        RingRequest(entry.user_data(user_data(armed, fd, generation)))
    }

    /// Cancels the request of [`RingRequest::arm`].
    pub(super) fn cancel(armed: Armed, fd: RawFd, generation: u32) -> RingRequest {
        let which = CancelBuilder::user_data(user_data(armed, fd, generation)).all();
        RingRequest(opcode::AsyncCancel2::new(which).build().flags(Flags::SKIP_SUCCESS))
    }

    /// Sends all of `bytes` without waiting. Only a failure or a short send brings a completion, with this `number`.
    pub(super) fn send(fd: RawFd, bytes: &[u8], number: u32) -> RingRequest {
        let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let entry = opcode::Send::new(Fd(fd), bytes.as_ptr(), bytes.len() as u32).flags(flags).build();
        RingRequest(entry.flags(Flags::SKIP_SUCCESS).user_data(SEND | u64::from(number)))
    }
}

fn user_data(armed: Armed, fd: RawFd, generation: u32) -> u64 {
    let kind = if armed == Armed::Receive { RECEIVE } else { POLL };
    kind | u64::from(generation) << 32 | u64::from(fd as u32)
}

impl Queue {
    pub(super) fn new() -> io::Result<Queue> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .dontfork()
            .build(REQUESTS)?;
        Ok(Queue { ring, receiving: 0 })
    }

    /// Registers a provided buffer ring.
    pub(super) fn provide(&self, entries: &Mapping, count: u16) -> io::Result<()> {
        // SAFETY: the mapping holds `count` entries. Its owner keeps it until this queue is closed: the fields of `Ring` are
        // dropped in that order.
        unsafe {
            self.ring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, count, GROUP, 0)
        }
    }

    /// Whether the requests must be submitted before another one can be pushed.
    pub(super) fn is_full(&mut self) -> bool {
        self.ring.submission().is_full()
    }

    /// Appends a request; the queue must not be full.
    pub(super) fn push(&mut self, request: &RingRequest) {
        // SAFETY: a receive writes only to provided buffers, which live until its last completion was read (`cancel_all`). A send
        // reads a buffer that has no other use before it is submitted, and is over by then (MSG_DONTWAIT). The other requests
        // point at no memory.
        let pushed = unsafe { self.ring.submission().push(&request.0) };
        assert!(pushed.is_ok(), "there is room");
        if request.0.get_user_data() >> 56 == RECEIVE >> 56 {
            self.receiving += 1;
        }
    }

    /// Whether the kernel has consumed all requests.
    pub(super) fn is_submitted(&mut self) -> bool {
        self.ring.submission().is_empty()
    }

    /// Submits all requests, and waits.
    ///
    /// # Errors
    /// EINTR among others. The end of the time-out is none.
    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let submitter = self.ring.submitter();
        let entered = match wait {
            Wait::Not => submitter.submit(),
            Wait::Look => self.look(),
            Wait::Long => submitter.submit_and_wait(1),
            Wait::AtMost(time) => {
                let time = Timespec::from(time.max(Duration::from_nanos(1)));
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
        };
        match entered {
            Err(error) if error.raw_os_error() != Some(libc::ETIME) => Err(error),
            _ => Ok(()),
        }
    }

    fn look(&mut self) -> io::Result<usize> {
        let count = self.ring.submission().len() as u32;
        let flags = io_uring::EnterFlags::GETEVENTS.bits();
        // SAFETY: no argument points at memory. The requests are sound, see `push`.
        unsafe { self.ring.submitter().enter::<libc::sigset_t>(count, 0, flags, None) }
    }

    /// The next completion.
    pub(super) fn pop(&mut self) -> Option<Completion> {
        let entry = self.ring.completion().next()?;
        let (data, result) = (entry.user_data(), entry.result());
        let (fd, generation) = (data as u32 as RawFd, (data >> 32) as u32 & 0xff_ffff);
        let more = cqueue::more(entry.flags());
        Some(match data >> 56 << 56 {
            RECEIVE => {
                self.receiving -= usize::from(!more);
                Completion::Received {
                    fd,
                    generation,
                    result,
                    buffer: cqueue::buffer_select(entry.flags()),
                    more,
                    left: cqueue::sock_nonempty(entry.flags()),
                }
            }
            POLL => Completion::Polled { fd, generation, result, more },
            SEND => Completion::Unsent { number: data as u32, result },
            _ => Completion::Other,
        })
    }

    /// Cancels all requests, and waits for the end of those that could still write to the buffers. Returns false if some did not
    /// end, most likely for want of kernel memory. (The kernel would cancel the others some time after the queue is closed. Until
    /// then, a poll on a listening socket would take wake-ups meant for the next ring.)
    pub(super) fn cancel_all(&mut self) -> bool {
        for _ in 0..TRIES {
            let _ = self.ring.submitter().register_sync_cancel(None, CancelBuilder::any());
            // Cancelled requests complete only within calls of this thread.
            let entered = self.enter(Wait::Look);
            while self.pop().is_some() {}
            if self.receiving == 0 {
                return true;
            }
            if entered.is_err() {
                std::thread::sleep(PAUSE);
            }
        }
        false
    }
}
