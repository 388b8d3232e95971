//! Every behaviour for every protocol, mode and number of workers.
//!
//! A behaviour is a function over a [`Combination`]; the macros at the end make a test of each for all combinations, so
//! that a failure reads `matrix::tcp::threading::workers_2::half_close`.

mod concurrent;
mod counts;
mod datagram;
mod record;
mod service_datagram;
mod service_stream;
mod stream;
mod stream_busy;
mod stream_limits;
mod stream_proxy;
mod stream_slowloris;
mod stream_stop;
pub(crate) mod whoami;

use crate::harness::Echod;

/// One cell of the matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Combination {
    pub(crate) protocol: &'static str,
    pub(crate) address: &'static str,
    pub(crate) mode: &'static str,
    /// As in the configuration, empty for the default.
    pub(crate) workers: &'static str,
}

impl Combination {
    /// A daemon with one listener, called `it`.
    pub(crate) fn start(&self) -> Echod {
        self.start_with("", "")
    }

    /// The same with more keys in `[daemon]` and in the listener.
    pub(crate) fn start_with(&self, daemon: &str, listener: &str) -> Echod {
        self.start_logging("", daemon, listener)
    }

    /// The same with a log that has the events of the daemon as JSON.
    pub(crate) fn start_with_events(&self, listener: &str) -> Echod {
        self.start_logging("format = \"json\"", "", listener)
    }

    fn start_logging(&self, log: &str, daemon: &str, listener: &str) -> Echod {
        Echod::start(&format!(
            "[daemon]\n{daemon}\n[log]\nlevel = \"debug\"\n{log}\n{}{listener}\n",
            self.listener("it")
        ))
    }

    /// The combination as an entry of a configuration, without a final empty line: keys can be added.
    pub(crate) fn listener(&self, name: &str) -> String {
        let Self { protocol, address, mode, workers } = self;
        let workers = if workers.is_empty() { String::new() } else { format!("workers = {workers}\n") };
        // Edge-triggered epoll counts as a mode of its own here.
        let (mode, trigger) = if *mode == "edge" { ("epoll", "trigger = \"edge\"\n") } else { (*mode, "") };
        format!(
            "[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\n\
             mode = \"{mode}\"\n{trigger}{workers}"
        )
    }

    /// How many stream clients are served at once with `max-connections = limit`.
    pub(crate) fn capacity(&self, limit: usize) -> usize {
        match (self.mode, self.workers) {
            ("iterative", _) => 1,
            ("threading" | "forking", "1" | "2") => limit.min(self.workers.parse().unwrap()),
            _ => limit,
        }
    }
}

/// Protocol and mode in each of the twelve combinations that `socketserver` has classes for.
pub(crate) fn classes() -> Vec<Combination> {
    let mut classes = Vec::new();
    for (protocol, file) in [("tcp", None), ("udp", None), ("unix", Some("s")), ("unix-datagram", Some("d"))]
    {
        for mode in ["iterative", "threading", "forking"] {
            let address = match (file, mode) {
                (None, _) => "127.0.0.1:0",
                (Some("s"), "iterative") => "si.sock",
                (Some("s"), "threading") => "st.sock",
                (Some("s"), _) => "sf.sock",
                (_, "iterative") => "di.sock",
                (_, "threading") => "dt.sock",
                (_, _) => "df.sock",
            };
            classes.push(Combination { protocol, address, mode, workers: "" });
        }
    }
    classes
}

/// The behaviours of one file as tests of one combination.
macro_rules! tests {
    ($file:ident, $socket:expr, $mode:expr, $workers:expr, $($name:ident)*) => {$(
        #[test]
        fn $name() {
            let (protocol, address) = $socket;
            let (mode, workers) = ($mode, $workers);
            let combination = $crate::matrix::Combination { protocol, address, mode, workers };
            if $crate::harness::can_be_had(address) && $crate::harness::has_mode(mode) {
                $crate::matrix::$file::$name(combination);
            }
        }
    )*};
}

/// The list of behaviours that streams have, in one mode.
macro_rules! stream {
    ($socket:expr, $mode:expr, $workers:expr) => {
        connections! { $socket, $mode, $workers }
        tests! { stream, $socket, $mode, $workers, urgent_bytes_stay_in_their_place }
    };
}

/// Those of records.
macro_rules! records {
    ($socket:expr, $mode:expr, $workers:expr) => {
        connections! { $socket, $mode, $workers }
        mod record {
            tests! { record, $socket, $mode, $workers,
                boundaries_are_kept one_byte_storm longest_comes_back_whole empty_records half_close slow_reader
                too_long stop_in_mid_stream max_bytes
            }
        }
    };
}

/// Those of all connections. A client that reads records without regard to their boundaries has a stream.
macro_rules! connections {
    ($socket:expr, $mode:expr, $workers:expr) => {
        tests! { stream, $socket, $mode, $workers,
            round_trip all_256_values one_byte_writes both_directions_at_once half_close slow_reader hundred_clients
            reset_in_mid_write max_connections
        }
        tests! { stream_stop, $socket, $mode, $workers,
            drain_with_bytes_in_flight drain_serves_who_has_just_come second_term_cuts term_while_idle term_with_idle_clients
            drain_serves_who_waits_side_by_side max_requests
        }
        tests! { stream_busy, $socket, $mode, $workers, cut_by_drain_timeout }
    };
}

/// Those that need more than one worker.
macro_rules! concurrent {
    ($socket:expr, $mode:expr, $workers:expr) => {
        tests! { concurrent, $socket, $mode, $workers, idle_client_does_not_block_others silent_flood_does_not_block_others }
    };
}

/// The list of behaviours that datagrams have, in one mode.
macro_rules! datagram {
    ($socket:expr, $mode:expr, $workers:expr) => {
        tests! { datagram, $socket, $mode, $workers,
            round_trip all_256_values empty_answers_empty longest_comes_back_whole boundaries_are_kept fifty_clients
            silent_reader_does_not_stop_others drain_answers_what_has_arrived
        }
    };
}

macro_rules! stream_services {
    ($socket:expr, $mode:expr) => {
        tests! { service_stream, $socket, $mode, "", upper discard chargen qotd daytime time reply_survives_unread_input }
        tests! { whoami, $socket, $mode, "", whoami }
    };
}

/// What ends a connection that neither side has ended, what may come before it begins, and what is counted in the end.
macro_rules! stream_limits {
    ($socket:expr, $mode:expr, $workers:expr) => {
        limits! { $socket, $mode, $workers }
        tests! { stream_limits, $socket, $mode, $workers, max_bytes }
        mod proxy {
            tests! { whoami, $socket, $mode, $workers, whoami_behind_a_proxy }
            tests! { stream_proxy, $socket, $mode, $workers,
                required in_pieces broken slow optional optional_and_silent with_limits stopped
            }
        }
        mod slowloris {
            tests! { stream_slowloris, $socket, $mode, $workers, max_lifetime proxy_header_timeout }
        }
    };
}

macro_rules! limits {
    ($socket:expr, $mode:expr, $workers:expr) => {
        tests! { stream_limits, $socket, $mode, $workers,
            idle_timeout idle_timeout_of_a_client_that_does_not_read idle_timeout_spares_the_active max_lifetime
            max_lifetime_of_a_silent_client max_lifetime_of_a_talk a_limited_client_is_told_the_end
        }
        tests! { counts, $socket, $mode, $workers,
            counters_grow_by_exactly_what_was_served a_thousand_empty_connections_leave_no_line
            empty_connections_are_logged_on_request
        }
    };
}

macro_rules! record_limits {
    ($socket:expr, $mode:expr, $workers:expr) => {
        limits! { $socket, $mode, $workers }
        tests! { record, $socket, $mode, $workers, idle_timeout_spares_empty_records }
    };
}

macro_rules! datagram_services {
    ($socket:expr, $mode:expr) => {
        tests! { counts, $socket, $mode, "", counters_grow_by_exactly_what_was_served }
        tests! { service_datagram, $socket, $mode, "",
            upper discard chargen chargen_amplified qotd daytime time time_amplified
        }
        tests! { whoami, $socket, $mode, "", whoami_datagram }
    };
}

macro_rules! stream_modes {
    ($($protocol:ident $socket:expr;)*) => {$(
        mod $protocol {
            mod iterative {
                stream!($socket, "iterative", "");
                stream_services!($socket, "iterative");
                stream_limits!($socket, "iterative", "");
            }
            mod threading {
                stream!($socket, "threading", "");
                concurrent!($socket, "threading", "");
                stream_services!($socket, "threading");
                stream_limits!($socket, "threading", "");
                mod workers_1 { stream!($socket, "threading", "1"); }
                mod workers_2 { stream!($socket, "threading", "2"); concurrent!($socket, "threading", "2"); }
            }
            mod forking {
                stream!($socket, "forking", "");
                concurrent!($socket, "forking", "");
                stream_services!($socket, "forking");
                stream_limits!($socket, "forking", "");
                mod workers_1 { stream!($socket, "forking", "1"); }
                mod workers_2 { stream!($socket, "forking", "2"); concurrent!($socket, "forking", "2"); stream_limits!($socket, "forking", "2"); }
            }
            mod select {
                stream!($socket, "select", "");
                concurrent!($socket, "select", "");
                stream_services!($socket, "select");
                stream_limits!($socket, "select", "");
                mod workers_2 { stream!($socket, "select", "2"); concurrent!($socket, "select", "2"); }
            }
            mod poll {
                stream!($socket, "poll", "");
                concurrent!($socket, "poll", "");
                stream_services!($socket, "poll");
                stream_limits!($socket, "poll", "");
                mod workers_2 { stream!($socket, "poll", "2"); concurrent!($socket, "poll", "2"); }
            }
            mod epoll {
                stream!($socket, "epoll", "");
                concurrent!($socket, "epoll", "");
                stream_services!($socket, "epoll");
                stream_limits!($socket, "epoll", "");
                mod workers_2 { stream!($socket, "epoll", "2"); concurrent!($socket, "epoll", "2"); }
            }
            mod edge {
                stream!($socket, "edge", "");
                concurrent!($socket, "edge", "");
                stream_services!($socket, "edge");
                stream_limits!($socket, "edge", "");
                mod workers_2 { stream!($socket, "edge", "2"); concurrent!($socket, "edge", "2"); }
            }
            mod io_uring {
                stream!($socket, "io-uring", "");
                concurrent!($socket, "io-uring", "");
                stream_services!($socket, "io-uring");
                stream_limits!($socket, "io-uring", "");
                mod workers_2 { stream!($socket, "io-uring", "2"); concurrent!($socket, "io-uring", "2"); }
            }
        }
    )*};
}

/// Records are carried by the same connections as the bytes of a stream, so each mode is tried once; limits in one mode of each kind,
/// services in one.
macro_rules! record_modes {
    ($($protocol:ident $socket:expr;)*) => {$(
        mod $protocol {
            mod iterative {
                records!($socket, "iterative", "");
            }
            mod threading {
                records!($socket, "threading", "");
                concurrent!($socket, "threading", "");
                record_limits!($socket, "threading", "");
            }
            mod forking {
                records!($socket, "forking", "");
                concurrent!($socket, "forking", "");
                record_limits!($socket, "forking", "");
            }
            mod select {
                records!($socket, "select", "");
                concurrent!($socket, "select", "");
            }
            mod poll {
                records!($socket, "poll", "");
                concurrent!($socket, "poll", "");
            }
            mod epoll {
                records!($socket, "epoll", "");
                concurrent!($socket, "epoll", "");
                stream_services!($socket, "epoll");
                record_limits!($socket, "epoll", "");
            }
            mod edge {
                records!($socket, "edge", "");
                concurrent!($socket, "edge", "");
            }
            mod io_uring {
                records!($socket, "io-uring", "");
                concurrent!($socket, "io-uring", "");
                record_limits!($socket, "io-uring", "");
            }
        }
    )*};
}

macro_rules! datagram_modes {
    ($($protocol:ident $socket:expr;)*) => {$(
        mod $protocol {
            mod iterative {
                datagram!($socket, "iterative", "");
                datagram_services!($socket, "iterative");
            }
            mod threading {
                datagram!($socket, "threading", "");
                datagram_services!($socket, "threading");
                mod per_request { datagram!($socket, "threading", "\"per-request\""); }
                mod workers_1 { datagram!($socket, "threading", "1"); }
                mod workers_2 { datagram!($socket, "threading", "2"); }
            }
            mod forking {
                datagram!($socket, "forking", "");
                datagram_services!($socket, "forking");
                mod per_request { datagram!($socket, "forking", "\"per-request\""); }
                mod workers_1 { datagram!($socket, "forking", "1"); }
                mod workers_2 { datagram!($socket, "forking", "2"); }
            }
            mod select {
                datagram!($socket, "select", "");
                datagram_services!($socket, "select");
                mod workers_2 { datagram!($socket, "select", "2"); }
            }
            mod poll {
                datagram!($socket, "poll", "");
                datagram_services!($socket, "poll");
                mod workers_2 { datagram!($socket, "poll", "2"); }
            }
            mod epoll {
                datagram!($socket, "epoll", "");
                datagram_services!($socket, "epoll");
                mod workers_2 { datagram!($socket, "epoll", "2"); }
            }
            mod edge {
                datagram!($socket, "edge", "");
                datagram_services!($socket, "edge");
                mod workers_2 { datagram!($socket, "edge", "2"); }
            }
            mod io_uring {
                datagram!($socket, "io-uring", "");
                datagram_services!($socket, "io-uring");
                mod workers_2 { datagram!($socket, "io-uring", "2"); }
            }
        }
    )*};
}

stream_modes! {
    tcp ("tcp", "127.0.0.1:0");
    unix ("unix", "it.sock");
}
record_modes! {
    unix_seqpacket ("unix-seqpacket", "it.sock");
}
datagram_modes! {
    udp ("udp", "127.0.0.1:0");
    udp6 ("udp", "[::1]:0");
    unix_datagram ("unix-datagram", "it.sock");
}
