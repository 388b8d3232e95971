//! Processing completions, and reporting events to the owners of descriptors.

use std::os::fd::RawFd;

use super::{
    Ring, Sending,
    buffers::Piece,
    queue::{Armed, Completion},
};
use crate::sys::poller::{Interest, Readiness};

impl Ring {
    /// Processes all completions in the queue.
    pub(super) fn read_completions(&mut self) {
        while let Some(completion) = self.queue.pop() {
            match completion {
                Completion::Received { fd, generation, result, buffer, more, left } => {
                    let piece = buffer.map(|buffer| Piece::arrived(buffer, result));
                    self.received(fd, generation, result, piece, more);
                    self.note_left(fd, generation, more && left);
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
        let state = &mut self.states[fd as usize];
        let present = state.generation == generation;
        match piece {
            Some(piece) if result > 0 && present => state.pieces.push(piece, &mut self.buffers),
            // The buffer is empty, or the descriptor has a new owner.
            Some(piece) => self.buffers.give_back(piece),
            None => {}
        }
        if !present {
            return;
        }
        if !more && result != -libc::ECANCELED {
            state.armed = Armed::No;
            // All buffers were in use (ENOBUFS), or the kernel ended the request early: a new one goes on.
            if result <= 0 && !matches!(-result, libc::ENOBUFS | libc::EAGAIN | libc::EINTR) {
                state.end = Some(-result);
            }
            self.arm_later(fd);
        }
        self.states[fd as usize].copy_out_if_waiting(&mut self.buffers);
        self.report_later(fd);
    }

    /// Notes whether the kernel has left data in the socket (`IORING_CQE_F_SOCK_NONEMPTY`) that it was about to receive as well.
    /// In front of urgent data it does not while a signal is pending (tcp_recvmsg_locked() of the kernel), and it does not wait
    /// for that data either, so a poll request replaces the receive. Mostly the next completion brings the data.
    fn note_left(&mut self, fd: RawFd, generation: u32, left: bool) {
        let state = &mut self.states[fd as usize];
        if state.generation == generation && std::mem::replace(&mut state.left, left) != left && left {
            self.arm_later(fd);
        }
    }

    fn polled(&mut self, fd: RawFd, generation: u32, result: i32, more: bool) {
        let state = &mut self.states[fd as usize];
        if state.generation != generation || result == -libc::ECANCELED {
            return;
        }
        let blocked = state.is_blocked();
        if blocked {
            state.send_unsent(fd);
        }
        if !more {
            state.armed = Armed::No;
            self.arm_later(fd);
        }
        let state = &self.states[fd as usize];
        if blocked && (state.is_blocked() || state.interest != Interest::Write) {
            self.arm_later(fd);
            return self.report_later(fd);
        }
        // The owner meets an error of the request itself, such as ENOMEM, when it reads from the socket.
        let reported = if result < 0 { libc::POLLIN } else { result as i16 };
        self.events.push(Readiness {
            key: state.key,
            readable: reported & libc::POLLIN != 0,
            hangup: reported & (libc::POLLHUP | libc::POLLERR) != 0,
        });
    }

    /// The kernel accepted none of an answer, or only its first part.
    fn unsent(&mut self, number: u32, result: i32) {
        let Sending { fd, generation, piece } = &mut self.sends[number as usize];
        let state = &mut self.states[*fd as usize];
        if state.generation != *generation {
            return;
        }
        match result {
            n if n >= 0 => state.keep_unsent(&self.buffers.bytes(piece)[n as usize..]),
            e if e == -libc::EAGAIN || e == -libc::ENOBUFS || e == -libc::ENOMEM => {
                state.keep_unsent(self.buffers.bytes(piece))
            }
            error => state.end = Some(-error),
        }
    }

    /// All sends have been submitted, and the completions of those that were not complete have been read.
    pub(super) fn complete_sends(&mut self) {
        let mut sends = std::mem::take(&mut self.sends);
        for Sending { fd, generation, piece } in sends.drain(..) {
            self.buffers.give_back(piece);
            let state = &mut self.states[fd as usize];
            if state.generation == generation {
                state.sending = false;
                if state.is_blocked() {
                    state.copy_out_if_waiting(&mut self.buffers);
                    self.arm_later(fd);
                }
                self.report_later(fd);
            }
        }
        self.sends = sends;
    }

    /// Moves the events to `events`, and adds the descriptors with received input.
    pub(super) fn report(&mut self, events: &mut Vec<Readiness>) {
        events.append(&mut self.events);
        let mut ready = std::mem::take(&mut self.ready);
        for fd in ready.drain(..) {
            let state = &mut self.states[fd as usize];
            state.in_ready = false;
            if !state.has_input() || state.is_blocked() {
                continue;
            }
            events.push(Readiness { key: state.key, readable: true, hangup: false });
            if state.carry && !state.is_simple(&self.buffers) {
                state.carry = false;
                self.arm_later(fd);
            }
        }
        self.ready = ready;
    }
}
