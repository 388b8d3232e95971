//! Listening sockets, bound or inherited, given their options, and kept over a restart.
//!
//! In: the addresses of the configuration; sockets of a socket unit, and those that the service manager stored for the
//! next echod.
//! Out: `Listener`s with their socket files; a failure that says what is in the way of an address.
//!
//! Read `listener` first: one bound socket, and accept(2). Then `bind`: from an entry of the configuration to its
//! sockets, with `resolve`, `host_names` and `name_clashes`; then `options` and `socket_file`.
//! `activation` finds inherited sockets (`listener::unit` is what a socket unit set on one), `fd_store` has the service
//! manager keep ours, and `owner` is what becomes of a socket when this process ends. `address` is how all of them are
//! written.

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
