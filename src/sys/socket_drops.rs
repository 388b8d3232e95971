//! How many datagrams the kernel has dropped at a socket (`SO_MEMINFO`). The socket need not note it with each datagram, as it does
//! with `SO_RXQ_OVFL` (socket(7)).

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// The place of the number among those that the kernel returns.
const DROPS: usize = libc::SK_MEMINFO_DROPS as usize;

/// Datagrams that were dropped at `socket` so far: rejected by a filter, with a wrong checksum, or because the receive buffer was
/// full. The counter does not tell these apart.
///
/// # Errors
/// If the kernel does not tell (ENOPROTOOPT).
pub fn drops(socket: &impl AsFd) -> io::Result<u32> {
    let mut numbers = [0_u32; DROPS + 1];
    let mut length = size_of_val(&numbers) as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    let to = numbers.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `length` bytes to the array, and its length to the local variable.
    let got = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, to, &raw mut length) };
    match got {
        0 => Ok(numbers[DROPS]),
        _ => Err(io::Error::last_os_error()),
    }
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
