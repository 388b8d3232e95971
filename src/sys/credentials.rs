//! The credentials of a unix socket's peer, recorded by the kernel at connect(2): `SO_PEERCRED` and `SO_PEERGROUPS` (unix(7)).

#![allow(unsafe_code)]

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd},
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// The process that connected to a unix socket, and its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProcess {
    /// Its process id at connect(2); 0 if the process is in another PID namespace.
    pub pid: u32,
    /// Its effective user id at connect(2).
    pub user: u32,
}

impl fmt::Display for PeerProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}, uid {}", self.pid, self.user)
    }
}

/// The peer's process, if the kernel tells it. No process is its own client: what it has connected itself it relays for others.
pub fn peer_process(socket: &impl AsFd) -> Option<PeerProcess> {
    peer_credentials(socket).map(|Credentials { pid, uid, .. }| PeerProcess { pid, user: uid })
}

/// The process at the other end of a unix socket with its effective user and group, as the kernel recorded them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its process id; 0 if the process is in another PID namespace.
    pub pid: u32,
    /// Its user id.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
}

/// As [`peer_process`], with its user and group.
pub fn peer_credentials(socket: &impl AsFd) -> Option<Credentials> {
    recorded(socket).ok().filter(|peer| peer.pid != std::process::id())
}

fn recorded(socket: &impl AsFd) -> io::Result<Credentials> {
    let peer = getsockopt(socket, PeerCredentials)?;
    Ok(Credentials { pid: peer.pid().unsigned_abs(), uid: peer.uid(), gid: peer.gid() })
}

/// The peer's user.
pub fn peer_user(socket: &impl AsFd) -> io::Result<u32> {
    Ok(getsockopt(socket, PeerCredentials)?.uid())
}

/// Whether the peer is in one of `groups`, by its primary or a supplementary group.
pub fn peer_is_in(socket: &impl AsFd, groups: &[u32]) -> io::Result<bool> {
    let own = getsockopt(socket, PeerCredentials)?.gid();
    if groups.contains(&own) {
        return Ok(true);
    }
    let mut found = vec![0 as libc::gid_t; 64];
    loop {
        let mut bytes = (found.len() * size_of::<libc::gid_t>()) as libc::socklen_t;
        // SAFETY: `found` has room for `bytes` bytes. The kernel writes at most that many and returns the size it needed.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                SO_PEERGROUPS,
                found.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = bytes as usize / size_of::<libc::gid_t>();
        if result == 0 {
            found.truncate(count);
            return Ok(found.iter().any(|group| groups.contains(group)));
        }
        let error = io::Error::last_os_error();
        // ERANGE: the kernel has stored the size it needs. A process has at most 65,536 groups (`NGROUPS_MAX`).
        if error.raw_os_error() != Some(libc::ERANGE) || count <= found.len() {
            return Err(error);
        }
        found.resize(count, 0);
    }
}

/// Since Linux 4.13; socket(7) does not list it.
const SO_PEERGROUPS: libc::c_int = 59;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use nix::unistd::{getegid, geteuid, getgroups};

    use super::*;

    #[test]
    fn the_peer_of_a_pair_is_ourselves() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let own = recorded(&ours).unwrap();
        assert_eq!((own.pid, own.uid, own.gid), (std::process::id(), geteuid().as_raw(), getegid().as_raw()));
        assert_eq!((peer_process(&ours), peer_credentials(&ours)), (None, None), "which is nobody's client");
        assert_eq!(PeerProcess { pid: 7, user: 1000 }.to_string(), "pid 7, uid 1000");
        assert_eq!(peer_user(&ours).unwrap(), own.uid);
        assert!(peer_is_in(&ours, &[getegid().as_raw()]).unwrap());
        for group in getgroups().unwrap() {
            assert!(peer_is_in(&ours, &[group.as_raw()]).unwrap());
        }
        assert!(!peer_is_in(&ours, &[]).unwrap());
        assert!(!peer_is_in(&ours, &[u32::MAX - 7]).unwrap());
    }
}
