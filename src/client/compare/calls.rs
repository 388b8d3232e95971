//! How many system calls an echo takes, counted by strace(1) where it is installed and may trace. Under it everything is many
//! times slower, so it counts in a run of its own, of which nothing else is kept.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    super::{
        bench::{self, Progress, ProgressStep},
        measurement::TargetResult,
        options::Bench,
        target::{Families, Target},
    },
    server::Daemon,
};

/// Long enough for some thousand echoes; a shorter round is long enough here too.
const LONGEST: Duration = Duration::from_millis(500);

/// Counts for every mode, with no idle connections beside: a wait is one call however many it watches.
pub(super) fn count(
    daemons: &BTreeMap<String, Daemon>,
    rows: &mut [TargetResult],
    options: &Bench,
    progress: &mut dyn Progress,
) {
    for (mode, daemon) in daemons {
        if progress.stop().load(Relaxed) {
            return;
        }
        progress.begin(&ProgressStep {
            what: format!("{mode}, system calls"),
            lasts: LONGEST.min(options.duration),
        });
        let calls = of(daemon, options, progress);
        progress.end();
        let Some(calls) = calls else { return };
        let servers = rows.iter_mut().filter_map(|row| row.server.as_mut());
        servers.filter(|server| server.mode == *mode).for_each(|server| server.calls_per_echo = Some(calls));
    }
}

fn of(daemon: &Daemon, options: &Bench, progress: &dyn Progress) -> Option<f64> {
    let mut command = Command::new("strace");
    command.args(["-f", "-c"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let traced = daemon.processes.ids();
    traced.iter().for_each(|pid| _ = command.args(["-p", &pid.to_string()]));
    // It counts until it is told to end.
    let mut strace = command.spawn().ok()?;
    let mut told = BufReader::new(strace.stderr.take()?);
    let is_attached = has_attached(&mut told, traced.len());
    let echoes = if is_attached { echoes(daemon, options, progress) } else { None };
    let _ = kill(Pid::from_raw(strace.id().cast_signed()), Signal::SIGINT);
    let mut summary = String::new();
    let _ = told.read_to_string(&mut summary);
    let _ = strace.wait();
    let calls = total(&summary)?;
    echoes.filter(|echoes| *echoes > 0).map(|echoes| calls as f64 / echoes as f64)
}

/// Whether it says of so many processes that it is attached to them, before anything else.
fn has_attached(told: &mut impl BufRead, processes: usize) -> bool {
    let mut line = String::new();
    for _ in 0..processes {
        line.clear();
        if told.read_line(&mut line).is_err() || !line.contains(" attached") {
            return false;
        }
    }
    true
}

fn echoes(daemon: &Daemon, options: &Bench, progress: &dyn Progress) -> Option<u64> {
    let mut own = options.clone();
    (own.rounds, own.idle, own.compare) = (1, Vec::new(), None);
    (own.duration, own.warm_up) = (LONGEST.min(options.duration), Duration::ZERO);
    let target = Target::read("bench", &daemon.url, Families::Any).ok()?;
    let mut quiet = Quiet(progress);
    let found = bench::measure(&[target], &own, &mut quiet).ok()?;
    Some(found.targets.first()?.fates.ok)
}

/// Stops like another, and tells nothing.
struct Quiet<'a>(&'a dyn Progress);

impl Progress for Quiet<'_> {
    fn begin(&mut self, _: &ProgressStep) {}

    fn end(&mut self) {}

    fn stop(&self) -> &std::sync::atomic::AtomicBool {
        self.0.stop()
    }
}

/// The number of calls in the last line of its table: `100.00 0.061 3 19632 2 total`; the errors may be missing.
fn total(summary: &str) -> Option<u64> {
    let line = summary.lines().rev().find(|line| line.trim_end().ends_with(" total"))?;
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    words.get(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_with_and_without_errors() {
        let table = |last: &str| {
            format!("% time     seconds  usecs/call     calls    errors syscall\n ... recvfrom\n{last}\n")
        };
        assert_eq!(total(&table("100.00    0.061000           3     19632         2 total")), Some(19_632));
        assert_eq!(total(&table("100.00    0.061000           3     19632           total")), Some(19_632));
        assert_eq!(total("strace: attach: ptrace(PTRACE_SEIZE, 7): Operation not permitted\n"), None);
    }
}
