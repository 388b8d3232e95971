//! `echod bench`: measures how fast servers answer, and how many messages they answer in a second.
//!
//! In: targets and the options of `bench`. Out: a [`Measurement`](super::measurement::Measurement). An open loop (`--rate`) sends
//! on a plan, whatever comes back, so a server that stops for a second is seen as long as it was. A closed loop sends when an answer
//! has come: it finds out how much a server can do, and waits with it when it stops.
//!
//! Read `measure` (warm-up, rounds, what they come to), then `engine` (the loop) with `pace` (when to send), `channel` with `stream`
//! and `datagram` (what a socket does), `flights` (which datagram is it that an answer belongs to), `tally` (the books of a round)
//! `result`
//! (what rounds come to) and `doubts` (what makes the figures doubtful). `crowd` opens the sockets; `command` runs it all, `search` looks for
//! the highest rate, and `screen` and `bar` are what people see.

mod bar;
mod channel;
mod command;
mod crowd;
mod datagram;
mod doubts;
mod engine;
mod flights;
mod measure;
mod pace;
mod progress;
mod result;
mod screen;
mod search;
mod stream;
mod tally;

pub use bar::Bar;
pub use command::{progress, run};
pub use measure::measure;
pub use progress::{Progress, ProgressStep, Silent};
pub use result::settings;

#[cfg(test)]
mod tests;
