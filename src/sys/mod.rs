//! The only unsafe code of the crate, behind safe signatures. One file for each thing that the standard library and the
//! well-kept crates do not offer in a form this daemon can use.

pub mod accept;
pub mod buffer_lock;
pub mod clock;
pub mod code;
pub mod credentials;
pub mod error_queue;
pub mod fork;
pub mod interface_index;
pub mod interrupt;
pub mod local_time;
pub mod mmsg;
pub mod names;
pub mod path_mtu;
pub mod pending;
pub mod poller;
pub mod ring;
pub mod room;
pub mod send_buffer;
pub mod shared;
pub mod socket_filter;
pub mod spawn;
pub mod task_name;
pub mod thread;
pub mod transport;
pub mod unix_diag;
pub mod worker_state;
