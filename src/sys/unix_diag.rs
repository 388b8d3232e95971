//! The kernel's list of unix sockets (sock_diag(7)): whether a socket has unread datagrams in its receive queue, and the connections
//! of listeners.

use std::{io, ops::ControlFlow};

use super::netlink::{attributes, dump, word};

/// The size of a `unix_diag_req`.
const REQUEST: usize = 24;
/// The size of a `unix_diag_msg`: family, type, state, padding, inode, cookie.
const MESSAGE: usize = 16;

const UDIAG_SHOW_NAME: u32 = 1;
const UDIAG_SHOW_PEER: u32 = 4;
const UDIAG_SHOW_RQLEN: u32 = 16;
const UDIAG_SHOW_UID: u32 = 64;
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_PEER: u16 = 2;
const UNIX_DIAG_RQLEN: u16 = 4;
const UNIX_DIAG_UID: u16 = 7;

/// The state of a connection: that of TCP.
const ESTABLISHED: u8 = 1;

/// A connected socket, as the kernel lists it. What it does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixConnection {
    /// Whether it keeps records apart (SOCK_SEQPACKET).
    pub keeps_records: bool,
    /// Its inode.
    pub inode: u32,
    /// Its name, as in `sun_path`; an accepted socket has that of its listener.
    pub name: Option<Vec<u8>>,
    /// The inode of the socket at the other end.
    pub peer: Option<u32>,
    /// Unread bytes.
    pub receive_queue: u32,
    /// The user that made it.
    pub uid: Option<u32>,
}

/// The length of the first datagram in the receive queue of the unix datagram socket `name`, which is written as in `sun_path`. 0
/// if the queue is empty or its first datagram is. `None` if the kernel lists no such socket: it is closed, or in another network
/// namespace.
///
/// # Errors
/// If the kernel does not answer the request.
pub fn first_unread(name: &[u8]) -> io::Result<Option<u32>> {
    let mut found = None;
    dump(&request(UDIAG_SHOW_NAME | UDIAG_SHOW_RQLEN), &mut |message| {
        found = unread_of(message, name);
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// Gives every connected socket of this network namespace to `take`.
///
/// # Errors
/// If the kernel does not answer the request.
pub fn connections(mut take: impl FnMut(UnixConnection)) -> io::Result<()> {
    let shown = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_UID;
    dump(&request(shown), &mut |message| {
        if let Some(found) = connection(message) {
            take(found);
        }
        ControlFlow::Continue(())
    })
}

fn request(shown: u32) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    request[0] = libc::AF_UNIX as u8;
    // Sockets in any state.
    request[4..8].fill(0xff);
    request[12..16].copy_from_slice(&shown.to_ne_bytes());
    request
}

/// The length of the first unread datagram in a message, if the message is about the datagram socket `name`.
fn unread_of(message: &[u8], name: &[u8]) -> Option<u32> {
    if i32::from(*message.get(1)?) != libc::SOCK_DGRAM {
        return None;
    }
    let (mut is_it, mut unread) = (false, None);
    for (kind, value) in attributes(message.get(MESSAGE..)?) {
        match kind {
            UNIX_DIAG_NAME => is_it = value == name,
            UNIX_DIAG_RQLEN => unread = word(value, 0),
            _ => {}
        }
    }
    unread.filter(|_| is_it)
}

fn connection(message: &[u8]) -> Option<UnixConnection> {
    let (kind, state) = (i32::from(*message.get(1)?), *message.get(2)?);
    if ![libc::SOCK_STREAM, libc::SOCK_SEQPACKET].contains(&kind) || state != ESTABLISHED {
        return None;
    }
    let keeps_records = kind == libc::SOCK_SEQPACKET;
    let mut found = UnixConnection { keeps_records, inode: word(message, 4)?, ..UnixConnection::default() };
    for (kind, value) in attributes(message.get(MESSAGE..)?) {
        match kind {
            UNIX_DIAG_NAME => found.name = Some(value.strip_suffix(b"\0").unwrap_or(value).to_vec()),
            UNIX_DIAG_PEER => found.peer = word(value, 0),
            UNIX_DIAG_RQLEN => found.receive_queue = word(value, 0).unwrap_or_default(),
            UNIX_DIAG_UID => found.uid = word(value, 0),
            _ => {}
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use std::os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    };

    use super::*;

    #[test]
    fn the_first_unread_datagram_is_reported() {
        let name = format!("echod-unread-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let raw = [b"\0", name.as_bytes()].concat();
        if let Err(error) = first_unread(&raw) {
            eprintln!("SKIPPED: the kernel cannot be asked about unix sockets: {error}");
            return;
        }
        assert_eq!(first_unread(&raw).unwrap(), Some(0));
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect_addr(&socket.local_addr().unwrap()).unwrap();
        sender.send(b"hello").unwrap();
        sender.send(b"").unwrap();
        assert_eq!(first_unread(&raw).unwrap(), Some(5));
        socket.recv(&mut [0; 8]).unwrap();
        assert_eq!(first_unread(&raw).unwrap(), Some(0));
        assert_eq!(first_unread(b"\0nobody has this name").unwrap(), None);
    }

    #[test]
    fn both_ends_of_a_connection_are_listed_with_what_is_unread() {
        use std::{
            io::Write,
            os::unix::net::{UnixListener, UnixStream},
        };
        let name = format!("echod-connections-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let mut client = UnixStream::connect_addr(&address).unwrap();
        let _accepted = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        let mut all = Vec::new();
        if let Err(error) = connections(|found| all.push(found)) {
            eprintln!("SKIPPED: the kernel cannot be asked about unix sockets: {error}");
            return;
        }
        let raw = [b"\0", name.as_bytes()].concat();
        let accepted = all.iter().find(|found| found.name.as_deref() == Some(&raw)).unwrap();
        assert!(accepted.receive_queue > 0, "{accepted:?}");
        let other = all.iter().find(|found| Some(found.inode) == accepted.peer).unwrap();
        assert_eq!((other.peer, other.receive_queue), (Some(accepted.inode), 0));
    }
}
