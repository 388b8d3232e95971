//! The command line: configuration files, options, the probe.

pub(crate) mod config_cli;
pub(crate) mod probe;
