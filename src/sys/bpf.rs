//! bpf(2): maps, programs for the ingress of a network interface (TCX), and the links that attach them.
//!
//! Each thing is a descriptor, and lives as long as one is open: with the process everything is gone, a link too. Nothing is pinned,
//! and the kernel keeps no pointer into this process, so what is forgotten (`mem::forget`) does no harm.

#![allow(unsafe_code)]

use std::{
    ffi::c_int,
    io,
    os::fd::{FromRawFd, OwnedFd},
    thread,
    time::Duration,
};

mod link;
mod map;
mod program;

pub use link::{Link, attached};
pub use map::{Map, MapKind};
pub use program::{MapReference, Program};

/// The commands in use, by their numbers. Those in [`AFTER_START`] need no capability with a descriptor from before.
const MAP_CREATE: c_int = 0;
const MAP_LOOKUP: c_int = 1;
const MAP_UPDATE: c_int = 2;
const MAP_DELETE: c_int = 3;
const PROG_LOAD: c_int = 5;
const PROG_TEST_RUN: c_int = 10;
const OBJ_GET_INFO_BY_FD: c_int = 15;
const PROG_QUERY: c_int = 16;
const LINK_CREATE: c_int = 28;

/// The commands that a daemon needs once its maps are made and its program is loaded.
pub const AFTER_START: [c_int; 6] =
    [MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, PROG_TEST_RUN, OBJ_GET_INFO_BY_FD, LINK_CREATE];

/// Makes a call. The kernel takes what `attributes` lacks of its own for zero.
///
/// # Safety
/// Every address in `attributes` must be that of memory which the command may read or write, as long as its length says there.
unsafe fn call<T>(command: c_int, attributes: &mut T) -> io::Result<c_int> {
    let size = size_of::<T>() as u32;
    // SAFETY: the kernel reads and writes `size` bytes of `attributes`; the caller vouches for the addresses in them.
    match unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result as c_int),
    }
}

/// The descriptor that a command has made.
///
/// # Safety
/// As [`call`], and the command must be one that makes a descriptor.
unsafe fn make<T>(command: c_int, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: from the caller.
    let fd = unsafe { call(command, attributes) }?;
    // SAFETY: the kernel has made it for this caller, close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits until every program that runs now has ended: what is removed from a map before is not in use afterwards, and what they count
/// is there.
#[inline(never)] // Several call it, and seldom.
pub fn wait_for_running_programs() {
    // The kernel waits for a grace period of RCU (membarrier(2)), within which each of them ends.
    // SAFETY: the call has no address among its arguments.
    if unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) } != 0 {
        // Where a processor has no tick there is no such command. A program runs for less than a microsecond.
        thread::sleep(Duration::from_millis(10));
    }
}

/// A name for `bpftool`: at most 15 bytes.
fn name(text: &str) -> [u8; 16] {
    let mut name = [0; 16];
    name[..15].iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    name
}

#[cfg(test)]
mod tests;
