//! Datagrams beyond what the matrix asks of every mode: bursts, destinations, clients that do not read.

pub(crate) mod bursts;
pub(crate) mod destinations;
pub(crate) mod flood;
pub(crate) mod path_mtu;
pub(crate) mod unread;
