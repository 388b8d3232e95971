//! An echo daemon for tcp, udp, unix and unix-datagram sockets, in a dozen rooms.
//!
//! ```text
//! socket::listener::accept -> access -> modes (who waits?) -> stream <-> service -> report (count, log)
//! socket::listener         -> access -> modes              -> serve::datagram <-> service -> report
//! ```
//!
//! `modes` decides whether a thread, a process or an event loop waits while a client is served; the rooms on either side of it are
//! the same for all of them. `daemon` is the order of life around that road: configuration, sockets, readiness, reload, drain.
//! Each room may import only the rooms below it; they stand here from the top.

pub mod daemon;

pub mod command;
pub mod modes;

pub mod serve;
pub mod stream;

pub mod socket;

pub mod access;
pub mod process;

pub mod report;

pub mod service;

pub mod config;

pub mod sys;
