//! The service manager's end of sd_notify(3).

use std::{
    io::{self, IoSliceMut},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

use echod::sys::spawn::inherited;
use nix::{
    cmsg_space,
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg},
};
use tempfile::TempDir;

use super::{PATIENCE, patient::uninterrupted};

/// Receives what the daemon tells its service manager.
pub(crate) struct Manager {
    socket: UnixDatagram,
    /// The value of `NOTIFY_SOCKET`.
    pub(crate) name: String,
    _dir: TempDir,
}

impl Manager {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        Self::with(UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned(), dir)
    }

    /// One with a name in the abstract namespace.
    pub(crate) fn nameless() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().to_str().unwrap();
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
        Self::with(socket, format!("@{name}"), dir)
    }

    fn with(socket: UnixDatagram, name: String, dir: TempDir) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, name, _dir: dir }
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn next(&self) -> String {
        self.receive().expect("a message for the service manager").0
    }

    /// The next message, and the descriptor that came with it.
    pub(crate) fn receive(&self) -> io::Result<(String, Option<OwnedFd>)> {
        let mut buffer = [0; 4096];
        let mut space = cmsg_space!(RawFd);
        let (length, descriptor) = uninterrupted(|| {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
            let passed = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::ScmRights(passed) => passed.first().copied(),
                _ => None,
            });
            Ok((message.bytes, passed))
        })?;
        let descriptor = descriptor.map(|raw: RawFd| inherited(&raw.to_string()).unwrap().remove(0));
        Ok((String::from_utf8(buffer[..length].to_vec()).unwrap(), descriptor))
    }

    /// The next message that has this line.
    #[track_caller]
    pub(crate) fn wait(&self, line: &str) -> String {
        loop {
            let message = self.next();
            if message.lines().any(|each| each == line) {
                return message;
            }
        }
    }

    /// The messages that have arrived.
    pub(crate) fn arrived(&self) -> Vec<String> {
        self.set_nonblocking(true);
        let messages = std::iter::from_fn(|| Some(self.receive().ok()?.0)).collect();
        self.set_nonblocking(false);
        messages
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        self.socket.set_nonblocking(nonblocking).unwrap();
    }
}
