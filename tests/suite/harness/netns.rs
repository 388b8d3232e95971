//! A network of its own for a test, in which it may have any address and forge any packet. It needs root.

use std::{
    io::Read,
    net::{IpAddr, SocketAddr, SocketAddrV4},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    process::Command,
    sync::{Arc, mpsc},
};

use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::skipped;

/// Runs `test` in a thread with a network namespace of its own, which the daemons it starts share. `setup` is a line for `sh`;
/// loopback is up already. Without the right to make one, or without what `setup` needs, it says so and is skipped.
#[track_caller]
pub(crate) fn in_namespace(setup: &str, test: impl FnOnce() + Send + 'static) {
    let setup = format!("ip link set lo up && {setup}");
    let thread = std::thread::spawn(move || {
        // The umask too is its own: the library sets it while it binds the file of a socket, and files that other tests make meanwhile
        // would be for everybody to write.
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_FS) {
            skipped(format_args!("no network namespace can be made ({error}); run as root"));
            return;
        }
        match sh(&setup) {
            Ok(()) => test(),
            Err(told) => skipped(told),
        }
    });
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// Another network beside that of a test: a router, or a client. It ends with this value.
pub(crate) struct Neighbour {
    jobs: mpsc::Sender<Job>,
    thread: i32,
}

type Job = Box<dyn FnOnce() + Send>;

impl Neighbour {
    /// To be called [`in_namespace`].
    pub(crate) fn new() -> Self {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (told, thread) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            told.send(nix::unistd::gettid().as_raw()).unwrap();
            todo.into_iter().for_each(|job| job());
        });
        Self { jobs, thread: thread.recv().unwrap() }
    }

    /// What `ip link set ... netns` calls it.
    pub(crate) fn name(&self) -> i32 {
        self.thread
    }

    /// Does `job` in this network; a panic of it is the caller's.
    #[track_caller]
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = mpsc::channel();
        let job = move || _ = sender.send(catch_unwind(AssertUnwindSafe(job)));
        self.jobs.send(Box::new(job)).unwrap();
        result.recv().unwrap().unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// A line for `sh` in this network; what it says if it fails.
    pub(crate) fn sh(&self, line: String) -> Result<(), String> {
        self.run(move || sh(&line))
    }
}

/// A line for `sh` in the network of this thread; what it says if it fails.
pub(crate) fn sh(line: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let told = || format!("`{line}` fails: {}", String::from_utf8_lossy(&output.stderr));
    output.status.success().then_some(()).ok_or_else(told)
}

/// What passes the interfaces of this network.
pub(crate) struct Capture(Socket);

/// A packet of TCP or UDP.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) is_ipv6: bool,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) from_port: u16,
    /// What it carries.
    pub(crate) payload: Vec<u8>,
}

impl Capture {
    /// Begins. To be called [`in_namespace`].
    pub(crate) fn new() -> Self {
        let every = (nix::libc::ETH_P_ALL as u16).to_be();
        let socket =
            Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(i32::from(every)))).unwrap();
        socket.set_recv_buffer_size(8 << 20).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// The packets that have passed since the last time.
    pub(crate) fn packets(&self) -> Vec<Packet> {
        let mut buffer = vec![0; 1 << 17];
        let mut found = Vec::new();
        while let Ok(length) = (&self.0).read(&mut buffer) {
            found.extend(Packet::read(&buffer[..length]));
        }
        found
    }
}

impl Packet {
    fn read(packet: &[u8]) -> Option<Packet> {
        let is_ipv6 = packet[0] >> 4 == 6;
        let (ttl, tos, kind, rest) = match is_ipv6 {
            true => (packet[7], packet[0] << 4 | packet[1] >> 4, packet[6], &packet[40..]),
            false => (packet[8], packet[1], packet[9], &packet[usize::from(packet[0] & 15) * 4..]),
        };
        let header = match i32::from(kind) {
            nix::libc::IPPROTO_TCP => usize::from(rest[12] >> 4) * 4,
            nix::libc::IPPROTO_UDP => 8,
            _ => return None,
        };
        let from_port = u16::from_be_bytes([rest[0], rest[1]]);
        Some(Packet { is_ipv6, ttl, tos, from_port, payload: rest[header..].to_vec() })
    }
}

/// Sends UDP datagrams with any source.
pub(crate) struct Forger(Arc<Socket>);

impl Forger {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
        socket.set_header_included_v4(true).unwrap();
        socket.set_broadcast(true).unwrap();
        Self(Arc::new(socket))
    }

    /// Sends `payload` in the name of `from`.
    #[track_caller]
    pub(crate) fn send(&self, from: &str, to: SocketAddr, payload: &[u8]) {
        let (from, SocketAddr::V4(to)) = (from.parse().unwrap(), to) else { panic!("{to} is not IPv4") };
        self.send_v4(from, to, payload);
    }

    pub(crate) fn send_v4(&self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
        let length = (8 + payload.len()) as u16;
        let udp = [from.port(), to.port(), length, 0].map(u16::to_be_bytes).concat();
        let ip = [
            // Version and length, type of service; the kernel fills in the total length, the number and the checksum.
            &[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0][..],
            &from.ip().octets(),
            &to.ip().octets(),
        ];
        let packet = [&ip.concat(), &udp, payload].concat();
        let to = SockAddr::from(SocketAddr::new(IpAddr::V4(*to.ip()), 0));
        assert_eq!(self.0.send_to(&packet, &to).unwrap(), packet.len());
    }
}
