//! Links: a program at the ingress of a network interface (`BPF_TCX_INGRESS`, Linux 6.6). Closing the link detaches the program.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use super::{LINK_CREATE, OBJ_GET_INFO_BY_FD, PROG_QUERY, Program, call, make};

const TCX_INGRESS: u32 = 46;

/// A program that is attached to an interface.
#[derive(Debug)]
pub struct Link(OwnedFd);

#[repr(C)]
#[derive(Default)]
struct Create {
    program: u32,
    interface: u32,
    kind: u32,
    flags: u32,
    relative: u32,
    zero: u32,
    revision: u64,
}

#[repr(C)]
struct GetInfo {
    fd: u32,
    length: u32,
    info: u64,
}

/// `struct bpf_link_info` of such a link.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    program: u32,
    zero: u32,
    interface: u32,
    attach: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    interface: u32,
    kind: u32,
    flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    zero: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

impl Link {
    /// Attaches a program behind those that are there. A process that has the program may do that without any capability.
    ///
    /// # Errors
    /// EINVAL before Linux 6.6, ENODEV if there is no such interface.
    pub fn attach(program: &Program, interface: u32) -> io::Result<Link> {
        let program = program.fd.as_raw_fd() as u32;
        let mut attributes = Create { program, interface, kind: TCX_INGRESS, ..Create::default() };
        // SAFETY: there is no address in it, and the command makes a descriptor.
        unsafe { make(LINK_CREATE, &mut attributes) }.map(Link)
    }

    /// The number of the interface. 0 if that is gone: the link does nothing any more.
    pub fn interface(&self) -> io::Result<u32> {
        let mut info = Info::default();
        let (fd, length) = (self.0.as_raw_fd() as u32, size_of::<Info>() as u32);
        let mut attributes = GetInfo { fd, length, info: (&raw mut info) as u64 };
        // SAFETY: the kernel writes no more than `length` bytes of the information.
        unsafe { call(OBJ_GET_INFO_BY_FD, &mut attributes) }?;
        Ok(info.interface)
    }
}

/// How many programs are attached to the ingress of an interface. It needs CAP_NET_ADMIN.
///
/// # Errors
/// EINVAL before Linux 6.6, EPERM.
pub fn attached(interface: u32) -> io::Result<u32> {
    let mut attributes = Query { interface, kind: TCX_INGRESS, ..Query::default() };
    // SAFETY: without room for a list the kernel writes only numbers into the attributes.
    unsafe { call(PROG_QUERY, &mut attributes) }?;
    Ok(attributes.count)
}
