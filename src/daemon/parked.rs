//! Passed sockets that no listener wants at the moment. Closing them would not help: the service manager keeps its copy, so
//! clients would wait in the backlog, and the address would stay taken. Instead a thread closes connections as they arrive
//! and drops datagrams. A reload gives the sockets back to a listener that asks for them.

use std::{
    io::ErrorKind,
    os::fd::{AsFd, AsRawFd},
    thread::JoinHandle,
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
    process::named_thread,
    report::log_event::LogEvent,
    socket::listener::{AcceptError, Listener},
    sys::error_queue,
};

/// How long the listener that gave up a socket may take to serve its backlog.
const BACKLOG_DRAIN_TIME: Duration = Duration::from_millis(100);

/// Back-off after a failure, such as a shortage of descriptors.
const BACKOFF: Duration = Duration::from_millis(100);

/// Datagrams dropped in one turn.
const MOST: usize = 1000;

/// Stack of the thread, in bytes.
const STACK: usize = 64 << 10;

/// The parked sockets, and the thread that refuses their clients.
#[derive(Default)]
pub struct Parked {
    sockets: Vec<Listener>,
    thread: Option<(EventFd, JoinHandle<()>)>,
}

impl Parked {
    /// All parked sockets.
    pub fn sockets(&self) -> &[Listener] {
        &self.sockets
    }

    /// Whether `socket` is parked.
    pub fn has(&self, socket: &Listener) -> bool {
        let (name, protocol) = (socket.passed_name(), socket.protocol());
        let is_it = |other: &Listener| other.passed_name() == name && other.address() == socket.address();
        self.sockets.iter().any(|other| other.protocol() == protocol && is_it(other))
    }

    /// Replaces the parked sockets.
    pub fn set(&mut self, sockets: Vec<Listener>) {
        self.stop_refusing();
        self.sockets = sockets;
        let clones: Result<Vec<_>, _> = self.sockets.iter().map(Listener::try_clone).collect();
        let started = clones.and_then(|sockets| {
            if sockets.is_empty() {
                return Ok(None);
            }
            let end = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
            let end_event = end.as_fd().try_clone_to_owned()?;
            let refuse = move || refuse_all(&end_event, sockets);
            Ok(Some((end, named_thread::spawn("parked", STACK, refuse)?)))
        });
        match started {
            Ok(thread) => self.thread = thread,
            Err(error) => {
                warn!(
                    event = LogEvent::SocketsParked, error:% = error;
                    "cannot refuse the clients of sockets that are not served: {error}; they wait"
                )
            }
        }
    }

    /// Stops to refuse: from now on clients wait in the backlog.
    pub fn stop_refusing(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            // The write cannot fail on an empty counter, and a thread that has panicked has ended.
            let _ = end.write(1);
            let _ = thread.join();
        }
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.stop_refusing();
    }
}

/// Refuses all clients until `end` is readable.
fn refuse_all(end: &impl AsFd, mut sockets: Vec<Listener>) {
    let mut pause = Some(BACKLOG_DRAIN_TIME);
    loop {
        let wanted = if pause.is_none() { sockets.as_slice() } else { &[] };
        let mut polled = vec![PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        polled.extend(wanted.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        let time = pause.take().and_then(|pause| PollTimeout::try_from(pause).ok());
        match poll(&mut polled, time.unwrap_or(PollTimeout::NONE)) {
            Ok(0) => {
                // The listener may have left them blocking; the next one sets the mode it needs.
                sockets.retain(|socket| socket.set_nonblocking(true).is_ok());
                continue;
            }
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(_) => {
                pause = Some(BACKOFF);
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
                    pause = Some(BACKOFF);
                    true
                }
                // Another process has shut the socket down.
                Err(_) => false,
            }
        });
    }
}

/// Closes one connection, or drops the datagrams that have arrived.
fn refuse(socket: &Listener) -> Result<(), ErrorKind> {
    if socket.protocol().is_stream() {
        return match socket.accept_nonblocking() {
            Ok((client, _)) => {
                // A reset, so that the client does not take the close for an answer. The kernel ignores this on a unix
                // socket.
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
    // Bounded, so that a flood at one socket does not starve the others.
    _ = (0..MOST).take_while(is_dropped).count();
    // Pending errors would keep the socket readable.
    error_queue::drain(fd, |_, _| {});
    Ok(())
}
