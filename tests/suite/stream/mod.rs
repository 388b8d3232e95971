//! Connections beyond what the matrix asks of every mode: event loops, io_uring, the number of system calls.

pub(crate) mod event_loops;
pub(crate) mod io_uring;
pub(crate) mod mptcp;
mod records;
pub(crate) mod strace;
pub(crate) mod whoami;
