//! Who serves the sockets of a listener after it has stopped.

/// Which process serves the sockets after a stop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// None: they are closed.
    None,
    /// Those that the service manager made: the process that it starts for them.
    SocketUnit,
    /// Those, and the sockets in the service manager's fd store: the next daemon.
    NextDaemon,
}
