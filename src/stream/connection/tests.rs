//! Seeded random runs of a client and a connection: for all sizes, orders and kinds of readiness, the echo is complete
//! and in order.

use std::{
    net::Shutdown,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, OnceLock},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::Socket;

use super::*;
use crate::{
    config::{Environment, Inputs},
    report::stats::Stats,
    service,
    sys::{shared::Shared, transport::SocketTransport},
};

const SEEDS: u64 = 60;

#[test]
fn the_echo_is_whole_when_readiness_is_a_level() {
    (0..SEEDS).for_each(|seed| _ = Storm::new(seed).run(ReadMode::Once));
}

#[test]
fn the_echo_is_whole_when_readiness_is_an_edge() {
    (0..SEEDS).for_each(|seed| _ = Storm::new(seed).run(ReadMode::UntilShort));
}

#[test]
fn the_echo_is_whole_when_everything_is_drained() {
    (0..SEEDS).for_each(|seed| _ = Storm::new(seed).run(ReadMode::UntilWouldBlock));
}

/// A stopped connection answers what it has received, and then waits for the peer to close.
#[test]
fn a_stopped_connection_answers_what_it_received() {
    for seed in 0..SEEDS {
        let mut storm = Storm::new(seed);
        while storm.written < storm.bytes.len() / 2 {
            storm.client_acts();
            storm.daemon_acts(ReadMode::Once);
        }
        storm.connection.stop();
        storm.edge = true;
        while storm.wait != Step::Linger && storm.wait != Step::Readable {
            storm.client_reads();
            storm.daemon_acts(ReadMode::UntilWouldBlock);
        }
        while storm.client_reads() {}
        let (received, sent) = storm.connection.totals();
        assert_eq!((received, sent), (storm.echo.len() as u64, storm.echo.len() as u64), "seed {seed}");
        assert!(storm.bytes.starts_with(&storm.echo), "seed {seed}");
        storm.client.shutdown(Shutdown::Write).unwrap();
        while !matches!(storm.wait, Step::Closed(_)) {
            storm.edge = true;
            storm.daemon_acts(ReadMode::UntilWouldBlock);
        }
        assert_eq!(storm.wait, Step::Closed(CloseReason::Stopped), "seed {seed}");
    }
}

/// The header is stripped, and nothing else, wherever it is split; bytes that only look like an optional header are
/// echoed.
#[test]
fn a_header_comes_first_and_the_rest_is_echoed() {
    const LINE: &[u8] = b"PROXY TCP6 2001:db8::7 ::1 40000 7\r\n";
    const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x05\x04\x00\x02ab";
    let cases: [(&[u8], bool, bool); 6] = [
        (LINE, false, true),
        (BINARY, false, false),
        (LINE, true, true),
        (b"", true, false),
        (b"PROXY\0", true, false),
        (b"\r\n\r\n\0\r\nQUI", true, false),
    ];
    for seed in 0..SEEDS / 6 {
        for (header, optional, names_client) in cases {
            for mode in [ReadMode::Once, ReadMode::UntilShort, ReadMode::UntilWouldBlock] {
                let storm = Storm::awaiting_proxy_header(seed, header, optional);
                let proxied_source = storm.run(mode);
                let expected = names_client.then(|| "[2001:db8::7]:40000".parse().unwrap());
                assert_eq!(proxied_source, expected, "seed {seed}, {mode:?}, {header:?}");
            }
        }
    }
}

/// A client and a connection in one thread, acting in random order.
struct Storm {
    random: u64,
    settings: config::Listener,
    stats: Arc<Shared<Stats>>,
    client: Socket,
    socket: Socket,
    connection: Connection,
    scratch: Vec<u8>,
    wait: Step,
    /// Edge-triggered readiness: something has changed for the connection since it last advanced.
    edge: bool,
    bytes: Vec<u8>,
    written: usize,
    closed: bool,
    echo: Vec<u8>,
    /// Length of the PROXY header, which is not echoed.
    header: usize,
}

impl Storm {
    fn new(seed: u64) -> Self {
        Self::with(seed, "off")
    }

    /// A run in which `header` comes first. A valid one is not echoed.
    fn awaiting_proxy_header(seed: u64, header: &[u8], optional: bool) -> Self {
        let mut storm = Self::with(seed, if optional { "optional" } else { "required" });
        let context = ConnectionContext {
            settings: &storm.settings,
            stats: &storm.stats,
            cut: &OnceLock::new(),
            drain: None,
        };
        storm.connection =
            Connection::new(&*service::new(&storm.settings), Peer::Unnamed).awaiting_proxy_header(&context);
        storm.connection_advances(ReadMode::None);
        storm.bytes.splice(0..0, header.iter().copied());
        if let crate::stream::proxy::Reading::Whole { length, .. } = crate::stream::proxy::read(&storm.bytes)
        {
            storm.header = length;
        }
        storm
    }

    fn with(seed: u64, proxy_protocol: &str) -> Self {
        let url = format!("unix:@unused?name=it&proxy-protocol={proxy_protocol}");
        let inputs = Inputs { file: None, listen: vec![url] };
        let settings = config::load(&inputs, &Environment::default()).unwrap().config.listeners.remove(0);
        let (client, socket) = UnixStream::pair().unwrap();
        let [client, socket] = [client, socket].map(|end| Socket::from(OwnedFd::from(end)));
        let connection = Connection::new(&*service::new(&settings), Peer::Unnamed);
        let stats = Arc::new(Shared::new().unwrap());
        let mut storm = Storm {
            random: seed,
            settings,
            stats,
            client,
            socket,
            connection,
            scratch: Vec::new(),
            wait: Step::Yield,
            edge: true,
            bytes: Vec::new(),
            written: 0,
            closed: false,
            echo: Vec::new(),
            header: 0,
        };
        for _ in 0..8 {
            storm.next(1);
        }
        for end in [&storm.client, &storm.socket] {
            end.set_nonblocking(true).unwrap();
            // The kernel rounds this up, but the buffer stays small.
            end.set_send_buffer_size(1).unwrap();
        }
        let (scratch, length) = (storm.size(), 4 * storm.size());
        storm.scratch = vec![0; scratch];
        storm.bytes = (0..length).map(|_| storm.next(256) as u8).collect();
        storm.connection_advances(ReadMode::None);
        storm
    }

    fn run(mut self, mode: ReadMode) -> Option<SocketAddr> {
        let seed = self.random;
        let mut stuck = 0;
        while !matches!(self.wait, Step::Closed(_)) {
            let moved = self.client_acts() | self.daemon_acts(mode);
            stuck = if moved { 0 } else { stuck + 1 };
            // By now every kind of action has been tried many times.
            assert!(
                stuck < 200,
                "seed {seed}: {:?} after {} of {}",
                self.wait,
                self.echo.len(),
                self.bytes.len()
            );
        }
        while self.client_reads() {}
        assert_eq!(self.wait, Step::Closed(CloseReason::PeerClosed));
        let expected = &self.bytes[self.header..];
        assert!(self.echo == expected, "{mode:?}, seed {seed}");
        let length = expected.len() as u64;
        assert_eq!(self.connection.totals(), (length, length));
        self.connection.proxied_source()
    }

    /// One random action of the client; returns whether anything moved.
    fn client_acts(&mut self) -> bool {
        match self.next(3) {
            0 => self.client_reads(),
            1 => self.client_writes(),
            _ => false,
        }
    }

    fn client_writes(&mut self) -> bool {
        let length = self.size().min(self.bytes.len() - self.written);
        if self.closed {
            return false;
        }
        if length == 0 {
            self.client.shutdown(Shutdown::Write).unwrap();
            self.closed = true;
        } else {
            let Some(n) = SocketTransport::new(&self.client, &mut [])
                .send_kept(&self.bytes[self.written..][..length])
                .unwrap()
            else {
                return false;
            };
            self.written += n;
        }
        self.edge = true;
        true
    }

    fn client_reads(&mut self) -> bool {
        let mut buffer = vec![0; self.size()];
        let Some(n) = SocketTransport::new(&self.client, &mut buffer).receive().unwrap() else {
            return false;
        };
        self.echo.extend_from_slice(&buffer[..n]);
        self.edge |= n > 0;
        n > 0
    }

    /// Advances the connection if a poller would report it: level-triggered for `Once`, otherwise edge-triggered.
    fn daemon_acts(&mut self, mode: ReadMode) -> bool {
        let flags = match self.wait {
            Step::Closed(_) => return false,
            Step::Yield | Step::Linger | Step::HeaderRead => return self.connection_advances(mode),
            Step::Readable => PollFlags::POLLIN,
            Step::Writable => PollFlags::POLLOUT,
        };
        let is_reported = match mode {
            ReadMode::Once => {
                poll(&mut [PollFd::new(self.socket.as_fd(), flags)], PollTimeout::ZERO) == Ok(1)
            }
            _ => std::mem::take(&mut self.edge),
        };
        is_reported && self.connection_advances(mode)
    }

    fn connection_advances(&mut self, mode: ReadMode) -> bool {
        let before = self.connection.totals();
        let context = ConnectionContext {
            settings: &self.settings,
            stats: &self.stats,
            cut: &OnceLock::new(),
            drain: None,
        };
        self.wait = self.connection.advance(
            &mut SocketTransport::new(&self.socket, &mut self.scratch),
            &context,
            mode,
        );
        self.connection.totals() != before || matches!(self.wait, Step::Closed(_))
    }

    /// A random size, mostly small.
    fn size(&mut self) -> usize {
        let most = [1, 16, 700, 5000, 40_000][self.next(5)];
        1 + self.next(most)
    }

    fn next(&mut self, end: usize) -> usize {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % end
    }
}
