//! `--daemonize`: the daemon detaches from the terminal. The process that the user started (the launcher) waits until the daemon
//! is ready, so that the shell gets its exit status and the user its message.

use std::{
    fs::File,
    io::{self, Read, Write},
};

use daemonize::{Daemonize, Outcome, Stdio};
use nix::{
    fcntl::OFlag,
    sys::stat::{Mode, umask},
    unistd::pipe2,
};

use crate::report::error::{Exit, Failure};

/// Which of the two processes returned from [`detach`].
pub enum Detached {
    /// The process that the user started, with the outcome of the daemon's start.
    Launcher(Result<(), Failure>),
    /// The daemon.
    Daemon(Report),
}

/// Reports the outcome of the start to the launcher. If it is dropped unused, the launcher reports that the daemon has ended.
pub struct Report(File);

impl Report {
    /// Reports that all listeners are served.
    pub fn ready(mut self) {
        // The launcher may have been interrupted; then no process reads this.
        let _ = self.0.write_all(&[0]);
        if let Ok(null) = File::options().write(true).open("/dev/null") {
            let _ = nix::unistd::dup2_stdout(null);
        }
    }

    /// Reports that the daemon cannot start. Returns the failure without its message, which the launcher prints.
    pub fn failed(mut self, failure: Failure) -> Failure {
        let _ = self.0.write_all(&[failure.exit as u8, u8::from(failure.is_cited())]);
        let _ = self.0.write_all(failure.message.as_bytes());
        failure.without_message()
    }
}

/// Continues as a daemon in a session of its own. The working directory is kept, for relative paths; so is standard error if it
/// is the target of the log. To be called while the process has one thread.
pub fn detach(keep_stderr: bool) -> Result<Detached, Failure> {
    let internal = |error: io::Error| Failure::new(Exit::Internal, format!("cannot detach: {error}"));
    let directory = std::env::current_dir().map_err(internal)?;
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(|error| internal(error.into()))?;
    let mask = umask(Mode::empty());
    umask(mask);
    let daemon = Daemonize::new()
        .working_directory(directory)
        .umask(mask.bits())
        .stdout(Stdio::keep())
        .stderr(if keep_stderr { Stdio::keep() } else { Stdio::devnull() });
    match daemon.execute() {
        Outcome::Parent(parent) => {
            drop(write);
            parent.map_err(|error| internal(io::Error::other(error)))?;
            Ok(Detached::Launcher(outcome(read.into()).unwrap_or_else(|error| Err(internal(error)))))
        }
        Outcome::Child(child) => {
            let report = Report(write.into());
            match child {
                Ok(_) => Ok(Detached::Daemon(report)),
                Err(error) => Err(report.failed(internal(io::Error::other(error)))),
            }
        }
    }
}

/// Reads the report until the daemon closes the pipe.
fn outcome(mut pipe: File) -> io::Result<Result<(), Failure>> {
    let mut report = Vec::new();
    pipe.read_to_end(&mut report)?;
    Ok(match report.as_slice() {
        [0, ..] => Ok(()),
        [code, cited, message @ ..] => {
            let exit = Exit::from_code(*code).unwrap_or(Exit::Internal);
            let failure = Failure::new(exit, String::from_utf8_lossy(message));
            Err(if *cited == 1 { failure.cited() } else { failure })
        }
        _ => Err(Failure::new(Exit::Internal, "the daemon ended before it was ready; see its log")),
    })
}
