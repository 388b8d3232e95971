//! Listening sockets: found, bound, inherited, given their options, and kept over a restart.
//!
//! Comes in: addresses of the configuration, and sockets that a service manager has passed. Goes out: `Listener`s.
//! Read `listener`, then `bind` with `resolve` and `host_names`, then `options`, `socket_file`, `activation` and `fd_store`.

pub mod activation;
pub mod address;
pub mod bind;
pub mod fd_store;
pub mod host_names;
pub mod listener;
pub mod name_clashes;
pub mod options;
mod owner;
pub mod resolve;
pub mod socket_file;
