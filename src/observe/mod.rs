//! The HTTP endpoint at which people and programs observe the daemon. It is read-only.
//!
//! In: requests, and snapshots of the daemon that the supervisor takes when it is asked. Out: metrics, health, status and a page.
//! One thread serves the endpoint. It never touches a worker, and the road does not know it: it reports what is counted anyway.
//!
//! Read `snapshot` (what there is to be seen) first, then `endpoint` (the thread that asks the supervisor and answers clients) with
//! `http` (requests and responses), `requests` (what can be asked for) and `routes` (which path tells what). `health` decides what is healthy,
//! `explain` is the question about one client.
//! `page` is what people look at, `metrics` the table of metrics, with `process` for what the kernel knows.

pub mod connections;
pub mod endpoint;
pub mod explain;
pub mod fetch;
pub mod health;
pub mod help;
pub mod http;
pub mod metrics;
pub mod options;
pub mod page;
pub mod process;
pub mod requests;
pub mod routes;
pub mod snapshot;
pub mod status;
pub mod top;
