//! Classic BPF programs on sockets (`SO_ATTACH_FILTER`, socket(7)). The kernel drops what the program rejects, without a wake-up.

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use super::socket_option;

/// One instruction: `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The opcode.
    pub code: u16,
    /// Instructions to skip if the condition holds.
    pub yes: u8,
    /// Instructions to skip if it does not.
    pub no: u8,
    /// The operand: a constant, or the offset to load from.
    pub k: u32,
}

/// Instructions that the kernel allows in a program (`BPF_MAXINSNS`).
pub const LONGEST: usize = 4096;

/// Attaches a program, in place of a previous one.
///
/// # Errors
/// EINVAL if the kernel's checks reject the program, EPERM if the previous one is locked, ENOMEM.
pub fn attach(socket: &impl AsFd, program: &[Instruction]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    let fd = socket.as_fd().as_raw_fd();
    let size = size_of::<libc::sock_fprog>() as u32;
    let option = (&raw const program).cast();
    // SAFETY: the program has `length` instructions in the kernel's layout. The kernel only reads and copies it.
    match unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, option, size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Locks the program: no process that has the socket can detach or replace it.
pub fn lock(socket: &impl AsFd) -> io::Result<()> {
    socket_option::set(socket, libc::SOL_SOCKET, libc::SO_LOCK_FILTER, 1)
}

/// Detaches the program, if there is one.
pub fn detach(socket: &impl AsFd) -> io::Result<()> {
    match socket_option::set(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 1) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

/// The program that is attached; empty if there is none.
pub fn program(socket: &impl AsFd) -> io::Result<Vec<Instruction>> {
    let fd = socket.as_fd().as_raw_fd();
    let mut program: Vec<Instruction> = Vec::new();
    loop {
        // This option counts in instructions, not in bytes.
        let room = program.len() as u32;
        let (mut size, option) = (room, program.as_mut_ptr().cast());
        let size_of = &raw mut size;
        // SAFETY: the kernel writes at most `size` instructions, which is the length of `program`. With 0 it writes none.
        match unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_GET_FILTER, option, size_of) } {
            0 if size == room => return Ok(program),
            0 => program.resize(size as usize, Instruction { code: 0, yes: 0, no: 0, k: 0 }),
            _ => return Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use super::*;
    use crate::sys::socket_drops::drops;

    const RETURN: u16 = 0x06;

    #[test]
    fn rejected_datagrams_are_counted_and_a_locked_program_stays() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let all = Instruction { code: RETURN, yes: 0, no: 0, k: u32::MAX };
        let none = Instruction { k: 0, ..all };
        attach(&socket, &[none]).unwrap();
        assert_eq!(drops(&socket).unwrap(), 0);
        let to = socket.local_addr().unwrap();
        (0..3).for_each(|_| assert_eq!(socket.send_to(b"x", to).unwrap(), 1));
        assert_eq!(drops(&socket).unwrap(), 3);
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        assert!(socket.recv(&mut [0]).is_err());
        attach(&socket, &[all]).unwrap();
        assert_eq!(socket.send_to(b"x", to).unwrap(), 1);
        assert_eq!((drops(&socket).unwrap(), socket.recv(&mut [0]).unwrap()), (3, 1));
        detach(&socket).unwrap();
        detach(&socket).unwrap();
        assert_eq!(program(&socket).unwrap(), []);
        attach(&socket, &[none]).unwrap();
        lock(&socket).unwrap();
        assert_eq!(program(&socket).unwrap(), [none]);
        let locked = [attach(&socket, &[all]), detach(&socket)].map(|result| result.unwrap_err().kind());
        assert_eq!(locked, [io::ErrorKind::PermissionDenied; 2]);
    }

    #[test]
    fn a_program_without_a_return_is_rejected() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(attach(&socket, &[]).is_err());
        assert!(attach(&socket, &[Instruction { code: 0, yes: 0, no: 0, k: 0 }]).is_err());
    }
}
