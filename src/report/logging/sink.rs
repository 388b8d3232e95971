//! Targets other than standard error (a file, the syslog daemon, the journal), and the format of a line in each.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::{fs::OpenOptionsExt, net::UnixDatagram},
    path::Path,
};

use env_logger::fmt::Formatter;
use log::{Level, Record, kv};

use super::{
    fields,
    json::json_line,
    text::{self, with_message},
};
use crate::{config::LogFormat, report::regular_file, sys::local_time};

/// The socket of the syslog daemon (syslog(3)).
const SYSLOG: &str = "/dev/log";

/// The socket of the journal's native protocol.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// The facility `daemon` of syslog(3).
const DAEMON: u8 = 3 << 3;

/// Opens a log file for appending. A new file is writable for its owner and readable for its group.
pub(super) fn file(path: &Path) -> io::Result<File> {
    regular_file::open(path, OpenOptions::new().append(true).create(true).mode(0o640))
}

/// Sends each line as one datagram.
pub(super) struct Datagrams {
    socket: UnixDatagram,
    to: &'static str,
}

impl Datagrams {
    pub(super) fn syslog() -> io::Result<Datagrams> {
        Self::to(SYSLOG)
    }

    /// Without a check, for a start: the syslog daemon may start later.
    pub(super) fn syslog_or_none() -> io::Result<Datagrams> {
        Self::unconnected(SYSLOG)
    }

    pub(super) fn journal() -> io::Result<Datagrams> {
        Self::to(JOURNAL)
    }

    fn to(to: &'static str) -> io::Result<Datagrams> {
        let datagrams = Self::unconnected(to)?;
        // Connects another socket, to check that the daemon listens. Lines are sent with an address, because it may be restarted.
        UnixDatagram::unbound()?
            .connect(to)
            .map_err(|error| io::Error::new(error.kind(), format!("{to}: {error}")))?;
        Ok(datagrams)
    }

    fn unconnected(to: &'static str) -> io::Result<Datagrams> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Datagrams { socket, to })
    }

    pub(super) fn send(&self, line: &[u8]) -> io::Result<usize> {
        self.socket.send_to(line, self.to)
    }
}

/// A syslog line of RFC 3164 without the host name, which the local daemon adds.
pub(super) fn write_syslog(out: &mut Formatter, record: &Record<'_>, format: LogFormat) -> io::Result<()> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let time = local_time::now();
    let (priority, process) = (DAEMON | severity(record.level()), std::process::id());
    write!(
        out,
        "<{priority}>{} {:>2} {:02}:{:02}:{:02} echod[{process}]: ",
        MONTHS[time.month], time.day, time.hour, time.minute, time.second
    )?;
    write_body(out, record, format)
}

/// The journal's native protocol: one field per line, also for every key-value of the record. A message contains no line end.
pub(super) fn write_journal(out: &mut Formatter, record: &Record<'_>, format: LogFormat) -> io::Result<()> {
    writeln!(out, "PRIORITY={}\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=echod", severity(record.level()))?;
    let take = |key: &str, value: &kv::Value<'_>| {
        out.write_all(b"ECHOD_")?;
        for byte in key.bytes() {
            out.write_all(&[if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }])?;
        }
        with_message(format_args!("{value}"), |value| writeln!(out, "={value}"))?;
        Ok(())
    };
    fields::visit(record, take).map_err(io::Error::other)?;
    write!(out, "MESSAGE=")?;
    write_body(out, record, format)?;
    writeln!(out)
}

/// A line for a standard error that is the journal's: without time stamp, and with the priority as a prefix (sd-daemon(3)).
pub(super) fn write_prefixed(out: &mut Formatter, record: &Record<'_>, format: LogFormat) -> io::Result<()> {
    write!(out, "<{}>", severity(record.level()))?;
    write_body(out, record, format)?;
    writeln!(out)
}

fn write_body(out: &mut Formatter, record: &Record<'_>, format: LogFormat) -> io::Result<()> {
    match format {
        LogFormat::Text => with_message(*record.args(), |message| out.write_all(message.as_bytes())),
        LogFormat::Json => {
            write!(out, "{}", json_line(text::time(), record)?)
        }
    }
}

/// The severities of syslog(3).
pub(super) fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_log_file_is_appended_to_and_not_for_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "before\n").unwrap();
        let mut log = file(&path).unwrap();
        log.write_all(b"after\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\nafter\n");
        std::fs::rename(&path, dir.path().join("log.1")).unwrap();
        let again = file(&path).unwrap();
        assert_eq!(again.metadata().unwrap().len(), 0);
        assert_eq!(again.metadata().unwrap().mode() & 0o007, 0);
    }
}
