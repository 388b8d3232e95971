//! Whose a socket is, and so what becomes of it when we are gone.

use serde::{Deserialize, Serialize};

/// Whose a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketOwner {
    /// We made it, and it ends with us.
    Own,
    /// An echod made it, and the service manager keeps it for the next one (sd_notify(3), `FDSTORE=1`).
    Stored,
    /// The service manager made it and passed it to us. It is never shut down, because it serves on when we are gone.
    Activated,
}
