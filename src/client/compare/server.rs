//! A daemon that is started to be measured, and ended.

use std::{
    io::Read,
    process::{Child, ChildStderr},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{super::variant::Variant, plan::Plan, processes::Processes};
use crate::{config::Protocol, socket::resolve::error_text, sys::spawn};

/// How long it may take to end. It has no connection left that it would wait for.
const END: Duration = Duration::from_secs(5);

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// A running daemon; it ends when this value is dropped, or when this program ends.
#[derive(Debug)]
pub(super) struct Daemon {
    /// Where it serves.
    pub(super) url: String,
    /// What it consists of.
    pub(super) processes: Processes,
    child: Child,
}

impl Daemon {
    /// Starts one, and waits until it serves.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) fn start(plan: &Plan, variant: Variant) -> Result<Daemon, String> {
        let place = match plan.protocol {
            Protocol::Tcp => "tcp://127.0.0.1:0".to_owned(),
            Protocol::Udp => "udp://127.0.0.1:0".to_owned(),
            // A name of its own in the abstract namespace: there is no file to leave behind.
            unix => format!("{unix}:@echod-compare-{}-{variant}", std::process::id()),
        };
        let limit = match plan.protocol.is_stream() {
            true => format!("&max-connections={}", plan.limit(variant.mode)),
            false => String::new(),
        };
        let listen = format!("{place}?{}{limit}", variant.parameters());
        let arguments = ["--listen", &listen, "--announce", "--log-level", "error"];
        let mut child = spawn::start(&arguments).map_err(|error| error_text(&error))?;
        let mut announced = String::new();
        // Ends when it serves, or when it has ended itself.
        let read = child.stdout.take().map(|mut out| out.read_to_string(&mut announced));
        let url = announced.lines().next().and_then(url);
        let processes = Processes::of(child.id());
        let mut daemon = Daemon { url: url.unwrap_or_default(), processes, child };
        match daemon.url.is_empty() {
            false => Ok(daemon),
            true => {
                let why = daemon.child.stderr.take().map(last_words).unwrap_or_default();
                let read = read.and_then(Result::err).map(|error| error_text(&error));
                Err(read.unwrap_or(why))
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        // As it has not been waited for, the number is still its own.
        let _ = kill(pid, Signal::SIGTERM);
        let end = Instant::now() + END;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > end {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(LOOK);
        }
    }
}

/// The URL in a line of `--announce`.
fn url(line: &str) -> Option<String> {
    let announced: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(announced["url"].as_str()?.to_owned())
}

/// What it says about its end, without its name.
fn last_words(mut stderr: ChildStderr) -> String {
    let mut text = String::new();
    let _ = stderr.read_to_string(&mut text);
    let line = text.lines().rfind(|line| !line.is_empty()).unwrap_or("it ended without a word");
    let line = line.strip_prefix("echod: ").unwrap_or(line);
    // Its name is that of the URL, which says nothing here.
    let without_name = line.strip_prefix("listener \"").and_then(|rest| Some(rest.split_once("\": ")?.1));
    without_name.unwrap_or(line).to_owned()
}
