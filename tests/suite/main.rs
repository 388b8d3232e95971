//! The daemon seen from outside: the real binary, real sockets, and what a client, a signal sender or `/proc` can observe.
//!
//! One binary for the whole suite keeps link time low. Every test has a daemon, a directory and ports of its own; nothing
//! sleeps but [`harness::eventually`], and every read has a deadline.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod access;
mod cli;
#[cfg(feature = "client")]
mod client;
mod conformance;
mod datagram;
mod docs;
mod faults;
mod harness;
mod lifecycle;
mod matrix;
#[cfg(feature = "observe")]
mod observe;
#[cfg(feature = "offload")]
mod offload;
mod robustness;
mod stream;
mod systemd;
