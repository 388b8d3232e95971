//! The system calls for which neither the standard library nor a maintained crate has an interface that fits this daemon. This is
//! the only room with unsafe code; every signature that leaves it is safe.
//!
//! In: sockets, buffers and closures from every other room. Out: results as `io::Error`, with the errno that the kernel returned.
//! The room imports nothing from the rest of the crate.
//!
//! Reading order: `transport` (recv and send on one connection), `poller` (select, poll and epoll behind one trait), `ring`
//! (io_uring behind the same trait), `mmsg` with `names` (datagrams in batches), `interrupt`, `worker_state` and `alarm` (waking
//! blocked threads), `fork`, `spawn` and `thread` (new processes and threads), `shared` (memory). Each other file wraps one socket
//! option, one system call or one file of /proc.

pub mod accept;
pub mod alarm;
pub mod bpf;
pub mod buffer_lock;
pub mod clock;
pub mod code;
pub mod credentials;
pub mod error_queue;
pub mod fork;
pub mod inet_diag;
pub mod interface_index;
pub mod interrupt;
pub mod local_time;
pub mod mmsg;
pub mod names;
pub mod netfilter;
mod netlink;
pub mod netns_cookie;
pub mod path_mtu;
pub mod pending;
pub mod poller;
pub mod record;
pub mod request_notes;
pub mod ring;
pub mod room;
pub mod rtnetlink;
pub mod saved_syn;
pub mod send_buffer;
pub mod shared;
pub mod socket_drops;
pub mod socket_filter;
mod socket_option;
pub mod spawn;
pub mod stamps;
pub mod task_name;
pub mod tcp_info;
pub mod thread;
pub mod transport;
pub mod unix_diag;
pub mod worker_state;
pub mod xfrm;
