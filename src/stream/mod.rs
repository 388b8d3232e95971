//! One connection, from its first byte to its last.
//!
//! Comes in: an accepted socket. Goes out: the bytes of its service, and the reason of its close.
//! Read `connection`, the state machine that all modes drive; then `blocking`, the driver of a thread or process, with `deadline_io`;
//! then `proxy_header` and `proxy`.

pub mod blocking;
pub mod connection;
mod deadline_io;
pub mod proxy;
mod proxy_header;
