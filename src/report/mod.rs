//! What is counted and what is written: counters, the reasons of a close and of a refusal, failures, and the log.
//!
//! In: events of connections, datagrams and listeners. Out: log lines, the status line of SIGUSR1, and the message and exit code
//! of a failed start. Nothing in this room waits for a reader of the log.
//!
//! Reading order: `stats` with `counters`, `close_reason` and `refusal_reason`, `error`, then `logging`: `text` and `json` (how a
//! line looks), `sink`, `stderr` and `target` (where it goes), `outlet` (what happens if there is no room for it). `decimal`,
//! `figures` and `payload` format numbers and client data, `colour` knows which stream takes colours, `regular_file` opens files
//! safely.

pub mod close_reason;
pub mod colour;
pub mod decimal;
pub mod error;
pub mod fault_kind;
pub mod figures;
pub mod log_event;
pub mod logging;
pub mod payload;
pub mod refusal_reason;
pub mod regular_file;
pub mod stats;
