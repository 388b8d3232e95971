//! Sockets that the service manager passed and that no listener wants at the moment. They are not closed: the manager keeps its copy
//! all the same, so clients would wait for nothing and nobody could bind the address. A reload gives them back to the listener
//! that asks for them. Meanwhile streams are ended as soon as they come, and datagrams are dropped.

use std::{
    io::ErrorKind,
    os::fd::{AsFd, AsRawFd},
    thread::{self, JoinHandle},
    time::Duration,
};

use log::warn;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        socket::{MsgFlags, recv},
    },
};

use crate::{
    socket::listener::{AcceptError, Listener},
    sys::error_queue,
};

/// Those who are here when a listener gives up a socket are served by it. So long it may take.
const BACKLOG_DRAIN_TIME: Duration = Duration::from_millis(100);

/// The rest after a failure, as for want of descriptors.
const REST: Duration = Duration::from_millis(100);

/// So many datagrams are dropped in one go.
const MOST: usize = 1000;

/// What a thread on the smallest stack takes for this.
const STACK: usize = 64 << 10;

/// All parked sockets, and the thread that turns clients away.
#[derive(Default)]
pub struct Parked {
    sockets: Vec<Listener>,
    thread: Option<(EventFd, JoinHandle<()>)>,
}

impl Parked {
    /// The sockets.
    pub fn sockets(&self) -> &[Listener] {
        &self.sockets
    }

    /// Whether this socket is among them.
    pub fn has(&self, socket: &Listener) -> bool {
        let (name, protocol) = (socket.passed_name(), socket.protocol());
        let is_it = |other: &Listener| other.passed_name() == name && other.address() == socket.address();
        self.sockets.iter().any(|other| other.protocol() == protocol && is_it(other))
    }

    /// Parks these, and no others any more.
    pub fn set(&mut self, sockets: Vec<Listener>) {
        self.rest();
        self.sockets = sockets;
        let clones: Result<Vec<_>, _> = self.sockets.iter().map(Listener::try_clone).collect();
        let started = clones.and_then(|sockets| {
            if sockets.is_empty() {
                return Ok(None);
            }
            let end = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
            let told = end.as_fd().try_clone_to_owned()?;
            let refuse = move || refuse_all(&told, sockets);
            Ok(Some((end, thread::Builder::new().stack_size(STACK).spawn(refuse)?)))
        });
        match started {
            Ok(thread) => self.thread = thread,
            Err(error) => {
                warn!("cannot refuse the clients of sockets that are not served: {error}; they wait")
            }
        }
    }

    /// Leaves clients where they are: from now on they wait.
    pub fn rest(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            // A counter that is written once has room for that; a thread that has panicked has ended.
            let _ = end.write(1);
            let _ = thread.join();
        }
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.rest();
    }
}

/// Turns everybody away until `end` can be read.
fn refuse_all(end: &impl AsFd, mut sockets: Vec<Listener>) {
    let mut pause = Some(BACKLOG_DRAIN_TIME);
    loop {
        let wanted = if pause.is_none() { sockets.as_slice() } else { &[] };
        let mut polled = vec![PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        polled.extend(wanted.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        let time = pause.take().and_then(|pause| PollTimeout::try_from(pause).ok());
        match poll(&mut polled, time.unwrap_or(PollTimeout::NONE)) {
            Ok(0) => {
                // Whoever served them may have left them otherwise. The next one sets this as it likes.
                sockets.retain(|socket| socket.set_nonblocking(true).is_ok());
                continue;
            }
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(_) => {
                pause = Some(REST);
                continue;
            }
        }
        let ready: Vec<bool> = polled.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let [is_over, ready @ ..] = ready.as_slice() else { return };
        if *is_over {
            return;
        }
        let mut index = 0;
        sockets.retain(|socket| {
            index += 1;
            if !ready.get(index - 1).is_some_and(|ready| *ready) {
                return true;
            }
            match refuse(socket) {
                Ok(()) => true,
                Err(ErrorKind::OutOfMemory) => {
                    pause = Some(REST);
                    true
                }
                // Another process has shut it down.
                Err(_) => false,
            }
        });
    }
}

/// Ends one connection, or drops the datagrams that have come.
fn refuse(socket: &Listener) -> Result<(), ErrorKind> {
    if socket.protocol().is_stream() {
        return match socket.accept_nonblocking() {
            Ok((client, _)) => {
                // The client is not to take it for an answer. Of a unix socket the kernel does not heed this.
                let _ = client.set_linger(Some(Duration::ZERO));
                Ok(())
            }
            Err(AcceptError::WouldBlock | AcceptError::Retry) => Ok(()),
            Err(AcceptError::Exhausted(_)) => Err(ErrorKind::OutOfMemory),
            Err(AcceptError::Fatal(error)) => Err(error.kind()),
        };
    }
    let fd = socket.as_fd();
    let is_dropped = |_: &usize| recv(fd.as_raw_fd(), &mut [], MsgFlags::MSG_DONTWAIT).is_ok();
    // Where they come without an end, others want to be refused, too.
    _ = (0..MOST).take_while(is_dropped).count();
    // It makes the socket readable for ever, otherwise.
    error_queue::drain(fd, |_, _| {});
    Ok(())
}
