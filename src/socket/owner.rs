//! The owner of a socket, which decides what becomes of it when this process ends.

use serde::{Deserialize, Serialize};

/// The owner of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketOwner {
    /// This daemon made it, and closes it.
    Own,
    /// An echod made it, and the service manager stores it for the next one (sd_notify(3), `FDSTORE=1`).
    Stored,
    /// The service manager made it and passed it. It is never shut down, because it serves on after this process.
    Activated,
}
