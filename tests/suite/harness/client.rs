//! A client of any of the five protocols, with a deadline on everything it does.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr},
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex},
    time::Duration,
};

use echod::sys::record;
use rustix::net::RecvFlags;
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{
    PATIENCE, eventually,
    patient::{uninterrupted, within},
    proc,
};

/// Room for the longest datagram there is, and more.
const LONGEST: usize = 256 * 1024;

/// The longest record that is answered.
pub(crate) const LONGEST_RECORD: usize = 65_536;

/// Where a socket of the daemon can be reached.
#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(PathBuf),
    UnixSeqpacket(PathBuf),
    UnixDatagram(PathBuf),
}

/// A connected client.
pub(crate) struct Client {
    pub(crate) socket: Socket,
    datagram: bool,
    /// What is left of the last record, for a client that reads records as a stream.
    record: Option<Mutex<Vec<u8>>>,
    /// Where an unconnected client sends to.
    to: Option<SockAddr>,
}

impl Endpoint {
    /// From a line of `--announce`. A wildcard address is reached over loopback; a path may be relative to `dir`; an
    /// abstract name starts with NUL, as the kernel has it.
    pub(super) fn announced(line: &Value, dir: &Path) -> Self {
        let address = line["address"].as_str().unwrap();
        let path = || match address.strip_prefix('@') {
            Some(name) => PathBuf::from(format!("\0{name}")),
            None => dir.join(address),
        };
        match line["protocol"].as_str().unwrap() {
            "tcp" => Self::Tcp(reachable(address.parse().unwrap())),
            "udp" => Self::Udp(reachable(address.parse().unwrap())),
            "unix" => Self::Unix(path()),
            "unix-seqpacket" => Self::UnixSeqpacket(path()),
            "unix-datagram" => Self::UnixDatagram(path()),
            other => panic!("unknown protocol {other}"),
        }
    }

    /// The internet address.
    #[track_caller]
    pub(crate) fn inet(&self) -> SocketAddr {
        match self {
            Self::Tcp(address) | Self::Udp(address) => *address,
            other => panic!("{other:?} has no internet address"),
        }
    }

    /// Another way to reach a socket that is bound to a wildcard.
    pub(crate) fn set_ip(&mut self, ip: IpAddr) {
        match self {
            Self::Tcp(address) | Self::Udp(address) => address.set_ip(ip),
            other => panic!("{other:?} has no internet address"),
        }
    }

    /// Waits until nobody listens here. Another test's daemon may have got a port that has become free, for a while.
    #[track_caller]
    pub(crate) fn wait_refused(&self) {
        eventually("the end of a socket", || Client::try_connect(self).is_err().then_some(()));
    }

    fn parts(&self) -> (SockAddr, Type) {
        match self {
            Self::Tcp(address) => ((*address).into(), Type::STREAM),
            Self::Udp(address) => ((*address).into(), Type::DGRAM),
            Self::Unix(path) => (SockAddr::unix(path).unwrap(), Type::STREAM),
            Self::UnixSeqpacket(path) => (SockAddr::unix(path).unwrap(), Type::SEQPACKET),
            Self::UnixDatagram(path) => (SockAddr::unix(path).unwrap(), Type::DGRAM),
        }
    }
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(to: &Endpoint) -> Self {
        Self::try_connect(to).unwrap_or_else(|error| panic!("cannot connect to {to:?}: {error}"))
    }

    /// Connects; a unix datagram client first gets a name, so that it can be answered.
    pub(crate) fn try_connect(to: &Endpoint) -> io::Result<Self> {
        Self::prepared(to, |_| ())
    }

    /// A client that comes from another address of this machine.
    #[track_caller]
    pub(crate) fn connect_from(to: &Endpoint, ip: &str) -> Self {
        loop {
            let client = Self::unbound(to).unwrap();
            client.socket.bind(&SocketAddr::new(ip.parse().unwrap(), 0).into()).unwrap();
            let port = client.socket.local_addr().unwrap().as_socket().unwrap().port();
            // From another address the listener's own port may be had as well, and is not to be answered.
            if port != to.inet().port() {
                uninterrupted(|| client.socket.connect(&to.parts().0)).unwrap();
                return client;
            }
        }
    }

    /// A client whose socket is prepared before it connects.
    pub(crate) fn prepared(to: &Endpoint, prepare: impl FnOnce(&Socket)) -> io::Result<Self> {
        let client = Self::unbound(to)?;
        prepare(&client.socket);
        client.bind(to)?;
        uninterrupted(|| client.socket.connect(&to.parts().0))?;
        Ok(client)
    }

    pub(crate) fn is_datagram(&self) -> bool {
        self.datagram
    }

    /// A datagram client that is not connected. Of such a one a unix socket queues no more than
    /// `net.unix.max_dgram_qlen` unread datagrams.
    #[track_caller]
    pub(crate) fn unconnected(to: &Endpoint) -> Self {
        let client = Self::unbound(to).unwrap();
        client.bind(to).unwrap();
        Self { to: Some(to.parts().0), ..client }
    }

    /// A unix datagram client without a name: it cannot be answered.
    #[track_caller]
    pub(crate) fn nameless(to: &Endpoint) -> Self {
        let client = Self::unbound(to).unwrap();
        client.socket.connect(&to.parts().0).unwrap();
        client
    }

    /// A client that is neither bound nor connected.
    fn unbound(to: &Endpoint) -> io::Result<Self> {
        let (address, kind) = to.parts();
        let socket = Socket::new(Domain::from(i32::from(address.family())), kind, None)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let record = (kind == Type::SEQPACKET).then(Mutex::default);
        if record.is_some() {
            record::mark(&socket)?;
        }
        Ok(Self { socket, datagram: kind == Type::DGRAM, record, to: None })
    }

    fn bind(&self, to: &Endpoint) -> io::Result<()> {
        match to {
            // An empty address lets the kernel choose an abstract name, see "Autobind feature" in unix(7).
            Endpoint::UnixDatagram(_) => self.socket.bind(&SockAddr::unix("")?),
            _ => Ok(()),
        }
    }

    /// Sends all of it: to a stream, in records as long as may be, or as one datagram.
    #[track_caller]
    pub(crate) fn send(&self, bytes: &[u8]) {
        if self.datagram {
            assert_eq!(self.try_send(bytes).unwrap(), bytes.len());
        } else if self.record.is_some() {
            bytes
                .chunks(LONGEST_RECORD)
                .for_each(|record| assert_eq!(self.try_send(record).unwrap(), record.len()));
        } else {
            (&self.socket).write_all(bytes).unwrap();
        }
    }

    /// Sends until the daemon takes no more, or ends the connection.
    pub(crate) fn send_to_the_end(&self, mut bytes: &[u8]) {
        while let Ok(n) = self.try_send(bytes)
            && n > 0
        {
            bytes = &bytes[n..];
        }
    }

    /// Sends once, to a daemon that may be gone.
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        uninterrupted(|| match &self.to {
            Some(to) => self.socket.send_to(bytes, to),
            None => self.send_once(bytes),
        })
    }

    /// Sends what one call takes, of records one.
    fn send_once(&self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.send(if self.record.is_some() {
            &bytes[..bytes.len().min(LONGEST_RECORD)]
        } else {
            bytes
        })
    }

    /// The lengths of all datagrams that have arrived.
    pub(crate) fn arrived(&self) -> Vec<usize> {
        self.socket.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; LONGEST];
        let mut lengths = Vec::new();
        loop {
            match self.read(&mut buffer) {
                Ok(length) => lengths.push(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return lengths,
                // That an earlier datagram found nobody is told once, before or between the answers.
                Err(_) => {}
            }
        }
    }

    /// Receives `expected` bytes of a stream, or one datagram of any length.
    #[track_caller]
    pub(crate) fn receive(&self, expected: usize) -> Vec<u8> {
        if let Some(record) = &self.record {
            let mut record = record.lock().unwrap();
            while record.len() < expected {
                record.extend(self.next_record().expect("more records"));
            }
            return record.drain(..expected).collect();
        }
        let mut buffer = vec![0; if self.datagram { LONGEST } else { expected }];
        if self.datagram {
            let length = self.read(&mut buffer).unwrap();
            buffer.truncate(length);
        } else {
            (&self.socket).read_exact(&mut buffer).unwrap();
        }
        buffer
    }

    /// Receives a record, which may be empty; `None` is the end of file.
    #[track_caller]
    pub(crate) fn next_record(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; LONGEST];
        let receive =
            || record::receive(&self.socket, &mut buffer, RecvFlags::empty()).map_err(io::Error::from);
        let length = uninterrupted(receive).unwrap()?;
        buffer.truncate(length);
        Some(buffer)
    }

    /// Sends one record.
    #[track_caller]
    pub(crate) fn send_record(&self, record: &[u8]) {
        assert_eq!(uninterrupted(|| self.socket.send(record)).unwrap(), record.len());
    }

    /// Sends records of these lengths, as many as fit without anybody reading, and returns the lengths of those.
    pub(crate) fn flood_records(&self, lengths: impl Iterator<Item = usize>) -> Vec<usize> {
        let quiet = Duration::from_millis(100);
        self.socket.set_write_timeout(Some(quiet)).unwrap();
        let fits = |length: &usize| match within(quiet, || self.socket.send(pattern(*length))) {
            Ok(sent) => sent == *length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => panic!("cannot send a record of {length} bytes: {error}"),
        };
        let sent = lengths.take_while(fits).collect();
        self.socket.set_write_timeout(Some(PATIENCE)).unwrap();
        sent
    }

    /// Receives once.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| (&self.socket).read(buffer))
    }

    /// Sends and receives as much.
    #[track_caller]
    pub(crate) fn ask(&self, bytes: &[u8]) -> Vec<u8> {
        self.send(bytes);
        self.receive(bytes.len())
    }

    /// Sends and expects the same back.
    #[track_caller]
    pub(crate) fn echo(&self, bytes: &[u8]) {
        let answer = self.ask(bytes);
        assert!(answer == bytes, "sent {} bytes, {} came back, not the same", bytes.len(), answer.len());
    }

    /// Everything up to the end of file.
    #[track_caller]
    pub(crate) fn rest(&self) -> Vec<u8> {
        if let Some(record) = &self.record {
            let mut rest = std::mem::take(&mut *record.lock().unwrap());
            while let Some(more) = self.next_record() {
                rest.extend(more);
            }
            return rest;
        }
        let mut rest = Vec::new();
        (&self.socket).read_to_end(&mut rest).unwrap();
        rest
    }

    pub(crate) fn half_close(&self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Goes away without a farewell: TCP sends a reset; a unix peer that has not read all is told the same.
    pub(crate) fn reset(self) {
        self.socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Whether nothing has arrived at this moment.
    pub(crate) fn has_nothing(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let outcome = self.read(&mut [0]);
        self.socket.set_nonblocking(false).unwrap();
        matches!(outcome, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether the daemon ends this connection without another byte, politely or not.
    pub(crate) fn is_ended(&self) -> bool {
        match self.read(&mut [0]) {
            Ok(length) => length == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// Waits this long for something that must not come.
    pub(crate) fn hears_nothing_for(&self, pause: Duration) -> bool {
        self.socket.set_read_timeout(Some(pause)).unwrap();
        let outcome = within(pause, || (&self.socket).read(&mut [0]));
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        matches!(outcome, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Writes the first bytes of `pattern`, as many as fit without anybody reading, and says how many that were.
    pub(crate) fn flood(&self, pattern: &[u8]) -> usize {
        let quiet = Duration::from_millis(100);
        self.socket.set_write_timeout(Some(quiet)).unwrap();
        let mut written = 0;
        while written < pattern.len() {
            match within(quiet, || self.send_once(&pattern[written..])) {
                Ok(length) => written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("cannot write after {written} bytes: {error}"),
            }
        }
        self.socket.set_write_timeout(Some(PATIENCE)).unwrap();
        written
    }

    /// Waits until the daemon's kernel has acknowledged all that was sent. (What a unix socket took has arrived.)
    pub(crate) fn wait_arrived(&self) {
        let Some(local) = self.socket.local_addr().unwrap().as_socket_ipv4() else { return };
        eventually("the acknowledgement of all that was sent", || {
            let fields = proc::tcp_socket(local.port(), "01")?;
            fields[4].starts_with("00000000:").then_some(())
        });
    }
}

pub(crate) const MIB: usize = 1024 * 1024;

/// More than all buffers between two silent ends can hold.
pub(crate) const LONG: usize = 32 * MIB;

/// `length` bytes, [`LONG`] at most, in which a lost, doubled or swapped block shows.
pub(crate) fn pattern(length: usize) -> &'static [u8] {
    static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
        (0..LONG).map(|index| ((index * 31) ^ (index >> 8) ^ (index >> 16)) as u8).collect()
    });
    &PATTERN[..length]
}

fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
