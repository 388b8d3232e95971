//! The echo in the kernel (`offload`): for a listener that asks for it, a program at the ingress of the network interfaces answers what
//! it is sure of, without the socket and without waking a process. Everything else reaches the socket as before.
//!
//! In: the settings and sockets of a listener. Out: a [`Slot`], for as long as the kernel answers for it. The road does not know this
//! room, and a listener that does not ask never touches it.
//!
//! Read `switch` first (who may, and why not), then `room` (what the kernel is told, and when), with `network` (interfaces and
//! addresses) and `maps` (the tables, in the layout of the program). `program/echo.bpf.c` is the program, and `selftest` tries it.
//! `fit` says which keys the kernel cannot hold, `rights` what the kernel and the process must have. Without the feature `offload`,
//! `absent` says so.

mod fit;
mod reason;
mod switch;

#[cfg(not(feature = "offload"))]
mod absent;
#[cfg(feature = "offload")]
mod in_kernel;
#[cfg(feature = "offload")]
mod maps;
#[cfg(feature = "offload")]
mod netfilter;
#[cfg(feature = "offload")]
mod network;
#[cfg(feature = "offload")]
mod places;
#[cfg(feature = "offload")]
mod program;
#[cfg(feature = "offload")]
mod rights;
#[cfg(feature = "offload")]
mod room;
#[cfg(feature = "offload")]
mod selftest;
#[cfg(feature = "offload")]
mod served;

#[cfg(not(feature = "offload"))]
use absent as room;

pub use fit::insists;
pub use room::Slot;
pub use switch::{KernelEcho, log_unavailable, notes};
