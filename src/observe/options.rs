//! The options of the commands that observe a daemon.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::help;

// Which daemon is observed. No doc comment: it would stand in the help in place of the command's.
#[allow(missing_docs)]
#[derive(Args, Clone, Debug, Default)]
pub struct WhichDaemon {
    /// The configuration of the daemon, whose table observe says where its endpoint is
    ///
    /// Without it and without --address: that of the service, /etc/echod/echod.toml.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The endpoint itself: 127.0.0.1:9862, or the path of its socket file
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    pub address: Option<String>,
}

// `echod status`. No doc comment: it would stand in the help in place of the command's.
#[allow(missing_docs)]
#[derive(Args, Clone, Debug)]
#[command(after_help = help::STATUS)]
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

// `echod top`. No doc comment: it would stand in the help in place of the command's.
#[allow(missing_docs)]
#[derive(Args, Clone, Debug)]
#[command(after_help = help::TOP)]
pub struct TopOptions {
    /// Which daemon
    #[command(flatten)]
    pub daemon: WhichDaemon,

    /// Look twice, print what was between, and exit
    #[arg(long)]
    pub once: bool,

    /// The time between two looks
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,

    /// Which connections come first
    #[arg(long, value_enum, default_value_t = Sort::Rate)]
    pub sort: Sort,

    /// How many connections are shown
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 20)]
    pub lines: usize,

    /// A screen that renews itself, JSON, or a line of JSON for each look
    #[arg(short, long, value_enum, default_value_t = TopOutput::Text)]
    pub output: TopOutput,
}

/// What `echod top` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TopOutput {
    /// For people.
    Text,
    /// One document; with --once only.
    Json,
    /// One document a line.
    Jsonl,
}

/// The order of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// The most bytes a second first.
    Rate,
    /// The longest round trip first.
    Rtt,
    /// The longest idle first.
    Idle,
}

// `echod metrics`. No doc comment: it would stand in the help in place of the command's.
#[allow(missing_docs)]
#[derive(Args, Clone, Debug)]
pub struct MetricsOptions {
    /// List every metric: its name, type, labels, and what it says
    #[arg(long, conflicts_with_all = ["config", "address"])]
    pub list: bool,

    /// Which daemon
    #[command(flatten)]
    pub daemon: WhichDaemon,
}

#[allow(missing_docs)]
#[derive(Args, Clone, Debug, Default)]
pub struct LiveOptions {
    /// Ask the running daemon too: what the client has open, what its rates leave, and whether it is refused now
    ///
    /// The daemon is asked at its HTTP endpoint, which the table observe of its configuration switches on.
    #[arg(long)]
    pub live: bool,

    /// The endpoint of the daemon, if not that of the configuration: 127.0.0.1:9862, or the path of its socket file
    #[arg(long, value_name = "ADDRESS", requires = "live")]
    pub address: Option<String>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = crate::config::duration(text)?;
    match (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&time) {
        true => Ok(time),
        false => Err("write a time from 100ms to 1h".to_owned()),
    }
}
