//! The options of the commands that observe a daemon.

use clap::Args;

/// `echod metrics`.
#[derive(Args, Clone, Debug)]
pub struct Metrics {
    /// List every metric: its name, type, labels, and what it says
    #[arg(long, required = true)]
    pub list: bool,
}
