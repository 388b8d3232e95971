//! The client: what it says about this daemon, and about servers that a test makes up.

mod bench;
mod selftest;
mod strangers;
