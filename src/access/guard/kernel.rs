//! The peers that the kernel answers itself (`offload`): its table stands beside that of the guard.

use std::{fmt, net::IpAddr};

/// A peer that the kernel has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelRun {
    /// How many answers in a row.
    pub answers: u64,
    /// When the last one was, in nanoseconds.
    pub last: u64,
}

/// What the kernel remembers of the peers of one listener.
pub trait KernelPeers: Send + Sync {
    /// The answers to an address and port, if the kernel has answered it.
    fn run(&self, address: IpAddr, port: u16) -> Option<KernelRun>;

    /// Leaves a peer to the socket until then (nanoseconds), or an address whatever its port.
    fn silence(&self, address: IpAddr, port: Option<u16>, until: u64);
}

impl fmt::Debug for dyn KernelPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KernelPeers")
    }
}
