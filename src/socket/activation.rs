//! Sockets that the service manager bound and passed to us (socket activation), see sd_listen_fds(3). They are never
//! shut down and their files never removed: the manager keeps them, and clients that connect while no echod runs wait
//! in their backlog for the next one.

use std::io;

use socket2::{Domain, Socket, Type};

use crate::{
    config::{Note, Protocol},
    socket::{activation::stored::KeptSocket, address::Peer, fd_store::FdName, listener::Listener},
    sys::spawn::{close_from, inherited},
};

mod stored;

pub use crate::socket::activation::stored::Kept;

/// The first descriptor that is passed (`SD_LISTEN_FDS_START`).
const FIRST: u32 = 3;

/// The passed sockets.
#[derive(Default)]
pub struct Passed {
    /// Not made listeners yet.
    raw: Vec<PassedSocket>,
    /// Those from the fd store.
    pub kept: Kept,
}

struct PassedSocket {
    /// `FileDescriptorName=` of the socket unit.
    name: String,
    socket: Socket,
    protocol: Protocol,
}

impl Passed {
    /// Takes the descriptors that the environment announces, if they are meant for this process. Those that cannot be
    /// served are closed, with a line in `notes`. To be called once, before any descriptor is opened.
    pub fn from_environment(notes: &mut Vec<Note>) -> Passed {
        let count = announced();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = Passed::default();
        for number in FIRST..FIRST.saturating_add(count) {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown");
            match inherited(&number.to_string()) {
                Ok(descriptors) => descriptors
                    .into_iter()
                    .for_each(|descriptor| passed.classify(name, descriptor.into(), notes)),
                Err(error) => {
                    notes.push(Note::new(format!("cannot use the passed descriptor \"{name}\": {error}")));
                    // There are no further ones.
                    break;
                }
            }
        }
        passed
    }

    /// Closes all other inherited descriptors: a daemon that leaves its shell must not keep its pipes open and its
    /// files locked. To be called before any descriptor is opened.
    pub fn close_others() {
        close_from(FIRST.saturating_add(announced()));
    }

    fn classify(&mut self, name: &str, socket: Socket, notes: &mut Vec<Note>) {
        match kind(&socket) {
            Ok((protocol, address)) => match FdName::read(name, &socket) {
                Some(label) => {
                    self.kept.push(KeptSocket { name: name.to_owned(), label, socket, protocol, address });
                }
                None => self.raw.push(PassedSocket { name: name.to_owned(), socket, protocol }),
            },
            Err(why) => notes.push(Note::new(format!("closed the passed descriptor \"{name}\": {why}"))),
        }
    }

    /// Makes listeners of the passed sockets; those from the fd store stay apart. (That opens descriptors, so it waits
    /// until all passed ones are known.)
    pub fn adopt(self, notes: &mut Vec<Note>) -> (Vec<Listener>, Kept) {
        let mut sockets = Vec::new();
        for PassedSocket { name, socket, protocol } in self.raw {
            match Listener::adopt(socket, protocol).and_then(|socket| socket.of_manager(&name)) {
                Ok(listener) => sockets.push(listener),
                Err(error) => notes.push(Note::new(format!("closed the passed socket \"{name}\": {error}"))),
            }
        }
        (sockets, self.kept)
    }
}

/// Number of descriptors that were passed to this process.
fn announced() -> u32 {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let is_ours = number("LISTEN_PID") == Some(std::process::id());
    number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0)
}

/// The protocol and the address that a socket is for, or why echod cannot serve it.
fn kind(socket: &Socket) -> Result<(Protocol, Peer), String> {
    let reason = |error: io::Error| match error.raw_os_error() {
        Some(libc::ENOTSOCK) => "it is no socket".to_owned(),
        _ => error.to_string(),
    };
    let (domain, kind) = (socket.domain().map_err(reason)?, socket.r#type().map_err(reason)?);
    let protocol = match (domain, kind) {
        (Domain::IPV4 | Domain::IPV6, Type::STREAM) => Protocol::Tcp,
        (Domain::IPV4 | Domain::IPV6, Type::DGRAM) => Protocol::Udp,
        (Domain::UNIX, Type::STREAM) => Protocol::Unix,
        (Domain::UNIX, Type::SEQPACKET) => Protocol::UnixSeqpacket,
        (Domain::UNIX, Type::DGRAM) => Protocol::UnixDatagram,
        _ => return Err("it is a socket of a kind that echod does not serve".to_owned()),
    };
    if protocol.is_stream() && !socket.is_listener().map_err(reason)? {
        return Err(
            "it does not listen; is it a single connection (Accept=yes)? That is what `--inetd` is for"
                .into(),
        );
    }
    let address = socket.local_addr().map_err(reason)?;
    Ok((protocol, Peer::from(&address)))
}
