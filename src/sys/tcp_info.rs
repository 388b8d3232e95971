//! What the kernel knows of a TCP connection (`TCP_INFO`, tcp(7)).

use std::{mem::offset_of, os::fd::AsFd};

use super::{netlink::word, socket_option};

/// Segments of this connection that were sent again, so far. `None` if it is no TCP connection.
pub fn retransmits(socket: &impl AsFd) -> Option<u32> {
    let mut info = [0; size_of::<libc::tcp_info>()];
    socket_option::read(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info).ok()?;
    word(&info, offset_of!(libc::tcp_info, tcpi_total_retrans))
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::unix::net::UnixStream,
    };

    use super::*;

    #[test]
    fn a_connection_over_loopback_sends_nothing_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(retransmits(&client), Some(0));
        assert_eq!(retransmits(&UnixStream::pair().unwrap().0), None);
    }
}
