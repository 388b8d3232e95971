//! One listener at work, in any mode.
//!
//! In: the listening sockets of a listener, its settings, its rules and limits.
//! Out: admitted connections, batches of admitted datagrams and their answers; refusals and closes, counted and logged.
//!
//! Read `context` first: `ListenerContext`, what serving needs. Then `acceptor`, which accepts; `listener_set`, the wait
//! on the listening sockets; `admit`, `admit_proxied` and `refuse`, the decision about a client; `finish`, its close.
//! `datagram` is the same road for datagrams; `unread` handles unix clients that do not read their answers.
//! Beside the road: `startup` (all workers are ready before any accepts), `linger`, `shortage` and `backoff`.
//!
//! Whether a worker, a thread, a process or an event loop serves the client is decided above, in `modes`.

pub mod acceptor;
pub mod admit;
mod admit_proxied;
pub mod backoff;
pub mod context;
pub mod datagram;
mod finish;
mod linger;
pub mod listener_set;
mod refuse;
mod shortage;
mod startup;
mod unread;
pub mod unsent;
