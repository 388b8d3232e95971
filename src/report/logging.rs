//! The log: one line for each event, as text or as a JSON object, with nothing in it that controls a terminal. No thread waits
//! for a log: see `outlet`.

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
use log::{Level, LevelFilter, Record, kv::ToValue};
use nix::unistd::{Gid, Uid, fchown};

use crate::{
    config::{Log, LogFormat, LogLevel, LogTarget},
    report::{
        colour,
        error::Failure,
        log_event::{LogEvent, millis},
    },
};

mod fields;
mod gather;
mod json;
mod nonblocking_stderr;
mod outlet;
mod sink;
mod stderr;
mod target;
mod text;

pub use gather::LineBuffer;
use gather::Lines;
use json::json_line;
use outlet::{OpenTarget, Outlet};

pub use outlet::when_behind;
pub use stderr::{print_error, stderr_is_journal};
use target::cannot_log;
pub use target::{check, missing};
pub use text::dated;

/// The log in effect. A reload replaces it.
static CURRENT: RwLock<Option<PreparedLog>> = RwLock::new(None);

/// Whether this process is a forked worker, which has no supervisor thread to look after its log.
static IS_WORKER: AtomicBool = AtomicBool::new(false);

/// The logger behind the macros of `log`: passes every record to the log in effect.
struct Current;

impl log::Log for Current {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        read().as_ref().is_some_and(|log| log.logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(log) = read().as_ref() {
            log.report_lost();
            log.logger.log(record);
        }
    }

    fn flush(&self) {}
}

fn read() -> RwLockReadGuard<'static, Option<PreparedLog>> {
    CURRENT.read().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the macros of `log` write as `log` configures. May be called again.
///
/// # Errors
/// If the target cannot be opened; nothing has changed then.
pub fn install(log: &Log) -> Result<(), Failure> {
    open(log, sink::Datagrams::syslog_or_none).map(PreparedLog::install)
}

/// A log with an open target, ready to be installed.
pub struct PreparedLog {
    logger: env_logger::Logger,
    target: LogTarget,
    outlet: Arc<Outlet>,
    /// Whether the target is a file that the daemon opened, rather than a stream that it was started with.
    own_file: bool,
}

/// Opens the target of a log.
pub fn prepare(log: &Log) -> Result<PreparedLog, Failure> {
    open(log, sink::Datagrams::syslog)
}

fn open(log: &Log, syslog: fn() -> io::Result<sink::Datagrams>) -> Result<PreparedLog, Failure> {
    // Always, whatever the target is: other output on standard error must not block either.
    let stderr = stderr::outlet();
    let on_stderr = matches!(log.target, LogTarget::Auto | LogTarget::Stderr);
    // A reload keeps the outlet, and with it the lines in its backlog.
    let reused = || read().as_ref().filter(|old| old.target == log.target).map(|old| Arc::clone(&old.outlet));
    let datagrams = |socket| reused().unwrap_or_else(|| Arc::new(Outlet::new(OpenTarget::Datagrams(socket))));
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
    // `Always` writes lines unchanged. With the other styles env_logger searches every byte for escape sequences.
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
            LogFormat::Text if on_stderr && colour::is_taken_by(&io::stderr()) => {
                builder.format(write_styled)
            }
            LogFormat::Text => builder.format(write_plain),
            LogFormat::Json => builder.format(write_json),
        },
    };
    Ok(PreparedLog { logger: builder.build(), target: log.target, outlet, own_file })
}

impl PreparedLog {
    /// Replaces the log in effect.
    pub fn install(self) {
        log::set_max_level(self.logger.filter());
        let mut current = CURRENT.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = current.as_ref().filter(|old| !Arc::ptr_eq(&old.outlet, &self.outlet)) {
            old.outlet.retire();
        }
        *current = Some(self);
        // Fails if it has been set by an earlier call.
        let _ = log::set_logger(&Current);
    }

    /// Logs how many lines were lost, once there is room again.
    fn report_lost(&self) {
        if outlet::lost().load(Relaxed) == 0 || !self.outlet.catch_up() || !self.outlet.can_report_lost() {
            return;
        }
        let lost = outlet::lost().swap(0, Relaxed);
        // Even if only errors are logged: some of the lost lines may have been errors.
        if let (Some(most), 1..) = (self.logger.filter().to_level(), lost) {
            let what = if lost == 1 { "1 line was lost" } else { &format!("{lost} lines were lost") };
            let args = format_args!("the log had no room: {what}");
            let mut notice = Record::builder();
            let fields = [("event", LogEvent::LogLost.to_value()), ("lines", lost.to_value())];
            notice.level(Level::Warn.min(most)).target(module_path!()).args(args).key_values(&fields);
            gather::as_notice(|| log::Log::log(&self.logger, &notice.build()));
        }
    }
}

/// When to call [`catch_up`] next, if anything is pending.
pub fn due() -> Option<Instant> {
    outlet::is_behind().then(|| read().as_ref().map(|log| log.outlet.due())).flatten()
}

/// Writes pending lines if there is room. To be called when it is [due].
pub fn catch_up() {
    if outlet::is_behind()
        && let Some(log) = read().as_ref()
    {
        log.outlet.catch_up();
        log.report_lost();
    }
}

/// Gives this forked worker a backlog of its own. Otherwise it loses lines that find no room at once.
pub fn keep_lines() {
    if let Some(log) = read().as_ref() {
        log.outlet.adopt();
        IS_WORKER.store(true, Relaxed);
    }
}

/// Like [`due`], for a worker that waits on sockets. In the daemon's process the supervisor looks after the log.
pub fn due_in_worker() -> Option<Instant> {
    if IS_WORKER.load(Relaxed) { due() } else { None }
}

/// Writes pending lines at the end of the process, and waits briefly for a slow reader.
pub fn finish() {
    if outlet::is_behind()
        && let Some(log) = read().as_ref()
    {
        log.outlet.finish();
        log.report_lost();
    }
}

/// Changes the owner of the open log file, if there is one, to the user that has to reopen it after a rotation.
pub fn give_file(user: Uid, group: Gid) -> io::Result<()> {
    let log = read();
    match log.as_ref().filter(|log| log.own_file).and_then(|log| log.outlet.file()) {
        // fchown(2): the path may name another file by now.
        Some(file) => Ok(fchown(file, Some(user), Some(group))?),
        None => Ok(()),
    }
}

/// Logs a panic like any other error. A panic ends one connection at most.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| log::error!(event = LogEvent::ThreadPanicked; "{panic}")));
}

/// Lets one event pass per interval and counts the others. For lines about an error that recurs thousands of times a second while
/// its cause lasts.
#[derive(Debug)]
pub struct LogThrottle {
    interval: Duration,
    /// The earliest time of the next event, in milliseconds since the first call.
    next: AtomicU64,
    suppressed: AtomicU64,
}

impl LogThrottle {
    /// Lets the first event pass, then one per `interval`.
    pub const fn new(interval: Duration) -> Self {
        LogThrottle { interval, next: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// Whether this event passes. If so, returns the number of events suppressed since the last one that passed.
    pub fn allow(&self) -> Option<u64> {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        self.allow_at(START.elapsed())
    }

    fn allow_at(&self, now: Duration) -> Option<u64> {
        let next = self.next.load(Relaxed);
        let later = millis(now.saturating_add(self.interval));
        // Of several threads at the same moment, the one whose exchange succeeds passes.
        let passes = millis(now) >= next && self.next.compare_exchange(next, later, Relaxed, Relaxed).is_ok();
        if !passes {
            self.suppressed.fetch_add(1, Relaxed);
        }
        passes.then(|| self.suppressed.swap(0, Relaxed))
    }
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

/// People get the message only: it contains all that the key-values do.
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
