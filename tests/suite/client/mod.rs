//! The client: what it says about this daemon, and about servers that a test makes up.

mod bench;
mod compare;
mod ping;
mod report;
mod selftest;
mod strangers;
