//! The Unix process around the listeners: detaching, PID file, privileges, signals, the service manager, the sandbox.
//!
//! In: the table `[daemon]` of the configuration, and the environment that the process was started with. Out: a process that has
//! given up what it does not need, signals as values for the supervisor, and messages to the service manager.
//!
//! Reading order, which is that of a start: `signals` (blocked first of all), `daemonize`, `pid_file`, `privileges`, `sandbox`
//! with `landlock` and `seccomp`, then `notify`. `named_thread` starts the threads that stand beside the loops.

pub mod daemonize;
pub mod named_thread;
pub mod notify;
pub mod pid_file;
pub mod privileges;
pub mod sandbox;
pub mod signals;
