//! From an entry of the configuration to its sockets: every address of a name, every port of a range is a site. A site has a
//! socket already, or one is bound there.

use std::{
    io::{self, ErrorKind},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::host_names::HostNames;
use super::listener::unit;
use sharing::Sharing;

mod sharing;
use crate::socket::{
    listener::Listener,
    resolve::{cannot_bind, is_absent, left_out, look_for, resolve},
};
use crate::{
    config,
    process::signals,
    report::error::Failure,
    socket::{
        address::Peer,
        options,
        socket_file::{FileId, SocketFile},
    },
};

/// Where one socket of a listener is to be, and the socket once there is one.
pub struct Site<'a> {
    /// Where.
    pub place: Peer,
    /// Which address of the entry this is one place of, if that is a host name.
    name: Option<usize>,
    found: Option<io::Result<Listener>>,
    before: Before<'a>,
    /// Whether the others are served all the same if nothing can be bound here.
    spare: bool,
}

/// What this daemon has had at the place of a site until now.
#[derive(Default)]
pub struct Before<'a> {
    /// The sockets of the port that are given up as soon as the new one is served.
    pub sockets: Vec<&'a Listener>,
    /// Whether there are others, which earlier reloads have given up and which share the port until they are closed.
    pub given_up: bool,
    /// The file of one of them.
    pub file: Option<FileId>,
    /// Whose they are, and what to do if they are in the way all the same.
    pub words: Option<String>,
}

impl Before<'_> {
    fn shares(&self) -> bool {
        self.given_up || !self.sockets.is_empty()
    }
}

/// All sites of one entry of the configuration, without sockets.
pub fn sites<'a>(settings: &config::Listener, names: &HostNames) -> Result<Vec<Site<'a>>, Failure> {
    let mut sites = Vec::new();
    for (number, address) in settings.address.iter().enumerate() {
        let name = address.is_name().then_some(number);
        let site = |place| Site { place, name, found: None, before: Before::default(), spare: false };
        sites.extend(resolve(settings, address, names)?.into_iter().map(site));
    }
    Ok(sites)
}

impl<'a> Site<'a> {
    /// Uses the socket that `find` has for this place, unless there is one.
    pub fn adopt(&mut self, find: impl FnOnce(&Peer) -> io::Result<Option<Listener>>) {
        if self.found.is_none() {
            self.found = find(&self.place).transpose();
        }
    }

    /// Whether it has no socket yet.
    pub fn is_free(&self) -> bool {
        self.found.is_none()
    }

    /// What to say if this machine lacks what it takes, and that is no fault.
    pub fn is_missing(&self, settings: &config::Listener) -> Option<String> {
        let may_be = settings.optional || self.name.is_some();
        let error = look_for(&self.place).err().filter(|error| may_be && is_absent(error))?;
        Some(left_out(settings, &self.place, &error))
    }

    /// Has others served also if nothing can be bound here.
    pub fn spare(&mut self) {
        self.spare = true;
    }

    /// Has a socket that is bound here take the place of what `find` knows.
    pub fn replace(&mut self, find: impl FnOnce(&Peer) -> Before<'a>) {
        if self.found.is_none() {
            self.before = find(&self.place);
        }
    }
}

/// Leaves out the sites that the passed sockets of others serve as well.
pub fn merge(sites: &mut Vec<Site<'_>>) {
    let found = sites.iter().filter_map(|site| site.found.as_ref()?.as_ref().ok());
    let passed = found.filter(|socket| socket.passed_name().is_some());
    let wide: Vec<(Peer, bool)> = passed.map(|socket| (socket.address().clone(), socket.is_dual())).collect();
    let serves = |(bound, is_dual): &(Peer, bool), place: &Peer| {
        bound == place || (*is_dual && unit::is_wider(bound, place))
    };
    sites.retain(|site| site.found.is_some() || !wide.iter().any(|wide| serves(wide, &site.place)));
}

/// Binds sockets at all sites that have none. A place that is taken may become free within `patience`.
///
/// # Errors
/// The first that cannot be bound; those bound before are closed again, their files removed. An address that this machine does
/// not have is left out, and said in `notes`, with `optional`, or where a host name has others that are there: `localhost` is
/// one of IPv6 as well, which many a container has not.
pub fn bind(
    settings: &config::Listener,
    sites: Vec<Site<'_>>,
    patience: Duration,
    notes: &mut Vec<String>,
) -> Result<Vec<Listener>, Failure> {
    let (mut bound, mut named, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for Site { place, name, found, before, spare } in sites {
        let listener =
            found.unwrap_or_else(|| insist(patience, || Listener::bind(settings, &place, &before)));
        match listener {
            Ok(listener) => {
                bound.push(Listener { place: Some(place), ..listener });
                named.push(name);
            }
            Err(error) if spare || (is_absent(&error) && (settings.optional || name.is_some())) => {
                notes.push(left_out(settings, &place, &error));
                if !settings.optional && !spare {
                    missing.push((name, cannot_bind(settings, &place, &error, None)));
                }
            }
            Err(error) => return Err(cannot_bind(settings, &place, &error, before.words)),
        }
    }
    let absent = missing.into_iter().find(|(name, _)| !named.contains(name));
    absent.map_or(Ok(bound), |(_, failure)| Err(failure))
}

fn insist<T>(patience: Duration, mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let end = Instant::now() + patience;
    loop {
        match bind() {
            Err(error)
                if error.kind() == ErrorKind::AddrInUse
                    && Instant::now() < end
                    && !signals::is_stop_pending() =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// How many twins a socket at `place` is to have: event loops share a port by sockets of their own, others share the socket.
fn reuseport_siblings(settings: &config::Listener, place: &Peer) -> usize {
    match place {
        Peer::Inet(_) if settings.mode.is_event_loop() => settings.pool() - 1,
        _ => 0,
    }
}

impl Listener {
    fn bind(settings: &config::Listener, place: &Peer, before: &Before<'_>) -> io::Result<Listener> {
        match Listener::bind_all(settings, place, false, before.file) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && before.shares() => {
                let _sharing = Sharing::of(&before.sockets)?;
                Listener::bind_all(settings, place, true, before.file)
            }
            result => result,
        }
    }

    /// Binds a socket and its twins, beside others of the port if it `shares` that for the moment. Then it does not listen before
    /// [`Listener::reconfigure`]: the kernel would lead clients to it while a reload may still fail, and reset them when it does.
    fn bind_all(
        settings: &config::Listener,
        place: &Peer,
        shares: bool,
        ours: Option<FileId>,
    ) -> io::Result<Listener> {
        let any_port = matches!(place, Peer::Inet(address) if address.port() == 0);
        // Whoever may share a port is given another's when it asks for any (UDP), and does not notice whose it is. So it is
        // bound alone, and shares afterwards.
        let alone =
            config::Listener { reuse_port: shares || (settings.reuse_port && !any_port), ..settings.clone() };
        let mut listener = Listener::bind_one(&alone, place, ours)?;
        listener.complete_twins(settings)?;
        if !shares {
            listener.sockets().try_for_each(|socket| options::listen(socket, settings))?;
        }
        Ok(listener)
    }

    fn bind_one(settings: &config::Listener, place: &Peer, ours: Option<FileId>) -> io::Result<Listener> {
        let address = place.socket_address()?;
        let kind = if settings.protocol.is_stream() { Type::STREAM } else { Type::DGRAM };
        let socket = Socket::new(Domain::from(i32::from(address.family())), kind, None)?;
        options::before_bind(&socket, settings, place)?;
        let file = match place {
            Peer::Path(path) => Some(SocketFile::bind(&socket, &address, path, settings, ours)?),
            _ => {
                socket.bind(&address)?;
                None
            }
        };
        let mut listener = Listener::adopt(socket, settings.protocol)?;
        listener.file = file;
        Ok(listener)
    }

    fn add_twins(&mut self, shared: &config::Listener, count: usize) -> io::Result<()> {
        for _ in 0..count {
            self.reuseport_siblings.push(Listener::bind_one(shared, &self.address, None)?.socket);
        }
        Ok(())
    }

    /// The twins that `settings` have no event loops for, as a listener of their own.
    pub fn surplus(&mut self, settings: &config::Listener) -> Option<Listener> {
        let wanted = reuseport_siblings(settings, &self.address).min(self.reuseport_siblings.len());
        let mut surplus = self.reuseport_siblings.split_off(wanted).into_iter();
        let first = surplus.next()?;
        Some(Listener { reuseport_siblings: surplus.collect(), ..self.sibling(first) })
    }

    /// The sockets of one address that an echod before this one has left, the first of which is `self`.
    pub fn with_twins(self, reuseport_siblings: Vec<Socket>) -> Listener {
        Listener { reuseport_siblings, ..self }
    }

    /// Binds the twins that a socket lacks for as many event loops as there are now. One that was kept may also have more than
    /// those: they are served as well. Loops without a socket of their own share one.
    pub fn complete_twins(&mut self, settings: &config::Listener) -> io::Result<()> {
        if !matches!(self.address, Peer::Inet(_)) {
            return Ok(());
        }
        let lacking =
            reuseport_siblings(settings, &self.address).saturating_sub(self.reuseport_siblings.len());
        let shares = settings.reuse_port || !self.reuseport_siblings.is_empty() || lacking > 0;
        self.sockets().try_for_each(|socket| socket.set_reuse_port(shares))?;
        self.add_twins(&config::Listener { reuse_port: true, ..settings.clone() }, lacking)
    }
}
