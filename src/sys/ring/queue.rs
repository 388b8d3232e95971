//! Requests to the kernel, and its answers.

#![allow(unsafe_code)]

use std::{io, os::fd::RawFd, time::Duration};

use io_uring::{
    IoUring, cqueue, opcode, squeue,
    squeue::Flags,
    types::{CancelBuilder, Fd, SubmitArgs, Timespec},
};

use super::post::Armed;
use crate::sys::shared::Mapping;

/// Requests that are submitted together, at most.
const REQUESTS: u32 = 1024;

/// Completions that wait to be read; the kernel keeps more elsewhere, at a cost.
const COMPLETIONS: u32 = 8192;

/// How often to try to end all requests, and the rest between two tries that fail.
const TRIES: u32 = 100;
const REST: Duration = Duration::from_millis(10);

/// The group of buffers that is provided.
const GROUP: u16 = 0;

// What a completion is about, in the highest byte of its user data.
const RECEIVE: u64 = 1 << 56;
const POLL: u64 = 2 << 56;
const SEND: u64 = 3 << 56;

/// Both queues.
pub(super) struct Queue {
    ring: IoUring,
    /// Requests that write to our buffers and whose end was not seen.
    receiving: usize,
}

/// How long to wait for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Only submit.
    Not,
    /// Only take what is there.
    Look,
    /// At most so long.
    AtMost(Duration),
    /// Until there is one.
    Long,
}

/// A request, to be pushed.
pub(super) struct Request(squeue::Entry);

/// The end of a request, or a part of what it is to bring.
pub(super) enum Completion {
    /// Something, or the end, was received; `more` will come by the same request. There may be `left` something in the socket: then
    /// it is received next.
    Received { fd: RawFd, generation: u32, result: i32, buffer: Option<u16>, more: bool, left: bool },
    /// A poll tells something; `more` may come by the same request.
    Polled { fd: RawFd, generation: u32, result: i32, more: bool },
    /// A send has failed, or stopped short.
    Unsent { number: u32, result: i32 },
    /// Nothing of interest.
    Other,
}

impl Request {
    /// Tells of what `armed` says.
    pub(super) fn arm(armed: Armed, fd: RawFd, generation: u32) -> Request {
        let poll = |events: i32| opcode::PollAdd::new(Fd(fd), events as u32);
        let entry = match armed {
            Armed::Receive => opcode::RecvMulti::new(Fd(fd), GROUP).build(),
            Armed::PollIn | Armed::No => poll(libc::EPOLLIN).build(),
            Armed::PollAccept => poll(libc::EPOLLIN | libc::EPOLLEXCLUSIVE).build(),
            // One that is not repeated would tell again and again of a peer that has ended its side (`EPOLLRDHUP` is
            // always told); this one tells of changes.
            Armed::PollOut => poll(libc::EPOLLOUT).multi(true).build(),
        };
        Request(entry.user_data(user_data(armed, fd, generation)))
    }

    /// Ends what [`Request::arm`] has begun.
    pub(super) fn cancel(armed: Armed, fd: RawFd, generation: u32) -> Request {
        let which = CancelBuilder::user_data(user_data(armed, fd, generation)).all();
        Request(opcode::AsyncCancel2::new(which).build().flags(Flags::SKIP_SUCCESS))
    }

    /// Sends all of `bytes` at once or says that it did not, as number so-and-so.
    pub(super) fn send(fd: RawFd, bytes: &[u8], number: u32) -> Request {
        let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let entry = opcode::Send::new(Fd(fd), bytes.as_ptr(), bytes.len() as u32).flags(flags).build();
        Request(entry.flags(Flags::SKIP_SUCCESS).user_data(SEND | u64::from(number)))
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

    /// Lets the kernel take buffers from this ring of entries.
    pub(super) fn provide(&self, entries: &Mapping, count: u16) -> io::Result<()> {
        // SAFETY: the mapping holds `count` entries; whoever owns it keeps it until this queue has been closed, for the
        // fields of `Ring` are dropped in that order.
        unsafe {
            self.ring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, count, GROUP, 0)
        }
    }

    /// Whether requests must be submitted before one more can be pushed.
    pub(super) fn is_full(&mut self) -> bool {
        self.ring.submission().is_full()
    }

    /// Appends a request, for which there must be room.
    pub(super) fn push(&mut self, request: &Request) {
        // SAFETY: a receive writes only to provided buffers, which live until its end was seen (`cancel_all`); a send
        // reads a buffer that is not used otherwise before it was submitted, and is over by then (MSG_DONTWAIT); the
        // others point at nothing.
        let pushed = unsafe { self.ring.submission().push(&request.0) };
        assert!(pushed.is_ok(), "there is room");
        if request.0.get_user_data() >> 56 == RECEIVE >> 56 {
            self.receiving += 1;
        }
    }

    /// Whether the kernel has seen all requests.
    pub(super) fn is_submitted(&mut self) -> bool {
        self.ring.submission().is_empty()
    }

    /// Submits all requests, and waits.
    ///
    /// # Errors
    /// EINTR among others. That the time is over is none.
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
        // SAFETY: no argument is passed that the kernel would read; the requests are sound, see `push`.
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

    /// Ends all requests, and waits for the end of those that could still write to our buffers; false if some did not end, for want
    /// of kernel memory most likely. (The kernel would end the others some time after the queue was closed. Until then a poll at a
    /// listening socket takes wake-ups that are for the next ring.)
    pub(super) fn cancel_all(&mut self) -> bool {
        for _ in 0..TRIES {
            let _ = self.ring.submitter().register_sync_cancel(None, CancelBuilder::any());
            // What was cancelled ends within our own calls.
            let entered = self.enter(Wait::Look);
            while self.pop().is_some() {}
            if self.receiving == 0 {
                return true;
            }
            if entered.is_err() {
                std::thread::sleep(REST);
            }
        }
        false
    }
}
