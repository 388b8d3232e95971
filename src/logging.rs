//! What is written about what happens: lines for people or one JSON object a line, never more than one line an event,
//! and nothing in it that acts on a terminal. A line that cannot be written is lost; the daemon goes on.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, IsTerminal, Write as _},
    path::Path,
    sync::{
        Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use env_logger::{Builder, Target, WriteStyle, fmt::Formatter};
use log::{LevelFilter, Record, kv};
use serde::Serialize;

use crate::{
    config::{Log, LogFormat, LogLevel, LogTarget},
    error::{Exit, Failure},
    payload::is_printable,
};

mod gather;
mod sink;
mod text;

pub use gather::Gathering;
use gather::{Lines, Stream};

pub use sink::{print_error, stderr_is_journal};

/// The log that is in effect; a reload puts another one in its place.
static CURRENT: RwLock<Option<Prepared>> = RwLock::new(None);

/// What the macros of `log` know: hands every record to the log that is in effect.
struct Current;

impl log::Log for Current {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        read().as_ref().is_some_and(|log| log.logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(log) = read().as_ref() {
            log.logger.log(record);
        }
    }

    fn flush(&self) {}
}

fn read() -> RwLockReadGuard<'static, Option<Prepared>> {
    CURRENT.read().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the macros of `log` write as `log` says; may be called again.
///
/// # Errors
/// If its target cannot be opened; then nothing has changed.
pub fn install(log: &Log) -> Result<(), Failure> {
    prepare(log).map(Prepared::install)
}

/// A log that is ready to be installed.
pub struct Prepared {
    logger: env_logger::Logger,
    /// Where its lines may go several at a time.
    stream: Option<Arc<Stream>>,
}

/// Opens the target of a log.
pub fn prepare(log: &Log) -> Result<Prepared, Failure> {
    let mut builder = Builder::new();
    builder.filter_level(filter(log.level));
    let plain = !matches!(log.target, LogTarget::Auto | LogTarget::Stderr) || !io::stderr().is_terminal();
    let stream = match log.target {
        _ if !plain => None,
        LogTarget::Syslog | LogTarget::Journald => None,
        LogTarget::Auto | LogTarget::Stderr => Some(Stream::Stderr),
        LogTarget::File => {
            let path = log.file.as_deref().unwrap_or(Path::new("echod.log"));
            let file = sink::file(path).map_err(|error| cannot_log(&path.display().to_string(), &error))?;
            Some(Stream::File(file))
        }
    };
    let stream = stream.map(Arc::new);
    if plain {
        // "Always" leaves lines as they are: there is no style in them, which otherwise is looked for in every byte.
        builder.write_style(WriteStyle::Always);
    }
    if let Some(stream) = &stream {
        // With the target for terminals each line would ask again whether there is one.
        builder.target(Target::Pipe(Box::new(Lines(Arc::clone(stream)))));
    }
    let format = log.format;
    match log.target {
        LogTarget::Syslog => {
            let sink = sink::Datagrams::syslog().map_err(|error| cannot_log("syslog", &error))?;
            builder.target(Target::Pipe(Box::new(sink)));
            builder.format(move |out, record| sink::write_syslog(out, record, format));
        }
        LogTarget::Journald => {
            let sink = sink::Datagrams::journal().map_err(|error| cannot_log("the journal", &error))?;
            builder.target(Target::Pipe(Box::new(sink)));
            builder.format(move |out, record| sink::write_journal(out, record, format));
        }
        LogTarget::Auto | LogTarget::Stderr if sink::stderr_is_journal() => {
            builder.format(move |out, record| sink::write_prefixed(out, record, format));
        }
        LogTarget::Auto | LogTarget::Stderr | LogTarget::File => lines(&mut builder, format, plain),
    }
    Ok(Prepared { logger: builder.build(), stream })
}

fn lines(builder: &mut Builder, format: LogFormat, plain: bool) {
    match format {
        LogFormat::Text if plain => builder.format(write_plain),
        LogFormat::Text => builder.format(write_styled),
        LogFormat::Json => builder.format(write_json),
    };
}

impl Prepared {
    /// Puts it in the place of the log before.
    pub fn install(self) {
        log::set_max_level(self.logger.filter());
        *CURRENT.write().unwrap_or_else(PoisonError::into_inner) = Some(self);
        // It is there already where this is not the first call.
        let _ = log::set_logger(&Current);
    }
}

fn cannot_log(what: &str, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::NoPermission,
        _ => Exit::Unavailable,
    };
    Failure::new(exit, format!("cannot log to {what}: {error}; choose another `target` in `[log]`"))
}

/// Makes a panic, which ends one connection at most, a line of the log like any other.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
}

/// Lets one event pass in each interval, and counts the others. For a line about a fault that comes back thousands of
/// times a second as long as its cause lasts.
#[derive(Debug)]
pub struct Seldom {
    interval: Duration,
    /// When the next event may pass, in milliseconds of the process's life.
    next: AtomicU64,
    suppressed: AtomicU64,
}

impl Seldom {
    /// Lets the first event pass, then one in each `interval`.
    pub const fn new(interval: Duration) -> Self {
        Seldom { interval, next: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
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
    let (time, level) = (out.timestamp_seconds(), text::level(record.level()));
    let style = out.default_level_style(record.level());
    text::with_message(*record.args(), |message| writeln!(out, "{time} {style}{level}{style:#} {message}"))
}

fn write_json(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let time = out.timestamp_millis();
    writeln!(out, "{}", json_line(time.to_string(), record)?)
}

/// The shape of a JSON line; every key-value of the record is a field of its own.
#[derive(Serialize)]
struct Line {
    time: String,
    level: String,
    message: String,
    #[serde(flatten)]
    fields: Fields,
}

#[derive(Default, Serialize)]
struct Fields(BTreeMap<String, serde_json::Value>);

impl<'kvs> kv::VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let value = None
            .or_else(|| value.to_bool().map(Into::into))
            .or_else(|| value.to_u64().map(Into::into))
            .or_else(|| value.to_i64().map(Into::into))
            .or_else(|| value.to_f64().map(Into::into))
            .unwrap_or_else(|| value.to_string().into());
        self.0.insert(key.to_string(), value);
        Ok(())
    }
}

fn json_line(time: String, record: &Record<'_>) -> io::Result<String> {
    let mut fields = Fields::default();
    record.key_values().visit(&mut fields).map_err(io::Error::other)?;
    let json = serde_json::to_string(&Line {
        time,
        level: record.level().as_str().to_ascii_lowercase(),
        message: record.args().to_string(),
        fields,
    })?;
    Ok(escape_in_json(&json))
}

/// JSON escapes control characters below space by itself, but lets pass the others that act on a terminal. They stand
/// in strings only, where `\u` means the same.
fn escape_in_json(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        if is_printable(c) {
            line.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(line, "\\u{unit:04x}");
            }
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_key_value_is_a_field_of_the_json_line() {
        let fields: [(&str, kv::Value<'_>); 5] = [
            ("listener", "web".into()),
            ("bytes", 12.into()),
            ("change", (-3).into()),
            ("seconds", 0.5.into()),
            ("ok", true.into()),
        ];
        let line = json_line(
            "2026-11-23T06:31:12Z".into(),
            &Record::builder()
                .level(log::Level::Warn)
                .args(format_args!("listener \"web\": full"))
                .key_values(&fields)
                .build(),
        )
        .expect("a line");
        assert!(line.starts_with(
            r#"{"time":"2026-11-23T06:31:12Z","level":"warn","message":"listener \"web\": full","#
        ));
        let expected = json!({
            "time": "2026-11-23T06:31:12Z", "level": "warn", "message": "listener \"web\": full",
            "listener": "web", "bytes": 12, "change": -3, "seconds": 0.5, "ok": true,
        });
        assert_eq!(parsed(&line), expected);
    }

    #[test]
    fn a_json_line_is_harmless_and_means_the_same() {
        let message = "\n\u{7f}\u{9b}31m\u{202e}\u{2028}\u{e0041}ü";
        let line = json_line(String::new(), &Record::builder().args(format_args!("{message}")).build())
            .expect("a line");
        assert!(line.chars().all(is_printable), "{line:?}");
        assert_eq!(parsed(&line)["message"], message);
    }

    #[test]
    fn one_event_passes_in_each_interval() {
        static FULL: Seldom = Seldom::new(Duration::from_secs(1));
        let at = |millis| FULL.allow_at(Duration::from_millis(millis));
        assert_eq!(at(5), Some(0));
        assert_eq!(at(5), None);
        assert_eq!(at(1004), None);
        assert_eq!(at(1005), Some(2));
        assert_eq!(at(9000), Some(0));
        assert_eq!(FULL.allow(), None, "the clock of the process begins at zero");
    }

    fn parsed(line: &str) -> serde_json::Value {
        serde_json::from_str(line).expect("valid JSON")
    }
}
