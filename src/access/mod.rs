//! May this client in, and how much may it do?
//!
//! In: the address or the user of a client, or the header of a datagram; the rules and limits of the listener.
//! Out: a permit, held as long as the connection, or the reason of a refusal. No client socket is touched here.
//!
//! Read `slots` first: connection slots, `max-requests`, and the close of a listener; `waker` wakes event loops that
//! wait for a slot.
//! Then `rules` (`allow` and `deny`), and `limits` with its `rate` (GCRA) and `sources` (the table of what each source
//! has).
//! `guard` decides which datagrams must not be answered, so that a UDP service is no reflector. `checks` has `Access`: what
//! one listener has of the three.
//!
//! Counters and tables are in memory that forked processes and the supervisor share (`memory`); for a source that is in
//! the table no lock is taken. `state` says what is known of a source, for those who ask.

pub mod checks;
pub mod guard;
pub mod limits;
pub mod memory;
pub mod rate;
pub mod rules;
pub mod slots;
pub mod sources;
pub mod state;
mod waker;
