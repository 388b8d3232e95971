//! What the daemon and its service manager tell each other: sd_notify(3). Without a manager nothing here makes a system
//! call.

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

use crate::report::logging::LogThrottle;

/// How long a message may wait for room in the manager's queue.
const PATIENCE: Duration = Duration::from_secs(1);

/// The shortest interval of the watchdog. systemd counts in seconds.
const SHORTEST: Duration = Duration::from_millis(100);

/// The service manager that started this process, if there is one that wants to be told.
#[derive(Default)]
pub struct Manager {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    room: usize,
}

impl Manager {
    /// The manager whom the environment names: `NOTIFY_SOCKET` is a path or `@` and an abstract name; `WATCHDOG_USEC`
    /// counts if `WATCHDOG_PID` is this process or absent; `FDSTORE` is how many descriptors it keeps; a manager that does not tell
    /// that itself (systemd before 254) has `ECHOD_FDSTORE` from its unit.
    pub fn from_environment() -> Manager {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Manager::default();
        };
        match connection(name.as_bytes()) {
            Ok(to) => {
                let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
                let watchdog =
                    interval(number("WATCHDOG_USEC"), number("WATCHDOG_PID"), std::process::id().into());
                let room = number("FDSTORE").or_else(|| number("ECHOD_FDSTORE")).unwrap_or(0);
                Manager { to: Some(to), watchdog, room: room as usize }
            }
            Err(error) => {
                let name = name.to_string_lossy();
                warn!("cannot tell the service manager anything at `{}`: {error}", name.escape_debug());
                Manager::default()
            }
        }
    }

    /// Whether there is anybody to tell.
    pub fn listens(&self) -> bool {
        self.to.is_some()
    }

    /// How soon after one ping the manager expects the next, at the latest.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// All listeners are served, from the beginning or again.
    pub fn ready(&self, status: fmt::Arguments<'_>) {
        self.tell(format_args!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is being read again; [`Manager::ready`] ends that.
    pub fn reloading(&self) {
        if self.listens()
            && let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC)
        {
            let now = Duration::from(now).as_micros();
            self.tell(format_args!("RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reloading"));
        }
    }

    /// What goes on, for people.
    pub fn status(&self, status: fmt::Arguments<'_>) {
        self.tell(format_args!("STATUS={status}"));
    }

    /// The daemon stops, and needs so much `time` for it.
    pub fn stopping(&self, time: Duration, status: fmt::Arguments<'_>) {
        self.tell(format_args!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}\nSTATUS={status}", time.as_micros()));
    }

    /// It still stops.
    pub fn still_stopping(&self, time: Duration, status: fmt::Arguments<'_>) {
        self.tell(format_args!("EXTEND_TIMEOUT_USEC={}\nSTATUS={status}", time.as_micros()));
    }

    /// All are alive.
    pub fn ping(&self, status: fmt::Arguments<'_>) {
        self.tell(format_args!("WATCHDOG=1\nSTATUS={status}"));
    }

    /// How many descriptors it keeps over a restart; 0 if it does not say that it keeps any.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Lets it keep a copy of `descriptor` under this name, until it is told otherwise or the service is stopped. It does not
    /// look at the state of it meanwhile.
    pub fn keep(&self, name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
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

    /// Has it close what it keeps under this name.
    pub fn let_go(&self, name: &str) {
        self.tell(format_args!("FDSTOREREMOVE=1\nFDNAME={name}"));
    }

    /// One message is one datagram.
    fn tell(&self, message: fmt::Arguments<'_>) {
        let Some((socket, to)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(message.to_string().as_bytes(), to) {
            static THROTTLE: LogThrottle = LogThrottle::new(Duration::from_secs(60));
            if THROTTLE.allow().is_some() {
                warn!("cannot tell the service manager: {error}");
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
    // A manager that does not read is not to hold up its service.
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok((socket, to))
}

/// See sd_watchdog_enabled(3). Whoever wants to be pinged all the time is not to keep a core busy with it.
fn interval(usec: Option<u64>, meant: Option<u64>, own: u64) -> Option<Duration> {
    let meant_for_us = meant.is_none_or(|pid| pid == own);
    usec.filter(|&usec| usec > 0 && meant_for_us).map(|usec| Duration::from_micros(usec).max(SHORTEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_meant_for_one_process() {
        assert_eq!(interval(None, None, 7), None);
        assert_eq!(interval(Some(0), None, 7), None);
        assert_eq!(interval(Some(1), None, 7), Some(SHORTEST));
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
            let manager = Manager { to: Some(connection(name.as_bytes()).unwrap()), watchdog: None, room: 0 };
            manager.ready(format_args!("serving {}", 1));
            let mut buffer = [0; 100];
            let length = end.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\nSTATUS=serving 1");
        }
        assert!(connection(b"vsock:2:1234").is_err());
    }
}
