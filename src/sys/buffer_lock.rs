//! Whether the size of a socket's buffers was set explicitly (`SO_BUF_LOCK`, socket(7)). The kernel does not auto-tune such a
//! buffer.

use std::{ffi::c_int, io, os::fd::AsFd};

use super::socket_option;

/// Which buffers have an explicit size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The send buffer.
    pub send: bool,
    /// The receive buffer.
    pub receive: bool,
}

/// Reads which buffers have an explicit size; reports none on a kernel without the option (before 5.14).
pub fn is_set(socket: &impl AsFd) -> io::Result<Chosen> {
    match socket_option::get(socket, libc::SOL_SOCKET, libc::SO_BUF_LOCK) {
        // `SOCK_SNDBUF_LOCK` is 1 and `SOCK_RCVBUF_LOCK` is 2 (linux/socket.h).
        Ok(locks) => Ok(Chosen { send: locks & 1 != 0, receive: locks & 2 != 0 }),
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
            Ok(Chosen { send: false, receive: false })
        }
        Err(error) => Err(error),
    }
}

/// Marks which buffers have an explicit size. Does nothing on a kernel without the option.
pub fn set(socket: &impl AsFd, chosen: &Chosen) -> io::Result<()> {
    let locks = c_int::from(chosen.send) | c_int::from(chosen.receive) << 1;
    match socket_option::set(socket, libc::SOL_SOCKET, libc::SO_BUF_LOCK, locks) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn an_explicit_size_differs_from_the_default() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let chosen = is_set(&socket).unwrap();
        assert!(!chosen.send && !chosen.receive);
        socket.set_recv_buffer_size(65536).unwrap();
        let chosen = is_set(&socket).unwrap();
        assert!(!chosen.send && chosen.receive);
        socket.set_send_buffer_size(65536).unwrap();
        assert!(is_set(&socket).unwrap().send);
        set(&socket, &Chosen { send: true, receive: false }).unwrap();
        let chosen = is_set(&socket).unwrap();
        assert!(chosen.send && !chosen.receive);
    }
}
