//! What `/proc` tells about a process, see proc(5).

use std::{fs, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::poll;

/// The processes whose working directory is `dir`: a daemon of this suite and all its family, orphans too. (A zombie has
/// no working directory any more.)
pub(crate) fn working_in(dir: &Path) -> Vec<i32> {
    let dir = dir.canonicalize().unwrap();
    let all = fs::read_dir("/proc").unwrap();
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir))
        .collect()
}

/// Kills everything that works in `dir`.
pub(crate) fn kill_all(dir: &Path) {
    for pid in working_in(dir) {
        // It may have ended by itself meanwhile.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    poll(|| working_in(dir).is_empty().then_some(()));
}

/// The direct children of a process, zombies included.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|line| line.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

/// All processes below a process.
pub(crate) fn descendants(pid: i32) -> Vec<i32> {
    let below = children(pid);
    let deeper = below.iter().flat_map(|&child| descendants(child)).collect::<Vec<_>>();
    [below, deeper].concat()
}

/// One value of `/proc/PID/status`, `None` when the process is gone.
pub(crate) fn status(pid: i32, key: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// The memory of a process that it wrote itself, shared or not, in KiB; `None` when the process is gone. Pages of files are not
/// its own: the kernel takes them from it and gives them back at any time.
pub(crate) fn own_memory(pid: i32) -> Option<u64> {
    let kib = |key| status(pid, key)?.trim_end_matches(" kB").parse::<u64>().ok();
    Some(kib("RssAnon")? + kib("RssShmem")?)
}

/// Whether a process has ended and was not waited for.
pub(crate) fn is_zombie(pid: i32) -> bool {
    status(pid, "State").is_some_and(|state| state.starts_with('Z'))
}

/// How many threads a process has.
pub(crate) fn threads(pid: i32) -> usize {
    status(pid, "Threads").unwrap().parse().unwrap()
}

/// What the descriptors of a process refer to, such as `socket:[4711]`.
pub(crate) fn descriptors(pid: i32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    entries
        .filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.to_string_lossy().into_owned()))
        .collect()
}

/// Clock ticks (1/100 s) of processor time that a process has used, and those of its children that it has waited for; 0 when the
/// process is gone.
pub(crate) fn cpu_ticks(pid: i32) -> u64 {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0 };
    // The name in parentheses may hold spaces; utime, stime, cutime and cstime are the 12th to 15th field after it.
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
    fields.skip(11).take(4).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// A line of `/proc/net/tcp` by local port and state (`0A` listens, `01` is connected): its fields.
pub(crate) fn tcp_socket(port: u16, state: &str) -> Option<Vec<String>> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .find(|fields| fields[1].ends_with(&local) && fields[3] == state)
}
