//! The client: measures echo servers, this daemon's or any other's, and says how they behave.
//!
//! In: the options of `echod ping`, `echod bench` and `echod selftest`. Out: a report on standard output and an exit code. It
//! needs no listener: a target is a URL, and what answers there may be any program that echoes.
//!
//! Read `options` (what a user may ask for) with `help` (its examples and exit codes) and `target` (what a URL stands for), then
//! `probe` (the bytes that are sent, and the check of those that come back), `socket` (from where they leave), `histogram` (times,
//! and which percentiles may be told) and `measurement` (what a run has found out, whatever is printed of it later). `ping` and
//! `bench` are the engines that find it out, `signals` ends them, and `compare` starts the servers for the latter, each a `variant`. `report` prints
//! it and knows the exit code, and `plot` draws it. `selftest` stands by itself: it measures nothing, and holds a
//! server to its RFC.

pub mod bench;
pub mod compare;
pub mod help;
pub mod histogram;
pub mod measurement;
pub mod options;
pub mod ping;
pub mod plot;
pub mod probe;
pub mod report;
pub mod selftest;
pub mod signals;
pub mod socket;
pub mod target;
pub mod variant;
