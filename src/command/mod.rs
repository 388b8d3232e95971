//! What the user typed: the command line, and the commands that answer a question and exit instead of starting the daemon.
//!
//! In: the arguments and the environment, and for `inetd` a client on standard input. Out: settings for the daemon, or an
//! answer on standard output and an exit code.
//!
//! Read `cli` (every option, as clap sees it) with `cli/advice` (what to type instead), then the commands: `probe` asks a
//! running listener for an echo, `explain` says why a listener admits or refuses a client, `inetd` serves a single client
//! without a daemon, over `pipes` where that has no socket.

pub mod cli;
pub mod explain;
pub mod faults;
pub mod inetd;
mod pipes;
pub mod probe;
