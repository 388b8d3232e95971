//! The send buffer of a unix datagram socket. It holds every datagram sent from the socket until its receiver has read it
//! (unix(7)).

#![allow(unsafe_code)]

use std::{
    ffi::c_int,
    io,
    os::fd::{AsFd, AsRawFd},
};

use rustix::net::sockopt::{
    set_socket_send_buffer_size, set_socket_send_buffer_size_force, socket_send_buffer_size,
};

use super::buffer_lock;

/// The size to request with CAP_NET_ADMIN, beyond `net.core.wmem_max`. The kernel doubles it.
const LARGE: usize = 2 << 20;

/// The size of the send buffer of `socket`, in bytes of kernel memory.
pub fn size(socket: &impl AsFd) -> io::Result<usize> {
    Ok(socket_send_buffer_size(socket)?)
}

/// The bytes of that memory in use (`SIOCOUTQ`).
pub fn used(socket: &impl AsFd) -> io::Result<usize> {
    let mut used: c_int = 0;
    // SAFETY: the kernel writes an `int`.
    match unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut used) } {
        0 => Ok(usize::try_from(used).unwrap_or_default()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Enlarges the send buffer beyond `size`, as far as the kernel allows, and returns the new size. Without privileges twice the
/// size is possible, unless the buffer has the largest size already.
pub fn enlarge(socket: &impl AsFd, size: usize) -> io::Result<usize> {
    let chosen = buffer_lock::is_set(socket)?;
    // The kernel doubles the value.
    if set_socket_send_buffer_size_force(socket, LARGE.max(size)).is_err() {
        set_socket_send_buffer_size(socket, size)?;
    }
    let now = socket_send_buffer_size(socket)?;
    if now < size {
        restore(socket, size)?;
    }
    // The temporary size must not count as an explicit one.
    buffer_lock::set(socket, &chosen)?;
    Ok(now.max(size))
}

/// Restores the `size` that the send buffer had before [`enlarge`].
pub fn restore(socket: &impl AsFd, size: usize) -> io::Result<()> {
    let chosen = buffer_lock::is_set(socket)?;
    if set_socket_send_buffer_size_force(socket, size / 2).is_err() {
        set_socket_send_buffer_size(socket, size / 2)?;
    }
    buffer_lock::set(socket, &chosen)
}

/// Limits the send buffer to half of the largest size, so that [`enlarge`] can double it even after privileges are dropped.
pub fn leave_room(socket: &impl AsFd) -> io::Result<()> {
    let size = size(socket)?;
    set_socket_send_buffer_size(socket, size)?;
    let largest = socket_send_buffer_size(socket)?;
    restore(socket, size.min(largest / 2))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn the_buffer_is_enlarged_and_restored() {
        let (one, other) = UnixDatagram::pair().unwrap();
        let usual = size(&one).unwrap();
        assert_eq!(used(&one).unwrap(), 0);
        one.send(&[0; 1000]).unwrap();
        assert!(used(&one).unwrap() >= 1000);
        other.recv(&mut [0; 1000]).unwrap();
        assert_eq!(used(&one).unwrap(), 0);
        let large = enlarge(&one, usual).unwrap();
        assert!(large >= usual && size(&one).unwrap() == large);
        restore(&one, usual).unwrap();
        assert_eq!(size(&one).unwrap(), usual);
        assert!(!buffer_lock::is_set(&one).unwrap().send, "the size is not explicit");
    }

    #[test]
    fn the_largest_buffer_is_halved() {
        let (one, _other) = UnixDatagram::pair().unwrap();
        set_socket_send_buffer_size(&one, 1 << 30).unwrap();
        leave_room(&one).unwrap();
        let size = size(&one).unwrap();
        set_socket_send_buffer_size(&one, size).unwrap();
        assert!(socket_send_buffer_size(&one).unwrap() >= 2 * size);
        assert!(buffer_lock::is_set(&one).unwrap().send, "the size is explicit");
    }
}
