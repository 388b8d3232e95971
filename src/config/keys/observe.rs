//! `[observe]`: the HTTP endpoint at which people and programs observe the daemon.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::config::{
    keys::{
        Int, Key,
        Preset::Value,
        Reload::{Live, Restart},
        keys,
    },
    observe::{ENDPOINTS, EndpointAddress, TIMEOUT, this_machine},
    values::{NETWORKS, PERMISSIONS},
};

keys! {
    /// `[observe]`: a read-only HTTP endpoint to metrics, health and status.
    Observe, WrittenObserve, ObserveKeys = OBSERVE;

    /// Where echod serves its read-only HTTP endpoint: `/metrics` for Prometheus, `/healthz` and `/readyz` for probes, `/status`
    /// for programs, `/` for people. An address with a port, or `unix:` and a path; `%t` is the runtime directory. Without an
    /// address there is no endpoint.
    address: Arc<[EndpointAddress]> = Key {
        value: &ENDPOINTS, default: Value(|_| [].into()), needs: &[], reload: Restart,
        example: "[\"127.0.0.1:9862\", \"unix:%t/observe.sock\"]",
    },
    /// Networks whose clients may use the endpoint at an `address` with a port. Without this key only this machine may. The
    /// permissions of a socket file decide for `unix:`.
    allow: Arc<[IpNet]> = Key {
        value: &NETWORKS, default: Value(|_| this_machine()), needs: &[], reload: Live,
        example: "[\"127.0.0.0/8\", \"::1\", \"192.0.2.0/24\"]",
    },
    /// The permissions of the socket files of the endpoint.
    socket_mode: u32 = Key {
        value: &PERMISSIONS, default: Value(|_| 0o600), needs: &[], reload: Restart, example: "\"0660\"",
    },
    /// How long a request may take from the connection to its answer, up to 1 minute. Health is decided within it too: a
    /// worker that gives no sign of life for so long is not healthy.
    timeout: Duration = Key {
        value: &TIMEOUT, default: Value(|_| Duration::from_secs(2)), needs: &[], reload: Live, example: "\"5s\"",
    },
    /// How many connections the endpoint has at once. One more closes the one that has gone longest without a whole
    /// request.
    max_connections: u32 = Key {
        value: &Int(1, 1024), default: Value(|_| 16), needs: &[], reload: Live, example: "64",
    },
}
