//! What the user typed: the command line, and the commands that answer and end.
//!
//! Comes in: arguments. Goes out: the settings for the daemon, or an answer on standard output.
//! Read `cli`, then `probe`, `explain` and `inetd`.

pub mod cli;
pub mod explain;
pub mod inetd;
pub mod probe;
