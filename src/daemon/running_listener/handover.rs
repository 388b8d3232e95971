//! To whom a station leaves its sockets.

/// Who serves the sockets of a station that stops.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// Nobody.
    None,
    /// Those that the service manager made, whoever it starts for them.
    SocketUnit,
    /// Those that it keeps as well, the next daemon.
    NextDaemon,
}
