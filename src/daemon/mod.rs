//! The life of the daemon: start, supervision, reload, shutdown. This is the top room: it may import every other one.
//!
//! In: the command line, the configuration, signals, and the sockets that a service manager passed. Out: running listeners,
//! one generation after the other, and the exit code.
//!
//! Read `run` (the order of life) first, then `supervisor` (what the main thread waits for) with `supervisor/reload`.
//! `generation` decides which sockets the next listeners get; `running_listener` is one of them, in threads or in a process.
//! `fork_server` is the daemon's end of that process, and `fork_server/process` the other end. `parked` holds passed sockets
//! that no listener wants, `event` is what the threads report to the supervisor.

pub mod event;
pub mod fork_server;
pub mod generation;
pub mod parked;
pub mod run;
pub mod running_listener;
pub mod supervisor;
