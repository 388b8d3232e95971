//! The fd store of the service manager (sd_notify(3), `FDSTORE=1`): it keeps our sockets for the next echod. Clients
//! that connect after this process has stopped wait in their backlog, so a restart refuses none.
//!
//! The manager passes them back among its own, each by the name it was stored under. That name and the socket itself
//! are all that the next process learns.

use std::{
    collections::BTreeSet,
    fmt::{self, Write},
    io,
    os::fd::AsFd,
    rc::Rc,
};

use log::warn;
use nix::sys::stat::fstat;
use socket2::Socket;

use crate::{process::notify::Manager, report::log_event::LogEvent, socket::socket_file::FileId};

/// Prefix of the names of all stored sockets.
const PREFIX: &str = "kept.";

/// The longest name that the manager accepts (`FDNAME=`).
const LONGEST: usize = 255;

/// The name under which a socket is stored: `kept.SOCKET.DEVICE.INODE.LISTENER`. SOCKET is the inode of the socket
/// itself, DEVICE and INODE are those of its file, or 0.
#[derive(Debug, PartialEq, Eq)]
pub struct FdName {
    socket: u64,
    file: Option<FileId>,
    listener: String,
}

impl FdName {
    /// The name of a socket with this file that serves a listener.
    pub fn new(socket: &Socket, file: Option<FileId>, listener: &str) -> io::Result<FdName> {
        Ok(FdName { socket: number(socket)?, file, listener: printable(listener) })
    }

    /// Parses a name; `None` if it is not that of `socket`.
    pub fn read(name: &str, socket: &Socket) -> Option<FdName> {
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let mut parts = name.strip_prefix(PREFIX)?.splitn(4, '.');
        let mut next = || parts.next();
        let (own, device, inode, listener) =
            (hex(next()?)?, hex(next()?)?, hex(next()?)?, next()?.to_owned());
        let file = (inode != 0).then_some(FileId { device, inode });
        let label = FdName { socket: own, file, listener };
        number(socket).is_ok_and(|number| number == own).then_some(label)
    }

    /// The file of the socket.
    pub fn file(&self) -> Option<FileId> {
        self.file
    }

    /// Whether it was stored for the listener of this name.
    pub fn is_for(&self, listener: &str) -> bool {
        self.listener == printable(listener)
    }
}

impl fmt::Display for FdName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileId { device, inode } = self.file.unwrap_or(FileId { device: 0, inode: 0 });
        write!(f, "{PREFIX}{:x}.{device:x}.{inode:x}.{}", self.socket, self.listener)
    }
}

fn number(socket: &impl AsFd) -> io::Result<u64> {
    Ok(fstat(socket)?.st_ino)
}

/// A name in characters that the manager accepts, cut to fit behind three numbers.
fn printable(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'%' | b':' | ..=b' ' | 0x7f.. => _ = write!(text, "%{byte:02x}"),
            byte => text.push(char::from(byte)),
        }
    }
    text.truncate(LONGEST - PREFIX.len() - 3 * 17);
    text
}

/// Our sockets in the manager's store.
pub struct FdStore {
    manager: Rc<Manager>,
    names: BTreeSet<String>,
}

impl FdStore {
    /// A store with sockets of these `names` from before.
    pub fn new(manager: Rc<Manager>, names: impl IntoIterator<Item = String>) -> FdStore {
        FdStore { manager, names: names.into_iter().collect() }
    }

    /// Number of sockets that it can hold.
    pub fn capacity(&self) -> usize {
        self.manager.capacity()
    }

    /// Makes the manager keep `wanted`, and nothing else.
    pub fn sync<'a>(&mut self, wanted: impl IntoIterator<Item = (FdName, &'a Socket)>) {
        let wanted: Vec<_> = wanted.into_iter().map(|(label, socket)| (label.to_string(), socket)).collect();
        let is_wanted = |name: &String| wanted.iter().any(|(label, _)| label == name);
        // These first, so that a socket under a new name is not stored twice.
        let unwanted: Vec<String> = self.names.iter().filter(|name| !is_wanted(name)).cloned().collect();
        unwanted.iter().for_each(|name| self.remove(name));
        for (name, socket) in wanted {
            if self.names.contains(&name) {
                continue;
            }
            match self.manager.store(&name, socket.as_fd()) {
                Ok(()) => _ = self.names.insert(name),
                Err(error) => {
                    warn!(
                        event = LogEvent::SocketStoreFailed, error:% = error;
                        "cannot give a socket to the service manager, which was to keep it over a restart: {error}"
                    );
                    return;
                }
            }
        }
    }

    /// Makes the manager close the socket of this name.
    pub fn remove(&mut self, name: &str) {
        if self.names.remove(name) {
            self.manager.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Type};

    use super::*;

    #[test]
    fn a_name_is_parsed_as_it_was_written_and_only_for_its_socket() {
        let socket = || Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        let (ours, other) = (socket(), socket());
        let file = Some(FileId { device: 26, inode: u64::MAX });
        for name in ["it", "tcp://[::1]:7", "a.b%c d", "Gruß", &"long: ".repeat(100)] {
            for file in [None, file] {
                let label = FdName::new(&ours, file, name).unwrap();
                let written = label.to_string();
                let fits = |c: char| c.is_ascii_graphic() && c != ':';
                assert!(written.len() <= LONGEST && written.chars().all(fits), "{written}");
                assert_eq!(FdName::read(&written, &ours.try_clone().unwrap()).as_ref(), Some(&label));
                assert!(label.is_for(name) && !label.is_for("another"));
                assert_eq!(FdName::read(&written, &other), None);
            }
        }
        for name in ["", "kept", "kept.", "kept.1.2.3", "tcp", "kept.x.0.0.it", "kept..0.0.it"] {
            assert_eq!(FdName::read(name, &ours), None, "{name}");
        }
    }
}
