//! The send buffer of a unix datagram socket: what was sent from it and not been read yet, by whomever, lies there (unix(7)).

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

/// Where a socket may have more than `net.core.wmem_max` gives: half of the size that it then has.
const LARGE: usize = 2 << 20;

/// The size of the send buffer of `socket`, in bytes of the kernel's memory.
pub fn size(socket: &impl AsFd) -> io::Result<usize> {
    Ok(socket_send_buffer_size(socket)?)
}

/// How much of that memory is in use (`SIOCOUTQ`).
pub fn used(socket: &impl AsFd) -> io::Result<usize> {
    let mut used: c_int = 0;
    // SAFETY: the kernel writes an `int`.
    match unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut used) } {
        0 => Ok(usize::try_from(used).unwrap_or_default()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the send buffer larger than `size`, as far as the kernel lets us, and returns what it is now. Twice the size is as far as
/// nobody needs rights for, unless somebody has chosen the largest one already.
pub fn enlarge(socket: &impl AsFd, size: usize) -> io::Result<usize> {
    let chosen = buffer_lock::is_set(socket)?;
    // The kernel doubles what it is told.
    if set_socket_send_buffer_size_force(socket, LARGE.max(size)).is_err() {
        set_socket_send_buffer_size(socket, size)?;
    }
    let now = socket_send_buffer_size(socket)?;
    if now < size {
        restore(socket, size)?;
    }
    // That we have chosen a size for a while is nobody's choice.
    buffer_lock::set(socket, &chosen)?;
    Ok(now.max(size))
}

/// Gives the send buffer the `size` back that it had before [`enlarge`].
pub fn restore(socket: &impl AsFd, size: usize) -> io::Result<()> {
    let chosen = buffer_lock::is_set(socket)?;
    if set_socket_send_buffer_size_force(socket, size / 2).is_err() {
        set_socket_send_buffer_size(socket, size / 2)?;
    }
    buffer_lock::set(socket, &chosen)
}

/// Makes the send buffer so small that [`enlarge`] can make it twice as large, also when all rights have been given up.
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
    fn the_buffer_grows_and_shrinks_again() {
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
        assert!(!buffer_lock::is_set(&one).unwrap().send, "nobody has chosen a size");
    }

    #[test]
    fn the_largest_buffer_leaves_room() {
        let (one, _other) = UnixDatagram::pair().unwrap();
        set_socket_send_buffer_size(&one, 1 << 30).unwrap();
        leave_room(&one).unwrap();
        let size = size(&one).unwrap();
        set_socket_send_buffer_size(&one, size).unwrap();
        assert!(socket_send_buffer_size(&one).unwrap() >= 2 * size);
        assert!(buffer_lock::is_set(&one).unwrap().send, "somebody has chosen a size");
    }
}
