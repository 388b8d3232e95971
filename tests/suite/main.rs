//! The daemon seen from outside: the real binary, real sockets, and what a client, a signal sender or `/proc` can observe.
//!
//! One binary for the whole suite keeps link time low. Every test has a daemon, a directory and ports of its own; nothing
//! sleeps but [`common::eventually`], and every read has a deadline.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod access;
mod activation;
mod addresses;
mod binds;
mod bursts;
mod common;
mod config_cli;
mod conformance;
mod destinations;
mod detach;
mod docs;
mod event_loops;
mod explain;
mod flood;
mod forms;
mod fuzz_seeds;
mod guards;
mod host_names;
mod house;
mod inetd;
mod io_uring;
mod keeping;
mod life;
mod limits;
mod log_backlog;
mod log_events;
mod log_lines;
mod log_targets;
mod log_times;
mod matrix;
mod packages;
mod pages;
mod panics;
mod parked;
mod planted_files;
mod privileges;
mod probe;
mod processes;
mod proxy;
mod python;
mod rates;
mod reload;
mod sandbox;
mod service_manager;
mod storm;
mod strace;
mod survival;
mod task_names;
mod told_at_start;
mod units;
mod unix_files;
mod unread;
mod workers;
