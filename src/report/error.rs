//! The way out when the daemon cannot go on: what to print, and the exit code of sysexits(3) that tells a script or the
//! service manager which kind of failure it was.

use std::{error::Error, fmt, process::ExitCode};

use crate::config::{ConfigError, ErrorKind};

/// Why the daemon ends; `main` prints it once and exits with its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub exit: Exit,
    /// For people: `cannot <do what> <which>: <what happened>; <cure>`, or several lines where a file is cited.
    pub message: String,
    /// The same without colour, where it may have some.
    plain: Option<String>,
    cited: bool,
}

impl Failure {
    /// A failure of the kind `exit`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure { exit, message: message.into(), plain: None, cited: false }
    }
}

impl Failure {
    /// The same as one that cites a file.
    pub fn cited(self) -> Self {
        Failure { cited: true, ..self }
    }

    /// The same as one that was told already: only its exit code is left.
    pub fn told(self) -> Self {
        Failure { message: String::new(), plain: None, ..self }
    }

    /// The message without colour, for the log.
    pub fn plain(&self) -> &str {
        self.plain.as_deref().unwrap_or(&self.message)
    }

    /// Whether the message cites a file, and begins with `error: ` as a compiler's would.
    pub fn is_cited(&self) -> bool {
        self.cited
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let exit = match error.kind() {
            ErrorKind::Invalid => Exit::Config,
            ErrorKind::Usage => Exit::Usage,
            ErrorKind::PermissionDenied => Exit::NoPermission,
            ErrorKind::Unreadable => Exit::NoInput,
        };
        let plain = Some(error.plain().to_owned());
        Failure { cited: true, plain, ..Failure::new(exit, error.to_string()) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

/// The exit codes of sysexits(3) that the daemon uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command line is wrong.
    Usage = 64,
    /// A file that was named does not exist or cannot be read.
    NoInput = 66,
    /// An address cannot be bound, or the system lacks what is needed.
    Unavailable = 69,
    /// A fault of the daemon itself (`EX_SOFTWARE`).
    Internal = 70,
    /// Another process is in the way, and may be gone later.
    TryAgain = 75,
    /// The user may not do this.
    NoPermission = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl Exit {
    /// The kind of failure that has this code.
    pub fn from_code(code: u8) -> Option<Exit> {
        use Exit::{Config, Internal, NoInput, NoPermission, TryAgain, Unavailable, Usage};
        let all = [Usage, NoInput, Unavailable, Internal, TryAgain, NoPermission, Config];
        all.into_iter().find(|exit| *exit as u8 == code)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_sysexits() {
        assert_eq!(ExitCode::from(Exit::Config), ExitCode::from(78));
        assert_eq!(Exit::from_code(75), Some(Exit::TryAgain));
        assert_eq!(Exit::from_code(1), None);
    }

    #[test]
    fn a_failure_is_shown_by_its_message_alone() {
        let failure = Failure::new(Exit::Unavailable, "cannot bind tcp://127.0.0.1:7: in use");
        assert_eq!(failure.to_string(), "cannot bind tcp://127.0.0.1:7: in use");
    }
}
