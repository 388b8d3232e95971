//! The client: what it says about this daemon, and about servers that a test makes up.

mod bench;
mod compare;
mod report;
mod selftest;
mod strangers;
