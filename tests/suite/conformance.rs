//! What echod keeps of CPython 3.11's `socketserver` (`cNN`), and where it deliberately differs (`dNN`).
//!
//! The twelve classes are the four protocols in the three modes; `timeout`, `handle_request` and the like have the names
//! that docs/learn/8-from-socketserver.md gives. What concerns killed processes is in [`crate::robustness::survival`], socket files in
//! [`crate::lifecycle::unix_files`], a lack of descriptors in [`crate::robustness::limits`].

mod datagrams;
mod python;
mod requests;
mod stop;
mod workers;

use crate::{
    harness::Echod,
    matrix::{Combination, classes},
};

const TCP: Combination =
    Combination { protocol: "tcp", address: "127.0.0.1:0", mode: "threading", workers: "" };
const UDP: Combination = Combination { protocol: "udp", ..TCP };
const UNIX_DATAGRAM: Combination = Combination { protocol: "unix-datagram", address: "it.sock", ..TCP };

fn is_datagram(class: Combination) -> bool {
    matches!(class.protocol, "udp" | "unix-datagram")
}

fn one_daemon_for_all_classes(daemon: &str) -> Echod {
    let listeners =
        classes().into_iter().enumerate().map(|(number, class)| class.listener(&format!("class-{number}")));
    Echod::start(&format!("[daemon]\n{daemon}\n{}", listeners.collect::<String>()))
}
