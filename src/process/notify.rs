//! The protocol between the daemon and its service manager: sd_notify(3). Without a manager nothing here makes a system call.

use std::{
    fmt,
    io::{self, IoSlice},
    os::{
        fd::{AsRawFd, BorrowedFd},
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use log::warn;
use nix::{
    sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg},
    time::{ClockId, clock_gettime},
};

use crate::report::{log_event::LogEvent, logging::LogThrottle};

/// How long a message may wait for room in the manager's receive queue.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The shortest watchdog interval. systemd counts in seconds.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// The service manager, if it started this process and wants notifications.
#[derive(Default)]
pub struct Manager {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    capacity: usize,
}

impl Manager {
    /// The manager that the environment names. `NOTIFY_SOCKET` is a path, or `@` and an abstract name. `WATCHDOG_USEC` counts if
    /// `WATCHDOG_PID` is this process or absent. `FDSTORE` is the capacity of the descriptor store; for a manager that does not
    /// set it (systemd before 254), the unit sets `ECHOD_FDSTORE`.
    pub fn from_environment() -> Manager {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Manager::default();
        };
        match connection(name.as_bytes()) {
            Ok(to) => {
                let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
                let watchdog =
                    interval(number("WATCHDOG_USEC"), number("WATCHDOG_PID"), std::process::id().into());
                let capacity = number("FDSTORE").or_else(|| number("ECHOD_FDSTORE")).unwrap_or(0);
                Manager { to: Some(to), watchdog, capacity: capacity as usize }
            }
            Err(error) => {
                let name = name.to_string_lossy();
                warn!(
                    event = LogEvent::ManagerUnreachable, error:% = error;
                    "cannot tell the service manager anything at `{}`: {error}", name.escape_debug()
                );
                Manager::default()
            }
        }
    }

    /// Whether there is a manager to notify.
    pub fn listens(&self) -> bool {
        self.to.is_some()
    }

    /// The longest time between two watchdog notifications that the manager accepts.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Notifies that all listeners are served, after a start or a reload.
    pub fn ready(&self, status: fmt::Arguments<'_>) {
        self.send(format_args!("READY=1\nSTATUS={status}"));
    }

    /// Notifies that a reload begins; [`Manager::ready`] ends it.
    pub fn reloading(&self) {
        if self.listens()
            && let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC)
        {
            let now = Duration::from(now).as_micros();
            self.send(format_args!("RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reloading"));
        }
    }

    /// Sends a status text for people.
    pub fn status(&self, status: fmt::Arguments<'_>) {
        self.send(format_args!("STATUS={status}"));
    }

    /// Notifies that the daemon stops, and asks for this much `time`.
    pub fn stopping(&self, time: Duration, status: fmt::Arguments<'_>) {
        self.send(format_args!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}\nSTATUS={status}", time.as_micros()));
    }

    /// Asks for this much `time` more while the daemon stops.
    pub fn still_stopping(&self, time: Duration, status: fmt::Arguments<'_>) {
        self.send(format_args!("EXTEND_TIMEOUT_USEC={}\nSTATUS={status}", time.as_micros()));
    }

    /// Pings the watchdog: all listeners are alive.
    pub fn ping(&self, status: fmt::Arguments<'_>) {
        self.send(format_args!("WATCHDOG=1\nSTATUS={status}"));
    }

    /// The number of descriptors that the manager stores over a restart; 0 if it announces none.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Has the manager store a copy of `descriptor` as `name`, until it is removed or the service is stopped. The manager does
    /// not poll the descriptor meanwhile.
    pub fn store(&self, name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let Some((socket, to)) = &self.to else { return Ok(()) };
        let message = format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0");
        let to = match (to.as_pathname(), to.as_abstract_name()) {
            (Some(path), _) => UnixAddr::new(path)?,
            (None, name) => UnixAddr::new_abstract(name.unwrap_or_default())?,
        };
        let passed = [descriptor.as_raw_fd()];
        let (text, passed) = ([IoSlice::new(message.as_bytes())], [ControlMessage::ScmRights(&passed)]);
        sendmsg(socket.as_raw_fd(), &text, &passed, MsgFlags::MSG_NOSIGNAL, Some(&to))?;
        Ok(())
    }

    /// Has the manager close what it stores as `name`.
    pub fn remove(&self, name: &str) {
        self.send(format_args!("FDSTOREREMOVE=1\nFDNAME={name}"));
    }

    /// Sends one message as one datagram.
    fn send(&self, message: fmt::Arguments<'_>) {
        let Some((socket, to)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(message.to_string().as_bytes(), to) {
            static THROTTLE: LogThrottle = LogThrottle::new(Duration::from_secs(60));
            if THROTTLE.allow().is_some() {
                warn!(
                    event = LogEvent::ManagerUnreachable, error:% = error;
                    "cannot tell the service manager: {error}"
                );
            }
        }
    }
}

fn connection(name: &[u8]) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match name {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
        _ => return Err(io::Error::other("NOTIFY_SOCKET must be a path, or `@` and an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not block its service.
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    Ok((socket, to))
}

/// The interval of sd_watchdog_enabled(3). The lower limit keeps a tiny value from occupying a core.
fn interval(usec: Option<u64>, pid: Option<u64>, own: u64) -> Option<Duration> {
    let is_for_this_process = pid.is_none_or(|pid| pid == own);
    usec.filter(|&usec| usec > 0 && is_for_this_process)
        .map(|usec| Duration::from_micros(usec).max(SHORTEST_INTERVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_one_process() {
        assert_eq!(interval(None, None, 7), None);
        assert_eq!(interval(Some(0), None, 7), None);
        assert_eq!(interval(Some(1), None, 7), Some(SHORTEST_INTERVAL));
        assert_eq!(interval(Some(2_000_000), None, 7), Some(Duration::from_secs(2)));
        assert_eq!(interval(Some(2_000_000), Some(7), 7), Some(Duration::from_secs(2)));
        assert_eq!(interval(Some(2_000_000), Some(8), 7), None);
    }

    #[test]
    fn a_message_is_one_datagram_at_a_path_or_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("@echod-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name[1..]).unwrap();
        let ends = [
            (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned()),
            (UnixDatagram::bind_addr(&abstract_name).unwrap(), name),
        ];
        for (end, name) in ends {
            let manager =
                Manager { to: Some(connection(name.as_bytes()).unwrap()), watchdog: None, capacity: 0 };
            manager.ready(format_args!("serving {}", 1));
            let mut buffer = [0; 100];
            let length = end.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\nSTATUS=serving 1");
        }
        assert!(connection(b"vsock:2:1234").is_err());
    }
}
