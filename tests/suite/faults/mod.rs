//! Faults on purpose: exactly what a plan says happens, in every mode, and nothing else.

#[cfg(feature = "client")]
mod books;
mod command;
mod datagrams;
mod gone;
mod refused;
mod reload;
mod streams;

use crate::harness::Echod;

/// A plan called `plan` with these keys, in a configuration that allows it.
fn plan(keys: &str) -> String {
    format!("[daemon]\nallow-faults = true\n[[faults]]\nname = \"plan\"\nseed = 42\n{keys}\n")
}

/// The keys of a listener for each mode; edge-triggered epoll counts as one.
const MODES: [&str; 8] = [
    "mode = \"iterative\"\n",
    "mode = \"threading\"\n",
    "mode = \"forking\"\n",
    "mode = \"select\"\n",
    "mode = \"poll\"\n",
    "mode = \"epoll\"\n",
    "mode = \"epoll\"\ntrigger = \"edge\"\n",
    "mode = \"io-uring\"\n",
];

/// A daemon with a listener called `it` that has the plan.
fn start(protocol: &str, keys: &str, listener: &str) -> Echod {
    let listener = format!("faults = \"plan\"\n{listener}");
    Echod::start(&(plan(keys) + &crate::harness::listener("it", protocol, &listener)))
}
