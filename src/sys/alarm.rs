//! A blocking system call that comes back after a time, in a process with one thread.
//!
//! A poll(2) before the call would not do where several processes share a socket: another one may take what made it ready, and
//! the call blocks all the same. SO_RCVTIMEO (socket(7)) belongs to the socket, so it would be for all of them, and for every
//! connection that is accepted from it.

#![allow(unsafe_code)]

use std::time::Duration;

use libc::c_int;

/// The signal of the timer.
pub const SIGNAL: c_int = libc::SIGALRM;

/// The shortest time to the signal. Zero would disarm the timer, and a signal before the call has begun does not end it.
const SHORTEST: Duration = Duration::from_millis(1);

/// Makes [`SIGNAL`] interrupt blocking calls of this process, and those that it forks.
pub fn on() {
    // SAFETY: `sigaction` is plain data for which all zeroes is a valid value: no flags, so no SA_RESTART.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(c_int) as usize;
    // SAFETY: the handler does nothing; `action` is a valid structure that lives through the call.
    unsafe { libc::sigaction(SIGNAL, &action, std::ptr::null_mut()) };
}

extern "C" fn nothing(_: c_int) {}

/// While it lives, a system call that still blocks after the time ends with EINTR, however late it began.
pub struct Alarm(());

impl Alarm {
    /// An alarm `after` this time, and then again and again: a signal just before the call is lost.
    pub fn set(after: Duration) -> Alarm {
        set(after.max(SHORTEST));
        Alarm(())
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        set(Duration::ZERO);
    }
}

/// Sends [`SIGNAL`] every `interval` from now on, or never if that is zero.
fn set(interval: Duration) {
    let time = libc::timeval {
        tv_sec: interval.as_secs().try_into().unwrap_or(i32::MAX.into()),
        tv_usec: interval.subsec_micros().into(),
    };
    let timer = libc::itimerval { it_interval: time, it_value: time };
    // SAFETY: `timer` is a valid structure that lives through the call, and the kernel writes nothing to the null pointer. The
    // call fails only for values that no timer can have.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsRawFd};

    use nix::{
        errno::Errno,
        sys::{
            signal::{SigSet, Signal},
            socket::{MsgFlags, recv},
            wait::{WaitStatus, waitpid},
        },
    };

    use super::*;

    /// The timer belongs to the process, so the test has one of its own.
    fn in_a_process(work: fn() -> i32) {
        // SAFETY: the child makes system calls only, and allocates nothing.
        match unsafe { libc::fork() } {
            0 => {
                let status = work();
                // SAFETY: _exit(2) has no preconditions.
                unsafe { libc::_exit(status) }
            }
            child => {
                let child = nix::unistd::Pid::from_raw(child);
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
    }

    #[test]
    fn a_call_that_blocks_comes_back_and_the_timer_ends() {
        in_a_process(|| {
            on();
            let mut signals = SigSet::empty();
            signals.add(Signal::SIGALRM);
            let socket = UdpSocket::bind("127.0.0.1:0");
            let (Ok(()), Ok(socket)) = (signals.thread_unblock(), socket) else { return 1 };
            let alarm = Alarm::set(Duration::ZERO);
            if recv(socket.as_raw_fd(), &mut [0; 8], MsgFlags::empty()) != Err(Errno::EINTR) {
                return 2;
            }
            drop(alarm);
            // SAFETY: `itimerval` is plain data for which all zeroes is a valid value, and it lives through the call.
            let mut left: libc::itimerval = unsafe { std::mem::zeroed() };
            // SAFETY: as above.
            unsafe { libc::getitimer(libc::ITIMER_REAL, &mut left) };
            i32::from(left.it_value.tv_sec != 0 || left.it_value.tv_usec != 0) * 3
        });
    }
}
