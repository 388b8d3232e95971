//! The options of the commands that answer a question about a configuration: `echod explain` and `echod faults`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[cfg(feature = "observe")]
use crate::observe;

#[allow(missing_docs)] // A doc comment would stand in the help in place of the command's.
#[derive(Args, Clone, Debug)]
pub struct Explain {
    /// Read the listeners from a TOML file
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// A listener written as a URL, beside those of the file; may be repeated
    #[arg(short, long, value_name = "URL")]
    pub listen: Vec<String>,

    /// The listener, by its name
    #[arg(long, value_name = "NAME")]
    pub listener: String,

    /// The client: an address, with or without a port; for a unix socket a user of this machine
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub from: String,

    /// The proxy that forwards it (PROXY protocol): an address; for a unix socket a user
    #[arg(long, value_name = "ADDRESS")]
    pub proxy: Option<String>,

    /// Whether the running daemon is asked
    #[cfg(feature = "observe")]
    #[command(flatten)]
    pub now: observe::options::LiveOptions,
}

// `echod faults`. No doc comment: it would stand in the help in place of the command's.
#[allow(missing_docs)]
#[derive(Args, Clone, Debug)]
pub struct FaultsQuestion {
    /// What is asked
    #[command(subcommand)]
    pub command: FaultsCommand,
}

/// What is asked about faults on purpose.
#[derive(Clone, Debug, Subcommand)]
pub enum FaultsCommand {
    /// Print what a plan decides about the first datagrams or connections of a source
    ///
    /// The daemon decides the same, in every mode and with any number of workers. Datagrams are numbered by the address and the port
    /// that they come from, connections by the address.
    Preview(Preview),

    /// Print what each key of a plan does
    List,
}

// No doc comment: it would stand in the help in place of the command's.
#[allow(missing_docs)]
#[derive(Args, Clone, Debug)]
pub struct Preview {
    /// Read the plan and the listeners from a TOML file
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// A listener written as a URL, beside those of the file; may be repeated
    #[arg(short, long, value_name = "URL")]
    pub listen: Vec<String>,

    /// The plan, by its name; it may be left out if there is one only
    #[arg(long, value_name = "NAME")]
    pub plan: Option<String>,

    /// The listener, by its name; it may be left out if one only uses the plan
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,

    /// Where the datagrams or connections come from: an address with its port, or the name of a unix socket
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub from: Option<String>,

    /// How many decisions are printed
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub count: u64,

    /// Text for people, or JSON for programs
    #[arg(short, long, value_enum, default_value_t = PreviewOutput::Text)]
    pub output: PreviewOutput,
}

/// What `echod faults preview` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PreviewOutput {
    /// For people.
    Text,
    /// For programs.
    Json,
}
