//! What must not crash, stall or grow the daemon.

pub(crate) mod ends;
pub(crate) mod fuzz_seeds;
pub(crate) mod limits;
pub(crate) mod log_backlog;
pub(crate) mod panics;
pub(crate) mod planted_files;
pub(crate) mod stopped;
mod storm;
pub(crate) mod survival;
