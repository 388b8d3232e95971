//! How many datagrams the kernel has dropped at a socket (`SO_MEMINFO`). The socket need not note it with each datagram, as it does
//! with `SO_RXQ_OVFL` (socket(7)).

use std::{io, os::fd::AsFd};

use super::socket_option;

/// The place of the number among those that the kernel returns.
const DROPS: usize = libc::SK_MEMINFO_DROPS as usize;

/// Datagrams that were dropped at `socket` so far: rejected by a filter, with a wrong checksum, or because the receive buffer was
/// full. The counter does not tell these apart.
///
/// # Errors
/// If the kernel does not tell (ENOPROTOOPT).
pub fn drops(socket: &impl AsFd) -> io::Result<u32> {
    let mut numbers = [0; (DROPS + 1) * 4];
    socket_option::read(socket, libc::SOL_SOCKET, libc::SO_MEMINFO, &mut numbers)?;
    let [.., a, b, c, d] = numbers;
    Ok(u32::from_ne_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use socket2::SockRef;

    #[test]
    fn what_finds_no_room_is_counted() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        SockRef::from(&socket).set_recv_buffer_size(1).unwrap();
        assert_eq!(super::drops(&socket).unwrap(), 0);
        for _ in 0..100 {
            socket.send_to(&[0; 1000], socket.local_addr().unwrap()).unwrap();
        }
        assert!(super::drops(&socket).unwrap() > 50);
    }
}
