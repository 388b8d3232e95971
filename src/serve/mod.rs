//! One listener at work, in whatever mode: its context, and what happens to each client and datagram.
//!
//! Comes in: a `Listener` and its settings. Goes out: accepted connections and batches of datagrams, admitted, counted and logged.
//! Read `context`, then `listener_set`, `admit` and `refuse`, then `finish`; `datagram` is the same road for datagrams.

mod admit;
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
