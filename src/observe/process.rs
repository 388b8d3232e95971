//! What the kernel knows of the daemon's processes (proc(5)).

use std::fs;

use nix::{
    sys::resource::{Resource, UsageWho, getrlimit, getrusage},
    unistd::{SysconfVar, sysconf},
};

use super::snapshot::Snapshot;

/// What the daemon uses. What cannot be read is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessFigures {
    /// Processor time of the daemon and of its processes that have ended.
    pub cpu_seconds: f64,
    /// Resident memory of all its processes.
    pub resident_bytes: u64,
    /// Threads of the daemon.
    pub threads: u64,
    /// Open descriptors of the daemon.
    pub open_fds: u64,
    /// How many it may have.
    pub max_fds: u64,
    /// Its processes.
    pub processes: u64,
}

/// What the daemon uses now. To be called in the daemon.
pub fn figures(daemon: &Snapshot) -> ProcessFigures {
    let mut all = vec![daemon.pid];
    for server in &daemon.processes {
        all.push(*server);
        all.extend(children(*server));
    }
    let cpu =
        |who| getrusage(who).map_or(0.0, |usage| seconds(usage.user_time()) + seconds(usage.system_time()));
    let own = status(daemon.pid);
    ProcessFigures {
        cpu_seconds: cpu(UsageWho::RUSAGE_SELF) + cpu(UsageWho::RUSAGE_CHILDREN) + running(&daemon.processes),
        resident_bytes: all.iter().map(|pid| field(&status(*pid), "VmRSS:") * 1024).sum(),
        threads: field(&own, "Threads:"),
        // One of them is that of the directory itself.
        open_fds: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1) as u64),
        max_fds: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft),
        processes: all.len() as u64,
    }
}

/// Processor time of these processes, and of their children that have ended.
fn running(processes: &[u32]) -> f64 {
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64;
    let ticks = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name before may hold anything: fields are counted from its end. utime, stime, cutime, cstime are 14 to 17.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>()
    };
    processes.iter().map(ticks).sum::<u64>() as f64 / ticks_per_second
}

fn children(pid: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn status(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn seconds(time: nix::sys::time::TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}
