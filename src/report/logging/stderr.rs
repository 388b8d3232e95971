//! Standard error as the target of the log, and of messages before there is a log.

use std::{
    io::{self, Write},
    sync::{Arc, OnceLock},
};

use log::Level;
use nix::sys::stat::fstat;

use super::{
    nonblocking_stderr::WriteMethod,
    outlet::{OpenTarget, Outlet},
    sink::severity,
};

/// Set by the first call of [`outlet`].
static OUTLET: OnceLock<Arc<Outlet>> = OnceLock::new();

/// Standard error as a log target. After the first call no write to descriptor 2 blocks. The first call must precede giving up
/// root and entering the sandbox, either of which may deny the reopening.
pub(super) fn outlet() -> &'static Arc<Outlet> {
    OUTLET.get_or_init(|| Arc::new(Outlet::new(OpenTarget::Stderr(WriteMethod::find()))))
}

/// Whether standard error is connected to the journal: `JOURNAL_STREAM` (systemd.exec(5)) contains its device and inode.
pub fn stderr_is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let own = fstat(io::stderr()).map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino));
    own.is_ok_and(|own| own == stream)
}

/// Prints a fatal error to standard error. In the journal its lines have the priority of errors.
pub fn print_error(text: &str) {
    let mut text = if stderr_is_journal() { prefixed(text, Level::Error) } else { text.to_owned() };
    text.push('\n');
    match OUTLET.get() {
        Some(outlet) => {
            outlet.write(text.as_bytes());
            outlet.finish();
        }
        // Before there is a log, a blocking write delays only this process. A failure cannot be reported anywhere.
        None => _ = io::stderr().write_all(text.as_bytes()),
    }
}

fn prefixed(text: &str, level: Level) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("<{}>{line}", severity(level))).collect();
    lines.join("\n")
}
