//! The kernel's list of unix sockets (sock_diag(7)): whether a socket has unread datagrams in its receive queue.

use std::io::{self, ErrorKind, Read, Write};

use socket2::{Domain, Protocol, Socket, Type};

/// The length of a request for all unix sockets, with their names and queue lengths: a `nlmsghdr` and a `unix_diag_req`.
const REQUEST: usize = HEADER + 24;

/// The size of a `nlmsghdr`: length, type, flags, sequence number, port id.
const HEADER: usize = 16;
/// The size of a `unix_diag_msg`: family, type, state, padding, inode, cookie.
const MESSAGE: usize = 16;
/// The size of an `nlattr`: length and type.
const ATTRIBUTE: usize = 4;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const UDIAG_SHOW_NAME: u32 = 1;
const UDIAG_SHOW_RQLEN: u32 = 16;
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_RQLEN: u16 = 4;

/// The length of the first datagram in the receive queue of the unix datagram socket `name`, which is written as in `sun_path`. 0
/// if the queue is empty or its first datagram is. `None` if the kernel lists no such socket: it is closed, or in another network
/// namespace.
///
/// # Errors
/// If the kernel does not answer the request.
pub fn first_unread(name: &[u8]) -> io::Result<Option<u32>> {
    let kernel = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::from(libc::SOCK_RAW),
        Some(Protocol::from(libc::NETLINK_SOCK_DIAG)),
    )?;
    (&kernel).write_all(&request())?;
    let mut buffer = vec![0; 32 << 10];
    loop {
        let length = match (&kernel).read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            length => length?,
        };
        let mut messages = buffer.get(..length).unwrap_or_default();
        while let Some((kind, message)) = next(&mut messages) {
            match kind {
                NLMSG_DONE => return Ok(None),
                NLMSG_ERROR => return Err(error(message)),
                _ => {}
            }
            if let Some(unread) = read(message, name) {
                return Ok(Some(unread));
            }
        }
    }
}

fn request() -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    request[..4].copy_from_slice(&(REQUEST as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request[HEADER] = libc::AF_UNIX as u8;
    // Sockets in any state.
    request[HEADER + 4..HEADER + 8].fill(0xff);
    request[HEADER + 12..HEADER + 16].copy_from_slice(&(UDIAG_SHOW_NAME | UDIAG_SHOW_RQLEN).to_ne_bytes());
    request
}

/// Splits off the first message, and returns its type and what follows its header.
fn next<'m>(messages: &mut &'m [u8]) -> Option<(u16, &'m [u8])> {
    let length = word(messages, 0)? as usize;
    let kind = half(messages, 4)?;
    let message = messages.get(HEADER..length)?;
    *messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, message))
}

/// The length of the first unread datagram in a message, if the message is about the datagram socket `name`.
fn read(message: &[u8], name: &[u8]) -> Option<u32> {
    if i32::from(*message.get(1)?) != libc::SOCK_DGRAM {
        return None;
    }
    let (mut attributes, mut is_it, mut unread) = (message.get(MESSAGE..)?, false, None);
    while let (Some(length), Some(kind)) = (half(attributes, 0), half(attributes, 2)) {
        let Some(value) = attributes.get(ATTRIBUTE..usize::from(length)) else { break };
        match kind {
            UNIX_DIAG_NAME => is_it = value == name,
            UNIX_DIAG_RQLEN => unread = word(value, 0),
            _ => {}
        }
        attributes = attributes.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    unread.filter(|_| is_it)
}

fn error(message: &[u8]) -> io::Error {
    let number = word(message, 0).unwrap_or_default().cast_signed();
    io::Error::from_raw_os_error(number.saturating_neg())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
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
}
