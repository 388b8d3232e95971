//! What the kernel tells by completions, and what of it the owner of a descriptor is told.

use std::os::fd::RawFd;

use super::{Ring, Sending, buffers::Piece, post::Armed, queue::Completion};
use crate::sys::poller::{Interest, Readiness};

impl Ring {
    /// Takes note of all that the kernel has to say.
    pub(super) fn read_completions(&mut self) {
        while let Some(completion) = self.queue.pop() {
            match completion {
                Completion::Received { fd, generation, result, buffer, more, left } => {
                    let piece = buffer.map(|buffer| Piece::arrived(buffer, result));
                    self.received(fd, generation, result, piece, more);
                    self.leave_behind(fd, generation, more && left);
                }
                Completion::Polled { fd, generation, result, more } => {
                    self.polled(fd, generation, result, more)
                }
                Completion::Unsent { number, result } => self.unsent(number, result),
                Completion::Other => {}
            }
        }
    }

    fn received(&mut self, fd: RawFd, generation: u32, result: i32, piece: Option<Piece>, more: bool) {
        let post = &mut self.worker_states[fd as usize];
        let present = post.generation == generation;
        match piece {
            Some(piece) if result > 0 && present => post.pieces.push(piece, &mut self.buffers),
            // Nothing is in it, or whoever would have been answered has left.
            Some(piece) => self.buffers.give_back(piece),
            None => {}
        }
        if !present {
            return;
        }
        if !more && result != -libc::ECANCELED {
            post.armed = Armed::No;
            // All buffers were in use, or the kernel wanted a pause: then it is asked again.
            if result <= 0 && !matches!(-result, libc::ENOBUFS | libc::EAGAIN | libc::EINTR) {
                post.end = Some(-result);
            }
            self.arm_later(fd);
        }
        self.worker_states[fd as usize].set_aside_if_waiting(&mut self.buffers);
        self.tell_later(fd);
    }

    /// Notes whether the kernel has left something in the socket that it was about to receive as well. It does not come to that in
    /// front of urgent data while a signal is pending (tcp_recvmsg_locked() of the kernel), and nor does it wait for it: a poll will
    /// tell. Mostly what was left comes with the next completion.
    fn leave_behind(&mut self, fd: RawFd, generation: u32, left: bool) {
        let post = &mut self.worker_states[fd as usize];
        if post.generation == generation && std::mem::replace(&mut post.left, left) != left && left {
            self.arm_later(fd);
        }
    }

    fn polled(&mut self, fd: RawFd, generation: u32, result: i32, more: bool) {
        let post = &mut self.worker_states[fd as usize];
        if post.generation != generation || result == -libc::ECANCELED {
            return;
        }
        let blocked = post.is_blocked();
        if blocked {
            post.send_held(fd);
        }
        if !more {
            post.armed = Armed::No;
            self.arm_later(fd);
        }
        let post = &self.worker_states[fd as usize];
        if blocked && (post.is_blocked() || post.interest != Interest::Write) {
            self.arm_later(fd);
            return self.tell_later(fd);
        }
        // An error of the request itself, such as ENOMEM, is met again by whoever looks at the socket.
        let happened = if result < 0 { libc::POLLIN } else { result as i16 };
        self.happened.push(Readiness {
            key: post.key,
            readable: happened & libc::POLLIN != 0,
            hangup: happened & (libc::POLLHUP | libc::POLLERR) != 0,
        });
    }

    /// The kernel did not take an answer, or not all of it.
    fn unsent(&mut self, number: u32, result: i32) {
        let Sending { fd, generation, piece } = &mut self.sends[number as usize];
        let post = &mut self.worker_states[*fd as usize];
        if post.generation != *generation {
            return;
        }
        match result {
            n if n >= 0 => post.hold(&self.buffers.bytes(piece)[n as usize..]),
            e if e == -libc::EAGAIN || e == -libc::ENOBUFS || e == -libc::ENOMEM => {
                post.hold(self.buffers.bytes(piece))
            }
            error => post.end = Some(-error),
        }
    }

    /// All sends have been submitted, and those that were not complete have said so.
    pub(super) fn settle_sends(&mut self) {
        let mut sends = std::mem::take(&mut self.sends);
        for Sending { fd, generation, piece } in sends.drain(..) {
            self.buffers.give_back(piece);
            let post = &mut self.worker_states[fd as usize];
            if post.generation == generation {
                post.sending = false;
                if post.is_blocked() {
                    post.set_aside_if_waiting(&mut self.buffers);
                    self.arm_later(fd);
                }
                self.tell_later(fd);
            }
        }
        self.sends = sends;
    }

    /// Turns to those who have something to be told of.
    pub(super) fn tell(&mut self, events: &mut Vec<Readiness>) {
        events.append(&mut self.happened);
        let mut ready = std::mem::take(&mut self.ready);
        for fd in ready.drain(..) {
            let post = &mut self.worker_states[fd as usize];
            post.told = false;
            if !post.has_news() || post.is_blocked() {
                continue;
            }
            events.push(Readiness { key: post.key, readable: true, hangup: false });
            if post.carry && !post.is_simple(&self.buffers) {
                post.carry = false;
                self.arm_later(fd);
            }
        }
        self.ready = ready;
    }
}
