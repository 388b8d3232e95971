//! Signals that arrived while they were blocked.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use nix::sys::signal::Signal;

/// Whether `signal` is pending for this thread or for the process.
pub fn is_pending(signal: Signal) -> bool {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the pointer is to a set that sigpending(2) may write to.
    if unsafe { libc::sigpending(set.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call succeeded, so it has written the set. The number is that of a signal.
    unsafe { libc::sigismember(set.as_ptr(), signal as libc::c_int) == 1 }
}
