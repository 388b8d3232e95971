//! The daemon as a service: activation, sockets kept over a restart, notifications, units, sandbox.

pub(crate) mod activation;
pub(crate) mod inetd;
pub(crate) mod keeping;
pub(crate) mod sandbox;
pub(crate) mod service_manager;
pub(crate) mod units;
