//! Dumps of the kernel's lists (netlink(7)): a request, messages until the end, attributes in them.

use std::{
    ffi::c_int,
    io::{self, ErrorKind, Read, Write},
    ops::ControlFlow,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::socket_option;

/// The size of a `nlmsghdr`: length, type, flags, sequence number, port id.
const HEADER: usize = 16;
/// The size of an `nlattr`: length and type.
const ATTRIBUTE: usize = 4;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// The bits of an attribute's type but for its flags (NLA_TYPE_MASK).
const TYPE: u16 = 0x3fff;

/// The kernel answers at once, unless it is out of memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks for a list of sockets (sock_diag(7)) as [`list`] does.
pub(super) fn dump(request: &[u8], take: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
    list(libc::NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, request, take)
}

/// Asks the part of the kernel with this `protocol` for the list of this `kind`, and gives each message of it, without its header, to
/// `take`, until that breaks.
///
/// # Errors
/// The kernel does not answer, or has no such list.
pub(super) fn list(
    protocol: c_int,
    kind: u16,
    request: &[u8],
    take: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    let kernel = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::from(libc::SOCK_RAW),
        Some(Protocol::from(protocol)),
    )?;
    kernel.set_read_timeout(Some(PATIENCE))?;
    heed_requests(&kernel);
    let mut whole = vec![0; HEADER];
    whole[..4].copy_from_slice(&((HEADER + request.len()) as u32).to_ne_bytes());
    whole[4..6].copy_from_slice(&kind.to_ne_bytes());
    whole[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    whole.extend_from_slice(request);
    (&kernel).write_all(&whole)?;
    let mut buffer = vec![0; 32 << 10];
    loop {
        let length = match (&kernel).read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            length => length?,
        };
        let mut messages = buffer.get(..length).unwrap_or_default();
        while let Some((kind, message)) = next(&mut messages) {
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => return Err(error(message)),
                _ => {}
            }
            if take(message).is_break() {
                return Ok(());
            }
        }
    }
}

/// Has the kernel list only what the request asks for, such as the routes of one table (NETLINK_GET_STRICT_CHK, Linux 4.20). Without that
/// it lists them all.
fn heed_requests(kernel: &Socket) {
    const NETLINK_GET_STRICT_CHK: c_int = 12;
    let _ = socket_option::set(kernel, libc::SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
}

/// Splits off the first message, and returns its type and what follows its header.
fn next<'m>(messages: &mut &'m [u8]) -> Option<(u16, &'m [u8])> {
    let length = word(messages, 0)? as usize;
    let kind = half(messages, 4)?;
    let message = messages.get(HEADER..length)?;
    *messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, message))
}

/// The attributes in `bytes`: their types, without the flags that say how a value is encoded, and values. A broken one ends the list.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (usize::from(half(bytes, 0)?), half(bytes, 2)?);
        let value = bytes.get(ATTRIBUTE..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & TYPE, value))
    })
}

fn error(message: &[u8]) -> io::Error {
    let number = word(message, 0).unwrap_or_default().cast_signed();
    io::Error::from_raw_os_error(number.saturating_neg())
}

/// Eight bytes as a number.
pub(super) fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes)
}

/// Four bytes as a number.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// Two bytes as a number.
pub(super) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_ends_the_list() {
        let whole = [8, 0, 1, 0, 7, 0, 0, 0, 5, 0, 2, 0, 9, 0, 0, 0];
        let read =
            |bytes: &[u8]| attributes(bytes).map(|(kind, value)| (kind, value.to_vec())).collect::<Vec<_>>();
        assert_eq!(read(&whole), [(1, vec![7, 0, 0, 0]), (2, vec![9])]);
        assert_eq!(read(&whole[..10]), [(1, vec![7, 0, 0, 0])]);
        assert_eq!(read(&[0, 0, 1, 0]), []);
        assert_eq!(read(&[3, 0, 1, 0, 9]), []);
        assert_eq!(read(&[255, 255, 1, 0]), []);
        for message in [&[][..], &[16], &[4, 0, 0, 0, 3, 0], &[255; 20]] {
            assert_eq!(next(&mut &*message), None);
        }
    }
}
