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

use super::buffer_lock::{self, Chosen};

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

/// The send buffer of a socket as it usually is, when it is not enlarged. Several processes may enlarge and restore it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsualBuffer {
    /// Its size in bytes of kernel memory.
    pub size: usize,
    /// Whether that is an explicit size.
    pub is_chosen: bool,
}

impl UsualBuffer {
    /// That of a socket whose buffer is not enlarged.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn of(socket: &impl AsFd) -> io::Result<UsualBuffer> {
        Ok(UsualBuffer { size: size(socket)?, is_chosen: buffer_lock::is_set(socket)?.send })
    }

    /// Enlarges the buffer, as far as the kernel allows, and returns its size. Without privileges twice the usual size is possible,
    /// unless that is the largest already.
    ///
    /// # Errors
    /// Those of setsockopt(2); the buffer may then have another size.
    pub fn enlarge(&self, socket: &impl AsFd) -> io::Result<usize> {
        // The kernel doubles the value.
        if set_socket_send_buffer_size_force(socket, LARGE.max(self.size)).is_err() {
            set_socket_send_buffer_size(socket, self.size)?;
        }
        let now = socket_send_buffer_size(socket)?;
        if now < self.size {
            self.restore(socket)?;
        }
        self.mark(socket)?;
        Ok(now.max(self.size))
    }

    /// Gives the buffer its usual size.
    ///
    /// # Errors
    /// Those of setsockopt(2); the buffer may then still be large.
    pub fn restore(&self, socket: &impl AsFd) -> io::Result<()> {
        if set_socket_send_buffer_size_force(socket, self.size / 2).is_err() {
            set_socket_send_buffer_size(socket, self.size / 2)?;
        }
        self.mark(socket)
    }

    /// To set a size makes it an explicit one.
    fn mark(&self, socket: &impl AsFd) -> io::Result<()> {
        let chosen = Chosen { send: self.is_chosen, ..buffer_lock::is_set(socket)? };
        buffer_lock::set(socket, &chosen)
    }
}

/// Limits the send buffer to half of the largest size, so that it can be doubled even after privileges are dropped.
pub fn leave_room(socket: &impl AsFd) -> io::Result<()> {
    let usual = UsualBuffer::of(socket)?;
    set_socket_send_buffer_size(socket, usual.size)?;
    let largest = socket_send_buffer_size(socket)?;
    UsualBuffer { size: usual.size.min(largest / 2), ..usual }.restore(socket)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn the_buffer_is_enlarged_and_restored() {
        let (one, other) = UnixDatagram::pair().unwrap();
        let usual = UsualBuffer::of(&one).unwrap();
        assert_eq!(used(&one).unwrap(), 0);
        one.send(&[0; 1000]).unwrap();
        assert!(used(&one).unwrap() >= 1000);
        other.recv(&mut [0; 1000]).unwrap();
        assert_eq!(used(&one).unwrap(), 0);
        let large = usual.enlarge(&one).unwrap();
        assert!(large > usual.size && size(&one).unwrap() == large);
        // As another process does at the same time.
        assert_eq!(usual.enlarge(&one).unwrap(), large);
        usual.restore(&one).unwrap();
        assert_eq!(UsualBuffer::of(&one).unwrap(), usual, "the size is not explicit");
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
