//! Listening sockets: found, bound, inherited, given their options, and kept over a restart.
//!
//! Comes in: addresses of the configuration, and sockets that a service manager has passed. Goes out: `Listener`s.
//! Read `listener`, then `bind` with `resolve` and `host_names`, then `options`, `socket_file`, `activation` and `fd_store`.

pub mod activation;
pub mod address;
mod bind;
pub mod fd_store;
mod host_names;
pub mod listener;
mod name_clashes;
pub mod options;
mod owner;
mod resolve;
mod sharing;
pub mod socket_file;
mod unit;
