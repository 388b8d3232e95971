//! The options of `echod explain`: the question that it answers.

use std::path::PathBuf;

use clap::Args;

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
