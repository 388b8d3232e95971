//! To whom a station leaves its sockets.

/// Who serves the sockets of a station that stops.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Heir {
    /// Nobody.
    Nobody,
    /// Those that the service manager made, whoever it starts for them.
    Manager,
    /// Those that it keeps as well, the next daemon.
    Daemon,
}
