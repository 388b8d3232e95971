//! `[log]`: what is written about what happens, how and where.

use std::path::PathBuf;

use crate::config::{
    LogFormat, LogLevel, LogTarget,
    keys::{
        Key,
        Preset::{Unset, Value},
        Reload::Live,
        Word, keys,
    },
    values::path,
};

keys! {
    /// `[log]`: what is written about what happens, how and where.
    Log, WrittenLog, LogKeys = LOG;

    /// The least important level that is written. `"info"` has a line for the end of each connection, with the time since it was
    /// accepted; `"debug"` also for its beginning and for each datagram. `--log-level` counts before the variable ECHOD_LOG, and
    /// that before the file; `-v` and `-q` move on from there.
    level: LogLevel = Key {
        value: &Word, default: Value(|_| LogLevel::Info), needs: &[], reload: Live, example: "\"warn\"",
    },
    /// `"text"` for people, `"json"` for programs: one object a line.
    format: LogFormat = Key {
        value: &Word, default: Value(|_| LogFormat::Text), needs: &[], reload: Live, example: "\"json\"",
    },
    /// Where lines go: standard error, `"syslog"` (/dev/log), `"journald"` (its own protocol) or a `"file"`. `"auto"` is standard
    /// error, and syslog for a daemon that has left its terminal (`--daemonize`). Nothing waits for a target that has no room: each
    /// process keeps 256 KiB of lines, those beyond that are lost, and a warning tells how many once there is room again.
    target: LogTarget = Key {
        value: &Word, default: Value(|_| LogTarget::Auto), needs: &[], reload: Live, example: "\"journald\"",
    },
    /// The file for target `"file"`: a regular file and no link, or /dev/stdout or /dev/stderr. It is opened again on SIGHUP, after
    /// it was rotated.
    file: Option<PathBuf> = Key {
        value: &path("/var/log/echod.log"), default: Unset("none", |_| None), needs: &[], reload: Live,
        example: "\"/var/log/echod/echod.log\"",
    },
}
