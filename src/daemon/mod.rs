//! The life of the daemon: start, supervision, reload, stop.
//!
//! Comes in: the configuration and signals. Goes out: running listeners, one generation after the other.
//! Read `run`, then `supervisor`, then `generation` and `running_listener`; `fork_server` is the process of a listener in mode forking.

pub mod event;
pub mod fork_server;
pub mod generation;
pub mod parked;
pub mod run;
pub mod running_listener;
pub mod supervisor;
