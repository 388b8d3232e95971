//! From the start to the end: addresses, start, workers, reload, log, stop.

pub(crate) mod addresses;
pub(crate) mod binds;
pub(crate) mod detach;
pub(crate) mod faults_told;
pub(crate) mod host_names;
pub(crate) mod ip_header;
pub(crate) mod keepalive;
pub(crate) mod life;
pub(crate) mod log_events;
pub(crate) mod log_lines;
pub(crate) mod log_targets;
pub(crate) mod log_times;
pub(crate) mod parked;
pub(crate) mod privileges;
pub(crate) mod processes;
pub(crate) mod reload;
pub(crate) mod task_names;
pub(crate) mod told_at_start;
pub(crate) mod unix_files;
pub(crate) mod workers;
