//! What only an event loop can get wrong: `eNN` of the conformance list, in every mode that is one.

use crate::{harness::Echod, matrix::Combination};

/// Each behaviour for each mode: a failure reads `event_loops::bytes::e08_half_close::edge`.
macro_rules! in_every_mode {
    ($($name:ident)*) => {$(
        mod $name {
            #[test] fn select() { super::$name("select") }
            #[test] fn poll() { super::$name("poll") }
            #[test] fn epoll() { super::$name("epoll") }
            #[test] fn edge() { super::$name("edge") }
            #[test] fn io_uring() { super::$name("io-uring") }
        }
    )*};
}

mod bytes;
mod neighbours;
mod several;
mod sockets;

const STREAMS: [(&str, &str); 2] = [("tcp", "127.0.0.1:0"), ("unix", "it.sock")];

fn combination(mode: &'static str, (protocol, address): (&'static str, &'static str)) -> Combination {
    Combination { protocol, address, mode, workers: "" }
}

fn it(mode: &'static str, socket: (&'static str, &'static str), keys: &str) -> Echod {
    combination(mode, socket).start_with("", keys)
}
