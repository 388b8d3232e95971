//! What the kernel knows of a TCP connection (`TCP_INFO`, tcp(7)).

#![allow(unsafe_code)]

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd},
};

/// Segments of this connection that were sent again, so far. `None` if it is no TCP connection.
pub fn retransmits(socket: &impl AsFd) -> Option<u32> {
    let mut info: MaybeUninit<libc::tcp_info> = MaybeUninit::zeroed();
    let mut size = size_of::<libc::tcp_info>() as u32;
    let fd = socket.as_fd().as_raw_fd();
    let option = info.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `size` bytes, which is the size of `info`.
    let result = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, option, &raw mut size) };
    // SAFETY: all of it was zero, or has been written by the kernel: a structure of integers may have any value.
    let info = unsafe { info.assume_init() };
    (result == 0).then_some(info.tcpi_total_retrans)
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
