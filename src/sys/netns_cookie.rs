//! In which network namespace a socket was made (`SO_NETNS_COOKIE`, Linux 5.14).

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use socket2::{Domain, Socket, Type};

const SO_NETNS_COOKIE: libc::c_int = 71;

/// Whether a socket was made in the namespace of this thread. If the kernel does not tell, it may not have been.
pub fn is_here(socket: &impl AsFd) -> bool {
    let here = Socket::new(Domain::IPV4, Type::DGRAM, None).and_then(|socket| cookie(&socket));
    here.is_ok_and(|here| cookie(socket).is_ok_and(|other| other == here))
}

fn cookie(socket: &impl AsFd) -> io::Result<u64> {
    let (mut cookie, mut size) = (0_u64, size_of::<u64>() as u32);
    let fd = socket.as_fd().as_raw_fd();
    let value = (&raw mut cookie).cast();
    // SAFETY: the kernel writes at most `size` bytes, which is the size of `cookie`.
    match unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, SO_NETNS_COOKIE, value, &raw mut size) } {
        0 => Ok(cookie),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_this_namespace_is_here() {
        assert!(is_here(&std::net::UdpSocket::bind("127.0.0.1:0").unwrap()));
        assert!(!is_here(&std::fs::File::open("/dev/null").unwrap()));
    }
}
