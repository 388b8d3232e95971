//! What is written about what happens: lines for people or one JSON object a line, never more than one line an event,
//! and nothing in it that acts on a terminal. Nobody waits for a log: see `outlet`.

use std::{
    io::{self, Write as _},
    path::Path,
    sync::{
        Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use env_logger::{Builder, WriteStyle, fmt::Formatter};
use log::{Level, LevelFilter, Record};
use nix::unistd::{Gid, Uid, fchown};

use crate::{
    config::{Log, LogFormat, LogLevel, LogTarget},
    report::error::Failure,
};

mod gather;
mod json;
mod outlet;
mod sink;
mod stderr;
mod target;
mod text;

pub use gather::LineBuffer;
use gather::Lines;
use json::json_line;
use outlet::{Outlet, Target};

pub use outlet::when_behind;
pub use stderr::{print_error, stderr_is_journal};
use target::cannot_log;
pub use target::{check, missing};
pub use text::dated;

/// The log that is in effect; a reload puts another one in its place.
static CURRENT: RwLock<Option<PreparedLog>> = RwLock::new(None);

/// Whether this process serves for another one that waits for it.
static IS_WORKER: AtomicBool = AtomicBool::new(false);

/// What the macros of `log` know: hands every record to the log that is in effect.
struct Current;

impl log::Log for Current {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        read().as_ref().is_some_and(|log| log.logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(log) = read().as_ref() {
            log.tell_lost();
            log.logger.log(record);
        }
    }

    fn flush(&self) {}
}

fn read() -> RwLockReadGuard<'static, Option<PreparedLog>> {
    CURRENT.read().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the macros of `log` write as `log` says; may be called again.
///
/// # Errors
/// If its target cannot be opened; then nothing has changed.
pub fn install(log: &Log) -> Result<(), Failure> {
    open(log, sink::Datagrams::syslog_or_none).map(PreparedLog::install)
}

/// A log that is ready to be installed.
pub struct PreparedLog {
    logger: env_logger::Logger,
    target: LogTarget,
    outlet: Arc<Outlet>,
    /// Whether it is a file of ours, and not a stream that the process was started with.
    own_file: bool,
}

/// Opens the target of a log.
pub fn prepare(log: &Log) -> Result<PreparedLog, Failure> {
    open(log, sink::Datagrams::syslog)
}

fn open(log: &Log, syslog: fn() -> io::Result<sink::Datagrams>) -> Result<PreparedLog, Failure> {
    // Whatever the target is: what is still said on standard error keeps nobody waiting, either.
    let stderr = stderr::outlet();
    let on_stderr = matches!(log.target, LogTarget::Auto | LogTarget::Stderr);
    // Those that wait for room there are not lost by a reload.
    let again = || read().as_ref().filter(|old| old.target == log.target).map(|old| Arc::clone(&old.outlet));
    let datagrams = |socket| again().unwrap_or_else(|| Arc::new(Outlet::new(Target::Datagrams(socket))));
    let mut own_file = false;
    let outlet = match log.target {
        LogTarget::Auto | LogTarget::Stderr => Arc::clone(stderr),
        LogTarget::Syslog => datagrams(syslog().map_err(|error| cannot_log("syslog", &error))?),
        LogTarget::Journald => {
            datagrams(sink::Datagrams::journal().map_err(|error| cannot_log("the journal", &error))?)
        }
        LogTarget::File => {
            let path = log.file.as_deref().unwrap_or(Path::new("echod.log"));
            let opened =
                target::open(path).map_err(|error| cannot_log(&path.display().to_string(), &error))?;
            own_file = opened.1;
            opened.0
        }
    };
    let mut builder = Builder::new();
    builder.filter_level(filter(log.level));
    // "Always" leaves lines as they are: where there is no style in them it would be looked for in every byte.
    builder.write_style(WriteStyle::Always);
    builder.target(env_logger::Target::Pipe(Box::new(Lines(Arc::clone(&outlet)))));
    let format = log.format;
    match log.target {
        LogTarget::Syslog => builder.format(move |out, record| sink::write_syslog(out, record, format)),
        LogTarget::Journald => builder.format(move |out, record| sink::write_journal(out, record, format)),
        _ if on_stderr && stderr_is_journal() => {
            builder.format(move |out, record| sink::write_prefixed(out, record, format))
        }
        _ => match format {
            LogFormat::Text if on_stderr && stderr::takes_colours() => builder.format(write_styled),
            LogFormat::Text => builder.format(write_plain),
            LogFormat::Json => builder.format(write_json),
        },
    };
    Ok(PreparedLog { logger: builder.build(), target: log.target, outlet, own_file })
}

impl PreparedLog {
    /// Puts it in the place of the log before.
    pub fn install(self) {
        log::set_max_level(self.logger.filter());
        let mut current = CURRENT.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = current.as_ref().filter(|old| !Arc::ptr_eq(&old.outlet, &self.outlet)) {
            old.outlet.retire();
        }
        *current = Some(self);
        // It is there already where this is not the first call.
        let _ = log::set_logger(&Current);
    }

    /// Tells of lines that found no room, once there is room again.
    fn tell_lost(&self) {
        if outlet::lost().load(Relaxed) == 0 || !self.outlet.catch_up() || !self.outlet.may_tell() {
            return;
        }
        let lost = outlet::lost().swap(0, Relaxed);
        // Also where nothing but errors is logged: some of those may be among them.
        if let (Some(most), 1..) = (self.logger.filter().to_level(), lost) {
            let what = if lost == 1 { "1 line was lost" } else { &format!("{lost} lines were lost") };
            let args = format_args!("the log had no room: {what}");
            let mut notice = Record::builder();
            notice.level(Level::Warn.min(most)).target(module_path!()).args(args);
            gather::as_notice(|| log::Log::log(&self.logger, &notice.build()));
        }
    }
}

/// When [`catch_up`] has something to do, if it has.
pub fn due() -> Option<Instant> {
    outlet::is_behind().then(|| read().as_ref().map(|log| log.outlet.due())).flatten()
}

/// Writes lines that have found no room, if there is room now. To be called when it is [due].
pub fn catch_up() {
    if outlet::is_behind()
        && let Some(log) = read().as_ref()
    {
        log.outlet.catch_up();
        log.tell_lost();
    }
}

/// Has this process, a worker that was forked, keep what finds no room and catch up; otherwise it is lost at once.
pub fn keep_lines() {
    if let Some(log) = read().as_ref() {
        log.outlet.adopt();
        IS_WORKER.store(true, Relaxed);
    }
}

/// As [`due`], for who waits at sockets: elsewhere another thread looks after the log.
pub fn due_in_worker() -> Option<Instant> {
    if IS_WORKER.load(Relaxed) { due() } else { None }
}

/// Writes what is left at the end of the process; a slow reader is given a moment.
pub fn finish() {
    if outlet::is_behind()
        && let Some(log) = read().as_ref()
    {
        log.outlet.finish();
        log.tell_lost();
    }
}

/// Gives the log file that is open, if there is one, to those who are to open it again when it was rotated.
pub fn give_file(user: Uid, group: Gid) -> io::Result<()> {
    let log = read();
    match log.as_ref().filter(|log| log.own_file).and_then(|log| log.outlet.file()) {
        // By the descriptor: at the path there may be another file by now.
        Some(file) => Ok(fchown(file, Some(user), Some(group))?),
        None => Ok(()),
    }
}

/// Makes a panic, which ends one connection at most, a line of the log like any other.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
}

/// Lets one event pass in each interval, and counts the others. For a line about a fault that comes back thousands of
/// times a second as long as its cause lasts.
#[derive(Debug)]
pub struct LogThrottle {
    interval: Duration,
    /// When the next event may pass, in milliseconds of the process's life.
    next: AtomicU64,
    suppressed: AtomicU64,
}

impl LogThrottle {
    /// Lets the first event pass, then one in each `interval`.
    pub const fn new(interval: Duration) -> Self {
        LogThrottle { interval, next: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// Whether this event may pass; if so, how many did not since the last one that did.
    pub fn allow(&self) -> Option<u64> {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        self.allow_at(START.elapsed())
    }

    fn allow_at(&self, now: Duration) -> Option<u64> {
        let next = self.next.load(Relaxed);
        let later = millis(now.saturating_add(self.interval));
        // Of threads that come at the same moment, the one whose exchange succeeds passes.
        let passes = millis(now) >= next && self.next.compare_exchange(next, later, Relaxed, Relaxed).is_ok();
        if !passes {
            self.suppressed.fetch_add(1, Relaxed);
        }
        passes.then(|| self.suppressed.swap(0, Relaxed))
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::Off,
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Trace => LevelFilter::Trace,
    }
}

/// The message says all that the key-values say, so people are not shown them again.
fn write_plain(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    text::write_time(out)?;
    text::with_message(*record.args(), |message| {
        for part in [" ", text::level(record.level()), " ", message, "\n"] {
            out.write_all(part.as_bytes())?;
        }
        Ok(())
    })
}

fn write_styled(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    text::write_time(out)?;
    let (level, style) = (text::level(record.level()), out.default_level_style(record.level()));
    text::with_message(*record.args(), |message| writeln!(out, " {style}{level}{style:#} {message}"))
}

fn write_json(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    writeln!(out, "{}", json_line(text::time(), record)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_passes_in_each_interval() {
        static FULL: LogThrottle = LogThrottle::new(Duration::from_secs(1));
        let at = |millis| FULL.allow_at(Duration::from_millis(millis));
        assert_eq!(at(5), Some(0));
        assert_eq!(at(5), None);
        assert_eq!(at(1004), None);
        assert_eq!(at(1005), Some(2));
        assert_eq!(at(9000), Some(0));
        assert_eq!(FULL.allow(), None, "the clock of the process begins at zero");
    }
}
