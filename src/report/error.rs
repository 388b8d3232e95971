//! Fatal errors: the message to print, and the exit code of sysexits(3) by which a script or the service manager recognises the
//! kind of failure.

use std::{error::Error, fmt, process::ExitCode};

use crate::config::{ConfigError, ErrorKind};

/// Why the daemon ends. `main` prints the message once and exits with the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub exit: Exit,
    /// For people: `cannot <do what> <which>: <what happened>; <help>`, or several lines if a file is cited.
    pub message: String,
    /// The message without colours, if it may have some.
    plain: Option<String>,
    cited: bool,
}

impl Failure {
    /// A failure of kind `exit`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure { exit, message: message.into(), plain: None, cited: false }
    }
}

impl Failure {
    /// Marks the message as one that cites a file.
    pub fn cited(self) -> Self {
        Failure { cited: true, ..self }
    }

    /// Drops the message, which another process prints; the exit code remains.
    pub fn without_message(self) -> Self {
        Failure { message: String::new(), plain: None, ..self }
    }

    /// The message without colours, for the log.
    pub fn plain(&self) -> &str {
        self.plain.as_deref().unwrap_or(&self.message)
    }

    /// Whether the message cites a file, and starts with `error: ` like a compiler's.
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

/// The exit codes of echod: those of sysexits(3), and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// A condition of `--fail-if` is true, or a server does not behave as its RFC says.
    ConditionTrue = 1,
    /// The command line is wrong.
    Usage = 64,
    /// A file that was named does not exist or is not readable.
    NoInput = 66,
    /// A host name is unknown (`EX_NOHOST`).
    NoHost = 68,
    /// An address cannot be bound, or the system lacks something that is needed.
    Unavailable = 69,
    /// An internal error of the daemon (`EX_SOFTWARE`).
    Internal = 70,
    /// The system refuses a socket or another resource (`EX_OSERR`).
    System = 71,
    /// A file cannot be written (`EX_IOERR`).
    InputOutput = 74,
    /// Another process is in the way, and may be gone later; or a measurement was not valid, and another may be.
    TryAgain = 75,
    /// The user lacks a permission.
    NoPermission = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl Exit {
    /// The kind of failure with this exit code.
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
    fn a_failure_is_displayed_as_its_message() {
        let failure = Failure::new(Exit::Unavailable, "cannot bind tcp://127.0.0.1:7: in use");
        assert_eq!(failure.to_string(), "cannot bind tcp://127.0.0.1:7: in use");
    }
}
