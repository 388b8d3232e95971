//! What `ps` and `top -H` show: which listener a thread or process serves, and its part in that.

use std::{collections::BTreeSet, fs};

use crate::{
    harness::{Echod, eventually, has_mode, listener},
    matrix::Combination,
};

/// The names of all threads of the daemon and its processes.
fn names(daemon: &Echod) -> BTreeSet<String> {
    let tasks = |pid: i32| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let name = |task: std::io::Result<fs::DirEntry>| fs::read_to_string(task.ok()?.path().join("comm")).ok();
    let all = daemon.group().into_iter().flat_map(tasks).filter_map(name);
    all.map(|name| name.trim_end().to_owned()).collect()
}

#[test]
fn threads_and_processes_are_named_after_listener_and_part() {
    for (mode, workers, wanted) in [
        ("iterative", "", &["it/worker-1"][..]),
        ("threading", "", &["it/threading", "it/client"]),
        ("threading", "2", &["it/worker-1", "it/worker-2"]),
        ("forking", "", &["it/forking", "it/client"]),
        ("forking", "2", &["it/forking", "it/worker-1", "it/worker-2"]),
        ("select", "", &["it/select-1"]),
        ("poll", "", &["it/poll-1"]),
        ("epoll", "2", &["it/epoll-1", "it/epoll-2"]),
        ("io-uring", "2", &["it/uring-1", "it/uring-2"]),
    ] {
        if !has_mode(mode) {
            continue;
        }
        let (protocol, address) = ("tcp", "127.0.0.1:0");
        let daemon = Combination { protocol, address, mode, workers }.start();
        let client = daemon.client("it");
        client.echo(b"hello");
        eventually("the names", || {
            let names = names(&daemon);
            wanted.iter().chain(&["echod", "signals"]).all(|name| names.contains(*name)).then_some(())
        });
    }
}

/// What does not fit is left out of the listener's name, not of the part.
#[test]
fn a_long_name_leaves_room_for_the_part() {
    let daemon = Echod::start(&listener("frontend-of-the-shop", "tcp", "mode = \"forking\"\nworkers = 1"));
    eventually("the name", || names(&daemon).contains("fronte/worker-1").then_some(()));
}
