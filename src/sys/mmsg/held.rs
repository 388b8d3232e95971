//! An answer that is sent later, by itself: a copy of all that it needs.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::{Request, Sent, control_length};
use crate::sys::{names, path_mtu};

/// An answer to a request, with the address and the control data of that request.
#[derive(Default)]
pub struct HeldAnswer {
    name: Box<[u8]>,
    control: Box<[u64]>,
    control_length: usize,
    bytes: Box<[u8]>,
}

impl Request<'_> {
    /// The answer `bytes` to this request, `marked` as the request is or as its socket says.
    pub fn hold(self, bytes: &[u8], marked: bool) -> HeldAnswer {
        let header = &self.message.msg_hdr;
        let name = self.slot.name.0[..(header.msg_namelen as usize).min(names::NAME)].into();
        let mut copy = *self.slot;
        let control_length = match header.msg_control.is_null() {
            true => 0,
            false => names::turn_around(&mut copy.control.0[..control_length(header)], marked),
        };
        // In words, because control data must be aligned (cmsg(3)).
        let words = copy.control.0[..control_length.next_multiple_of(8)].chunks_exact(8);
        let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        HeldAnswer { name, control: words.map(word).collect(), control_length, bytes: bytes.into() }
    }
}

impl HeldAnswer {
    /// The bytes of memory that it takes, about.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.control.len() * 8 + self.bytes.len()
    }

    /// Sends it without waiting.
    pub fn send(&self, fd: BorrowedFd<'_>) -> Sent {
        let mut sent = Sent::default();
        // ECONNREFUSED always concerns an earlier answer, and one call clears it.
        for _ in 0..8 {
            let Err(error) = self.send_once(fd) else {
                sent.bytes = self.bytes.len() as u64;
                return sent;
            };
            sent.error = error.raw_os_error().unwrap_or(0);
            match sent.error {
                libc::EINTR => {}
                libc::ECONNREFUSED => sent.has_feedback = true,
                libc::EMSGSIZE => path_mtu::allow_fragments(&fd),
                _ => break,
            }
        }
        match sent.error {
            libc::EAGAIN | libc::ENOBUFS => sent.dropped = 1,
            libc::EPERM | libc::EACCES => sent.forbidden = 1,
            libc::EHOSTUNREACH | libc::ENETUNREACH => sent.unreachable = 1,
            libc::EMSGSIZE => sent.oversize = 1,
            _ => sent.failed = 1,
        }
        sent
    }

    fn send_once(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: `msghdr` is plain data (padded in musl) for which all zeroes is a valid value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        let mut piece =
            libc::iovec { iov_base: self.bytes.as_ptr().cast_mut().cast(), iov_len: self.bytes.len() };
        header.msg_name = self.name.as_ptr().cast_mut().cast();
        header.msg_namelen = self.name.len() as u32;
        header.msg_iov = &raw mut piece;
        header.msg_iovlen = 1;
        if self.control_length > 0 {
            header.msg_control = self.control.as_ptr().cast_mut().cast();
            header.msg_controllen = self.control_length as _;
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: every pointer in the header leads to memory that is as long as the header says and lives through the call.
        // sendmsg(2) only reads it.
        match unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const header, flags) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}
