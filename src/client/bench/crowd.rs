//! The sockets of a run: those that carry messages, and the silent ones beside.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, recv},
};
use socket2::Socket;

use super::super::{
    histogram::Histogram,
    options::{Common, Timestamps},
    socket::{OpenError, open, unreachable},
    target::Target,
};
use crate::{
    report::error::{Exit, Failure},
    sys::clock,
};

/// Descriptors besides: standard streams, epoll, signals, files of the report.
const OWN: u64 = 32;

/// Connections from one loopback address, before those of the next are used: one address has some 28,000 ports, and those of
/// connections that ended a moment ago are not free.
const FROM_ONE: usize = 8_000;

/// How long a connection may take: a server that has much to accept lets others wait for seconds (tcp(7), SYN retransmits).
const PATIENCE: Duration = Duration::from_secs(10);

/// Lets this process have as many descriptors as `sockets` need.
///
/// # Errors
/// 71 if the user may not have so many.
pub(super) fn allow(sockets: u64) -> Result<(), Failure> {
    let needed = sockets + OWN;
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| match soft < needed {
        true => setrlimit(Resource::RLIMIT_NOFILE, needed, hard),
        false => Ok(()),
    });
    raised.map_err(|_| {
        let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
        let text = format!(
            "cannot have {sockets} sockets: this process may open {hard} files; raise the limit (`ulimit -Hn`, or LimitNOFILE= of its \
             unit), or ask for fewer with --connections and --idle"
        );
        Failure::new(Exit::System, text)
    })
}

/// Connected sockets, and how long each took to connect.
pub(super) struct Crowd {
    pub(super) sockets: Vec<Socket>,
    /// Only of streams.
    pub(super) connect: Histogram,
}

impl Crowd {
    /// Opens `count` sockets to `target`, of which `before` were opened already. `stop` ends it early.
    ///
    /// # Errors
    /// 69 if the target cannot be reached, 71 if the system does not give a socket.
    pub(super) fn open(
        target: &Target,
        common: &Common,
        before: usize,
        count: usize,
        stop: &AtomicBool,
    ) -> Result<Crowd, Failure> {
        let mut crowd = Crowd { sockets: Vec::with_capacity(count), connect: Histogram::default() };
        // The loop reads the clock itself.
        let mut common = Common { timestamps: Timestamps::User, ..common.clone() };
        let spreads = common.source.is_none() && is_loopback(target);
        for number in before..before + count {
            if spreads && number >= FROM_ONE {
                let low = (number / FROM_ONE + 1).min(254) as u8;
                common.source = Some(SocketAddr::from((Ipv4Addr::new(127, 0, 0, low), 0)));
            }
            let (socket, time) = connect(target, &common, number as u16, stop)
                .map_err(|failure| of_several(failure, number, before + count))?;
            if target.protocol.is_stream() {
                crowd.connect.record(time);
            }
            crowd.sockets.push(socket);
        }
        Ok(crowd)
    }
}

fn is_loopback(target: &Target) -> bool {
    match &target.peer {
        crate::socket::address::Peer::Inet(address) => {
            matches!(address.ip(), IpAddr::V4(ip) if ip.is_loopback())
        }
        _ => false,
    }
}

/// Connects a socket; in the order of opening each has a port of its own if the user named one.
fn connect(target: &Target, common: &Common, flow: u16, stop: &AtomicBool) -> Result<(Socket, u64), Failure> {
    let deadline = clock::now() + PATIENCE.as_nanos() as u64;
    let begun = clock::now();
    loop {
        match open(target, common, Some(flow)) {
            Ok(opened) if opened.is_connected => return Ok((opened.socket, clock::now() - begun)),
            Ok(opened) => {
                let waited = wait(&opened.socket, deadline, stop);
                waited.map_err(|error| told(target, &error))?;
                return Ok((opened.socket, clock::now() - begun));
            }
            // The backlog of a unix socket is full: its server has to accept first.
            Err(OpenError::Unreachable(error))
                if error.kind() == ErrorKind::WouldBlock && clock::now() < deadline =>
            {
                pause(stop).map_err(|error| told(target, &error))?;
            }
            Err(error) => return Err(error.failure(target)),
        }
    }
}

fn told(target: &Target, error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::Interrupted => Failure::new(
            Exit::TryAgain,
            "told to stop before all connections were made; nothing was measured",
        ),
        _ => unreachable(target, error),
    }
}

/// Names the connection that failed, if others were made.
fn of_several(failure: Failure, number: usize, of: usize) -> Failure {
    if number == 0 {
        return failure;
    }
    let text = format!("{} (connection {} of {of})", failure.message, number + 1);
    Failure::new(failure.exit, text)
}

/// Waits until a socket is connected.
fn wait(socket: &Socket, deadline: u64, stop: &AtomicBool) -> io::Result<()> {
    loop {
        let left = deadline.saturating_sub(clock::now());
        if left == 0 {
            return Err(ErrorKind::TimedOut.into());
        }
        if stop.load(Relaxed) {
            return Err(ErrorKind::Interrupted.into());
        }
        let time = Timespec { tv_sec: 0, tv_nsec: left.min(100_000_000) as _ };
        match poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&time)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return socket.take_error()?.map_or(Ok(()), Err),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits a moment.
fn pause(stop: &AtomicBool) -> io::Result<()> {
    if stop.load(Relaxed) {
        return Err(ErrorKind::Interrupted.into());
    }
    std::thread::sleep(Duration::from_millis(1));
    Ok(())
}

/// How many of these connections their server has closed.
pub(super) fn ended(sockets: &[Socket]) -> usize {
    let is_over = |socket: &&Socket| {
        !matches!(
            recv(socket, &mut [0; 1][..], RecvFlags::DONTWAIT | RecvFlags::PEEK),
            Ok((1.., _)) | Err(Errno::AGAIN)
        )
    };
    sockets.iter().filter(is_over).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_descriptors_than_the_user_may_have_are_refused_with_a_cure() {
        let failure = allow(1 << 40).unwrap_err();
        assert_eq!(failure.exit, Exit::System);
        assert!(failure.message.contains("ulimit -Hn"), "{failure}");
        assert_eq!(allow(1), Ok(()));
    }
}
