//! A network of its own for a test, in which it may have any address and forge any packet. It needs root.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV4},
    process::Command,
    sync::Arc,
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
        let output = Command::new("sh").args(["-c", &setup]).output().unwrap();
        if !output.status.success() {
            skipped(format_args!("`{setup}` fails: {}", String::from_utf8_lossy(&output.stderr)));
            return;
        }
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
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
