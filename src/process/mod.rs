//! The Unix process around the listeners: detaching, PID file, privileges, signals, the service manager, the sandbox.
//!
//! Comes in: what `[daemon]` says and the environment. Goes out: a process that has given up what it does not need.
//! Read `daemonize` and `privileges`, then `notify`, then `sandbox`.

pub mod daemonize;
pub mod notify;
pub mod pid_file;
pub mod privileges;
pub mod sandbox;
pub mod signals;
