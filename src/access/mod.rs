//! May this client in, and how much may it do: slots for connections, rules, limits per source, and the guard of UDP.
//!
//! Comes in: the address of a client, or the header of a datagram. Goes out: a permit, or the reason of a refusal.
//! Read `slots`, then `rules` and `limits` (with `rate` and `sources` below them), then `guard`.

pub mod guard;
pub mod limits;
pub mod rate;
pub mod rules;
pub mod slots;
pub mod sources;
mod waker;
