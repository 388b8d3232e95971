//! Signals that have arrived while they are blocked.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use nix::sys::signal::Signal;

/// Whether `signal` waits for this thread, or for any of this process.
pub fn is_pending(signal: Signal) -> bool {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the pointer is to a set that the call may write to.
    if unsafe { libc::sigpending(set.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call has succeeded, so it has written the set; the number is that of a signal.
    unsafe { libc::sigismember(set.as_ptr(), signal as libc::c_int) == 1 }
}
