//! Deadlines on calls that wait, which survive that the machine stops this process for a moment.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, ToSocketAddrs, UdpSocket},
    ops::Deref,
    os::{fd::AsFd, unix::net::UnixDatagram},
    path::Path,
    time::{Duration, Instant},
};

use socket2::SockRef;

use super::PATIENCE;

/// A datagram socket of the standard library with a deadline on what it receives.
pub(crate) struct Patient<S> {
    socket: S,
    time: Duration,
}

impl<S: AsFd> Patient<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self { socket, time: PATIENCE }.within(PATIENCE)
    }

    /// Waits for no longer than this.
    pub(crate) fn within(self, time: Duration) -> Self {
        SockRef::from(&self.socket).set_read_timeout(Some(time)).unwrap();
        Self { time, ..self }
    }
}

impl Patient<UdpSocket> {
    #[track_caller]
    pub(crate) fn udp(at: impl ToSocketAddrs) -> Self {
        Self::new(UdpSocket::bind(at).unwrap())
    }

    pub(crate) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        within(self.time, || self.socket.recv(buffer))
    }

    pub(crate) fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        within(self.time, || self.socket.recv_from(buffer))
    }
}

impl Patient<UnixDatagram> {
    #[track_caller]
    pub(crate) fn unix(path: &Path) -> Self {
        Self::new(UnixDatagram::bind(path).unwrap())
    }

    pub(crate) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        within(self.time, || self.socket.recv(buffer))
    }
}

impl<S> Deref for Patient<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.socket
    }
}

/// A call with a time-out is not begun anew by the kernel when the machine stops this process for a moment (signal(7),
/// "Interruption of system calls by stop signals"), and one that is begun anew by us has all of its time again: so no more than
/// [`PATIENCE`] in all.
pub(crate) fn uninterrupted<T>(call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    within(PATIENCE, call)
}

/// As [`uninterrupted`], for a call whose time-out is `time`.
pub(crate) fn within<T>(time: Duration, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let since = Instant::now();
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                if since.elapsed() >= time {
                    return Err(ErrorKind::WouldBlock.into());
                }
            }
            outcome => return outcome,
        }
    }
}
