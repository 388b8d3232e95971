//! Sockets of the previous echod, from the fd store of the service manager. Clients that connected in between wait in
//! their backlog. They are found by address, like those of a socket unit. But an echod made them, so the present
//! configuration applies to them, and one that cannot be changed accordingly is bound anew.

use std::{io, time::Duration};

use log::info;
use nix::unistd::{fchown, geteuid};
use socket2::Socket;

use crate::{
    config::{self, Protocol},
    report::log_event::LogEvent,
    socket::{
        address::Peer,
        fd_store::{FdName, FdStore},
        listener::{Listener, SocketOwner},
        options::{self, Usual},
        socket_file::SocketFile,
    },
};

/// How long the manager may take to close a socket that it is told to remove.
const TO_CLOSE: Duration = Duration::from_secs(2);

/// The sockets that no listener has taken yet.
#[derive(Default)]
pub struct Kept {
    sockets: Vec<KeptSocket>,
    /// Sockets that a listener wanted, and why it cannot have them.
    unfit: Vec<(KeptSocket, io::Error)>,
    /// Number of sockets that were taken.
    taken: usize,
}

pub(super) struct KeptSocket {
    pub(super) name: String,
    pub(super) label: FdName,
    pub(super) socket: Socket,
    pub(super) protocol: Protocol,
    pub(super) address: Peer,
}

impl Kept {
    pub(super) fn push(&mut self, kept: KeptSocket) {
        self.sockets.push(kept);
    }

    /// The names under which they are stored.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.sockets.iter().map(|kept| kept.name.clone())
    }

    /// Number of sockets that were taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// The sockets that are bound to `place`.
    pub fn at(&mut self, settings: &config::Listener, place: &Peer) -> io::Result<Option<Listener>> {
        self.take(settings, place, |kept| kept.address.is_same(place))
    }

    /// For any port: the sockets that the listener of this name had.
    pub fn at_any_port(&mut self, settings: &config::Listener, place: &Peer) -> io::Result<Option<Listener>> {
        let Peer::Inet(wanted) = place else { return Ok(None) };
        let fits = |kept: &KeptSocket| {
            let is_there = matches!(kept.address, Peer::Inet(bound) if bound.ip() == wanted.ip());
            is_there && kept.protocol == settings.protocol && kept.label.is_for(&settings.name)
        };
        if wanted.port() != 0 {
            return Ok(None);
        }
        match self.sockets.iter().find(|kept| fits(kept)).map(|kept| kept.address.clone()) {
            Some(address) => self.take(settings, place, |kept| kept.address == address),
            None => Ok(None),
        }
    }

    /// The first socket that `fits` and can be used; the others, which share its port, are its siblings.
    fn take(
        &mut self,
        settings: &config::Listener,
        place: &Peer,
        fits: impl Fn(&KeptSocket) -> bool,
    ) -> io::Result<Option<Listener>> {
        let fits = |kept: &mut KeptSocket| kept.protocol == settings.protocol && fits(kept);
        let (mut file, mut usable) = (None, Vec::new());
        for kept in self.sockets.extract_if(.., fits) {
            match kept.renew(settings, place) {
                Ok(found) => {
                    file = found;
                    usable.push(kept.socket);
                }
                Err(error) => self.unfit.push((kept, error)),
            }
        }
        let mut usable = usable.into_iter();
        let Some(first) = usable.next() else { return Ok(None) };
        let reuseport_siblings: Vec<Socket> = usable.collect();
        self.taken += 1 + reuseport_siblings.len();
        let mut listener = Listener::adopt(first, settings.protocol)?
            .of(SocketOwner::Stored)
            .with_siblings(reuseport_siblings);
        file.into_iter().for_each(|file| listener.set_file(file));
        // Without all siblings the sockets still serve.
        let _ = listener.complete_siblings(settings);
        listener.sockets().try_for_each(|socket| options::listen(socket, settings))?;
        Ok(Some(listener))
    }

    /// Closes what no listener has taken, also in the `store`; returns how long its addresses may still be in use.
    pub fn close(self, store: &mut FdStore) -> Duration {
        let unwanted = |kept| (kept, "no listener has its address any more".to_owned());
        let unfit = self.unfit.into_iter().map(|(kept, error)| (kept, error.to_string()));
        let closed: Vec<_> = self.sockets.into_iter().map(unwanted).chain(unfit).collect();
        if self.taken > 0 {
            info!(
                event = LogEvent::SocketKept, count = self.taken;
                "kept over the restart: {} socket{}", self.taken, if self.taken == 1 { "" } else { "s" }
            );
        }
        for (kept, why) in &closed {
            let url = kept.address.url(kept.protocol);
            info!(
                event = LogEvent::SocketDiscarded, address:% = url, reason = why.as_str();
                "closed the kept socket {url}: {why}"
            );
            store.remove(&kept.name);
            kept.end();
        }
        if closed.is_empty() { Duration::ZERO } else { TO_CLOSE }
    }
}

impl KeptSocket {
    /// Applies the present configuration; returns the socket's file.
    fn renew(&self, settings: &config::Listener, place: &Peer) -> io::Result<Option<SocketFile>> {
        // The previous daemon may have given up root. A process that may not do this is still that user.
        let _ = fchown(&self.socket, Some(geteuid()), None);
        if let Some(key) = options::misfit(&self.socket, settings, place)? {
            return Err(io::Error::other(format!("`{key}` has another value now")));
        }
        options::renew(&self.socket, settings, place, &Usual::of_new(&self.socket)?)?;
        options::listen(&self.socket, settings)?;
        match (&self.address, self.label.file()) {
            (Peer::Path(path), Some(id)) => SocketFile::find(path, id, settings).map(Some),
            (Peer::Path(_), None) => Err(io::Error::other("it is not known which file it has")),
            _ => Ok(None),
        }
    }

    /// Refuses the clients in the backlog at once, though the manager may take a moment to close its copy.
    fn end(&self) {
        if self.protocol.is_stream() {
            // It fails only if this was done before.
            let _ = self.socket.shutdown(std::net::Shutdown::Both);
        }
        if let (Peer::Path(path), Some(id)) = (&self.address, self.label.file()) {
            SocketFile::remove(path, id);
        }
    }
}
