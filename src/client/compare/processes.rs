//! What a server uses, from /proc: all its processes together.

use std::{collections::HashMap, fs, io, time::Duration};

use nix::unistd::{SysconfVar, sysconf};

/// A process and all that descend from it.
#[derive(Clone, Debug)]
pub(super) struct Processes {
    root: u32,
    /// Nanoseconds of a clock tick, in which /proc/PID/stat tells processor time.
    tick: u64,
}

/// What they use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Processor time, their own and the kernel's for them.
    pub(super) cpu: Duration,
    /// Memory in bytes.
    pub(super) memory: Option<u64>,
    pub(super) descriptors: Option<u64>,
    pub(super) processes: u32,
}

/// A line of /proc/PID/stat, as far as it is needed.
struct Stat {
    parent: u32,
    /// Ticks of the process.
    own: u64,
    /// Ticks of its children that have ended.
    of_children: u64,
}

impl Processes {
    pub(super) fn of(root: u32) -> Processes {
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok());
        Processes { root, tick: 1_000_000_000 / ticks.filter(|ticks| *ticks > 0).unwrap_or(100) }
    }

    /// The processor time that they have used so far, and those that have ended.
    pub(super) fn cpu(&self) -> Duration {
        self.sum(&self.all())
    }

    fn sum(&self, all: &HashMap<u32, Stat>) -> Duration {
        let of_one = |(pid, stat): (&u32, &Stat)| {
            run_time(*pid).unwrap_or(stat.own * self.tick) + stat.of_children * self.tick
        };
        Duration::from_nanos(all.iter().map(of_one).sum())
    }

    /// Everything.
    pub(super) fn usage(&self) -> Usage {
        let all = self.all();
        let sum = |of: fn(u32) -> Option<u64>| {
            // One that has just ended uses nothing any more.
            let found: Vec<u64> = all.keys().filter_map(|pid| of(*pid)).collect();
            (!found.is_empty()).then(|| found.iter().sum())
        };
        Usage {
            cpu: self.sum(&all),
            memory: sum(memory),
            descriptors: sum(descriptors),
            processes: all.len() as u32,
        }
    }

    /// Their numbers.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.all().into_keys().collect()
    }

    fn all(&self) -> HashMap<u32, Stat> {
        let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let mut others: HashMap<u32, Stat> = pids.filter_map(|pid| Some((pid, stat(pid)?))).collect();
        let mut found = HashMap::new();
        let mut wanted = vec![self.root];
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        others.iter().for_each(|(pid, stat)| children.entry(stat.parent).or_default().push(*pid));
        while let Some(pid) = wanted.pop() {
            if let Some(stat) = others.remove(&pid) {
                found.insert(pid, stat);
                wanted.extend(children.remove(&pid).unwrap_or_default());
            }
        }
        found
    }
}

fn stat(pid: u32) -> Option<Stat> {
    read_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// proc_pid_stat(5). The name in parentheses may contain anything.
fn read_stat(line: &str) -> Option<Stat> {
    let (_, rest) = line.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The state is field 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: field(4)? as u32,
        own: field(14)? + field(15)?,
        of_children: field(16)? + field(17)?,
    })
}

/// Nanoseconds for which the threads of a process ran, where the scheduler keeps statistics. A tick is 10 ms: too coarse for
/// each of a thousand processes.
fn run_time(pid: u32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of_thread = |thread: io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    // A thread that ends meanwhile takes its time with it.
    let found: Vec<u64> = threads.filter_map(of_thread).collect();
    (!found.is_empty()).then(|| found.iter().sum())
}

/// The proportional set size, or where the kernel does not tell it the resident one.
fn memory(pid: u32) -> Option<u64> {
    let pss = || {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    };
    let resident = || {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    };
    pss().or_else(resident)
}

fn descriptors(pid: u32) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_fields() {
        let line = "7 (a) R 1 (b) S 5 7 7 0 -1 4194560 500 0 0 0 11 22 33 44 20 0 1 0 100 0 0";
        let stat = read_stat(line).unwrap();
        assert_eq!((stat.parent, stat.own, stat.of_children), (5, 33, 77));
        assert!(read_stat("7 (a").is_none());
    }

    #[test]
    fn children_belong_to_their_parent() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let own = Processes::of(std::process::id());
        let found = own.ids();
        let usage = Processes::of(child.id()).usage();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&std::process::id()) && found.contains(&child.id()));
        assert_eq!(usage.processes, 1);
        assert!(usage.memory.is_some_and(|memory| memory > 0), "{usage:?}");
        assert!(usage.descriptors.is_some_and(|open| open >= 3), "{usage:?}");
        assert_eq!(Processes::of(u32::MAX).usage(), Usage::default());
    }
}
