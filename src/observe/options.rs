//! The options of the commands that observe a daemon.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Which daemon is observed.
#[derive(Args, Clone, Debug, Default)]
pub struct WhichDaemon {
    /// The configuration of the daemon, whose [observe] says where its endpoint is
    ///
    /// Without it and without --address: that of the service, /etc/echod/echod.toml.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The endpoint itself: 127.0.0.1:9862, or the path of its socket file
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    pub address: Option<String>,
}

/// `echod status`.
#[derive(Args, Clone, Debug)]
pub struct StatusOptions {
    /// Which daemon
    #[command(flatten)]
    pub daemon: WhichDaemon,

    /// Text for people, or the JSON of /status
    #[arg(short, long, value_enum, default_value_t = StatusOutput::Text)]
    pub output: StatusOutput,
}

/// What `echod status` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusOutput {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `echod metrics`.
#[derive(Args, Clone, Debug)]
pub struct MetricsOptions {
    /// List every metric: its name, type, labels, and what it says
    #[arg(long, conflicts_with_all = ["config", "address"])]
    pub list: bool,

    /// Which daemon
    #[command(flatten)]
    pub daemon: WhichDaemon,
}
