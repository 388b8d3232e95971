//! One connection, from its first byte to its last.
//!
//! In: an admitted socket, the settings of its listener, the session of its service.
//! Out: the answers of the service, and a `ConnectionSummary` with the reason of the close.
//!
//! Read `connection` first: the state machine that every mode drives, with its I/O behind the trait
//! `sys::transport::Transport`.
//! Then `blocking`, which drives it in a thread or process that may wait, and `deadline_io`, which adds the time-outs.
//! Then `connection::proxy_header`, the phase before the session, and `proxy`, the parser of the header.
//!
//! The event loop drives `connection` itself: see `modes::event_loop`.

pub mod blocking;
pub mod connection;
mod deadline_io;
pub mod proxy;
