//! The parts of echod, in the order in which a connection meets them.
//!
//! ```text
//! crate::socket::listener::accept -> admission -> strategy (who waits?) -> connection <-> service -> report (count, log, place back)
//! listener         -> admission -> strategy              -> datagram   <-> service -> count
//! ```
//!
//! Whoever waits in a strategy is a thread, a process or an event loop; the stations on either side of it are the same.
//! [`server`] is the order of life around that road: configuration, sockets, strategies, readiness, drain.
//! ARCHITECTURE.md tells the whole story, and which module may import which.

// The road.
pub mod modes;
pub mod service;

// The life around it.
pub mod config;

// What they use.
pub mod access;
pub mod command;
pub mod daemon;
pub mod process;
pub mod report;
pub mod serve;
pub mod socket;
pub mod stream;
pub mod sys;
