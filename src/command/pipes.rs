//! A client on pipes, files or a terminal instead of a socket: what comes on standard input is its request, and the answer goes to
//! standard output. Two threads carry the bytes to and from one end of a pair of sockets; the other end is served as any connection.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::mpsc::{Receiver, channel},
    thread::{self, JoinHandle},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::SigmaskHow,
};

use crate::{
    report::error::{Exit, Failure},
    sys::interrupt,
};

/// Bytes carried at once.
const ROOM: usize = 64 * 1024;

/// The threads between the descriptors and a socket.
pub(super) struct Pumps {
    output: JoinHandle<io::Result<()>>,
    input: Receiver<io::Error>,
}

impl Pumps {
    /// Begins to carry bytes from standard input to `end`, and from there to standard output.
    pub(super) fn start(end: UnixStream) -> io::Result<Pumps> {
        let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from);
        let (stdin, stdout) = (own(io::stdin().as_fd())?, own(io::stdout().as_fd())?);
        let to_service = end.try_clone()?;
        let (sender, input) = channel();
        // A signal to stop is for the thread that serves.
        let before = interrupt::blockable().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let started = thread::Builder::new().spawn(move || {
            if let Err(error) = carry(stdin, &to_service) {
                // Nobody waits for it after the end.
                let _ = sender.send(error);
            }
            // The service still sends the rest.
            let _ = to_service.shutdown(Shutdown::Write);
        });
        let output = started.and_then(|_| {
            thread::Builder::new().spawn(move || {
                let carried = carry_from(&end, stdout);
                let _ = end.shutdown(Shutdown::Both);
                carried
            })
        });
        before.thread_set_mask()?;
        Ok(Pumps { output: output?, input })
    }

    /// Waits until the last byte of the service is on standard output. What is still to come on standard input is left there.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let carried = self.output.join().unwrap_or_else(|_| Err(io::Error::other("its thread has panicked")));
        if let Ok(error) = self.input.try_recv() {
            return Err(Failure::new(Exit::NoInput, format!("cannot read standard input: {error}")));
        }
        match carried {
            // Whoever read it has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            Err(error) => {
                Err(Failure::new(Exit::InputOutput, format!("cannot write to standard output: {error}")))
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Carries bytes to the service, up to the end of the input or of the service.
///
/// # Errors
/// Those of the input.
fn carry(from: File, mut to: &UnixStream) -> io::Result<()> {
    let mut buffer = vec![0; ROOM];
    loop {
        let length = when_ready(&from, PollFlags::POLLIN, || (&from).read(&mut buffer))?;
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
            return Ok(());
        }
    }
}

/// Carries bytes from the service, up to its end.
///
/// # Errors
/// Those of the output.
fn carry_from(mut from: &UnixStream, to: File) -> io::Result<()> {
    let mut buffer = vec![0; ROOM];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // Cut by the service.
            Err(_) => return Ok(()),
        };
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let written = when_ready(&to, PollFlags::POLLOUT, || (&to).write(rest))?;
            rest = &rest[written..];
        }
    }
}

/// Does `call` until it neither is interrupted nor would block: whoever passed a descriptor may have made it non-blocking.
fn when_ready(fd: &File, flags: PollFlags, mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // If it fails, the next call says why.
                let _ = poll(&mut [PollFd::new(fd.as_fd(), flags)], PollTimeout::NONE);
            }
            done => return done,
        }
    }
}
