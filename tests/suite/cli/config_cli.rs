//! The command line and the configuration file: what is accepted, what is refused, and in which words.

mod check;
mod command_line;
mod faults;
mod files;
mod include;
mod messages;
mod parameters;
mod print_config;

const LISTENER: &str = "[[listener]]\nname = \"web\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n";
