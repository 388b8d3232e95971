//! An echo daemon for tcp, udp, unix, unix-seqpacket and unix-datagram sockets, in fifteen rooms.
//!
//! ```text
//! connection: socket -> modes -> serve -> access -> stream          <-> service -> report
//! datagrams:  socket -> modes -> serve -> access -> serve::datagram <-> service -> report
//! ```
//!
//! A listening socket is served in a mode: a thread, a process or an event loop waits for its clients. `serve` accepts a
//! connection or receives a batch of datagrams, and `access` admits it; `stream` and `serve::datagram` carry the bytes to and
//! from a `service`; `report` counts and logs. Only `modes` knows what waits: the rooms on either side are the same for all
//! modes. `daemon` is the order of life around that road: configuration, sockets, readiness, reload, drain. `observe` tells
//! how all of that is, over HTTP, and is not known to it. `faults` is what a listener does wrong on purpose: replies and
//! connections pass through it if their listener has a plan. `client` is the other end: it measures echo servers, and shares nothing with the road but addresses, errors and system calls.
//!
//! Each room may import only the rooms below it in this list. Each `mod.rs` says in which order to read its files.

pub mod daemon;

#[cfg(feature = "client")]
pub mod client;
pub mod command;
pub mod modes;
#[cfg(feature = "observe")]
pub mod observe;

pub mod serve;

pub mod faults;

pub mod stream;

pub mod offload;

pub mod socket;

pub mod access;
pub mod process;

pub mod report;

pub mod service;

pub mod config;

pub mod sys;
