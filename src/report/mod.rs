//! What is counted and written: statistics, the reasons of a close and of a refusal, and the log.
//!
//! Comes in: events of connections, datagrams and listeners. Goes out: lines of the log and the line of state on SIGUSR1.
//! Read `stats`, then `close_reason` and `refusal_reason`, then `logging`. Nothing in here waits for a reader of the log.

pub mod close_reason;
pub mod decimal;
pub mod error;
pub mod logging;
pub mod payload;
pub mod refusal_reason;
pub mod regular_file;
pub mod stats;
