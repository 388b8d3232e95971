//! In which network namespace a socket was made (`SO_NETNS_COOKIE`, Linux 5.14).

use std::{io, os::fd::AsFd};

use socket2::{Domain, Socket, Type};

use super::socket_option;

const SO_NETNS_COOKIE: libc::c_int = 71;

/// Whether a socket was made in the namespace of this thread. If the kernel does not tell, it may not have been.
pub fn is_here(socket: &impl AsFd) -> bool {
    let here = Socket::new(Domain::IPV4, Type::DGRAM, None).and_then(|socket| cookie(&socket));
    here.is_ok_and(|here| cookie(socket).is_ok_and(|other| other == here))
}

fn cookie(socket: &impl AsFd) -> io::Result<u64> {
    let mut cookie = [0; 8];
    socket_option::read(socket, libc::SOL_SOCKET, SO_NETNS_COOKIE, &mut cookie)?;
    Ok(u64::from_ne_bytes(cookie))
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
