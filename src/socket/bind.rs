//! From an entry of the configuration to its sockets: every address of a host name, and every port of a range, is a
//! site. A site inherits a socket, or one is bound there.

use std::{
    io::{self, ErrorKind},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket};

use crate::{
    config::{self, Note},
    process::signals,
    report::error::Failure,
    socket::{
        address::Peer,
        host_names::HostNames,
        listener::{Listener, unit},
        options,
        resolve::{cannot_bind, is_absent, left_out, look_for, resolve},
        socket_file::{FileId, SocketFile},
    },
};

mod one_port;
mod sharing;

use sharing::Sharing;

/// The address that a socket of a listener is to have, and the socket once there is one.
pub struct Site<'a> {
    /// The address.
    pub place: Peer,
    /// Index of the entry's address that this is one of, if that is a host name.
    name: Option<usize>,
    found: Option<io::Result<Listener>>,
    before: Before<'a>,
    /// Whether the other sites are served even if nothing can be bound here.
    spare: bool,
}

/// What this daemon has had at the address of a site until now.
#[derive(Default)]
pub struct Before<'a> {
    /// The sockets of the port that are closed as soon as the new one is served.
    pub sockets: Vec<&'a Listener>,
    /// Whether there are others that earlier reloads gave up, which share the port until they are closed.
    pub given_up: bool,
    /// The file of one of them.
    pub file: Option<FileId>,
    /// The owner of these, and what to do if they are in the way all the same.
    pub hint: Option<String>,
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
    /// Uses the socket that `find` has for this address, unless the site has one.
    pub fn adopt(&mut self, find: impl FnOnce(&Peer) -> io::Result<Option<Listener>>) {
        if self.found.is_none() {
            self.found = find(&self.place).transpose();
        }
    }

    /// Whether the site has no socket yet.
    pub fn is_free(&self) -> bool {
        self.found.is_none()
    }

    /// The note to write if this machine lacks the address or the directory, and may.
    pub fn is_missing(&self, settings: &config::Listener) -> Option<Note> {
        let may_be = settings.optional || self.name.is_some();
        let error = look_for(&self.place).err().filter(|error| may_be && is_absent(error))?;
        Some(left_out(settings, &self.place, &error))
    }

    /// Lets the other sites be served even if nothing can be bound here.
    pub fn spare(&mut self) {
        self.spare = true;
    }

    /// Lets a socket that is bound here replace what `find` knows.
    pub fn replace(&mut self, find: impl FnOnce(&Peer) -> Before<'a>) {
        if self.found.is_none() {
            self.before = find(&self.place);
        }
    }
}

/// Leaves out the sites that passed sockets of other sites serve as well.
pub fn merge(sites: &mut Vec<Site<'_>>) {
    let found = sites.iter().filter_map(|site| site.found.as_ref()?.as_ref().ok());
    let passed = found.filter(|socket| socket.passed_name().is_some());
    let wide: Vec<(Peer, bool)> = passed.map(|socket| (socket.address().clone(), socket.is_dual())).collect();
    let serves = |(bound, is_dual): &(Peer, bool), place: &Peer| {
        bound == place || (*is_dual && unit::is_wider(bound, place))
    };
    sites.retain(|site| site.found.is_some() || !wide.iter().any(|wide| serves(wide, &site.place)));
}

/// Binds sockets at all sites that have none. An address in use may become free within `patience`.
///
/// # Errors
/// The first site that cannot be bound; sockets bound before are closed, and their files removed. An address that this
/// machine does not have is left out, with a line in `notes`, if the listener is `optional`, or if its host name has
/// other addresses that exist: `localhost` is an IPv6 address as well, which many a container lacks.
pub fn bind(
    settings: &config::Listener,
    mut sites: Vec<Site<'_>>,
    patience: Duration,
    notes: &mut Vec<Note>,
) -> Result<Vec<Listener>, Failure> {
    one_port::bind(settings, &mut sites);
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
            Err(error) => return Err(cannot_bind(settings, &place, &error, before.hint)),
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

/// Number of siblings of a socket at `place`: event loops have a SO_REUSEPORT group, the other modes share one socket.
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

    /// Binds a socket and its siblings, beside others of the port if it `shares` that for the moment. Then it does not
    /// listen before [`Listener::reconfigure`]: the kernel would lead clients to it while a reload may still fail, and
    /// reset them if it does.
    fn bind_all(
        settings: &config::Listener,
        place: &Peer,
        shares: bool,
        ours: Option<FileId>,
    ) -> io::Result<Listener> {
        let any_port = matches!(place, Peer::Inet(address) if address.port() == 0);
        // With SO_REUSEPORT and port 0, the kernel may pick a UDP port that another process shares, and nothing shows
        // it. So the socket is bound alone, and shares its port afterwards.
        let alone =
            config::Listener { reuse_port: shares || (settings.reuse_port && !any_port), ..settings.clone() };
        let mut listener = Listener::bind_one(&alone, place, ours)?;
        listener.complete_siblings(settings)?;
        if !shares {
            listener.sockets().try_for_each(|socket| options::listen(socket, settings))?;
        }
        Ok(listener)
    }

    fn bind_one(settings: &config::Listener, place: &Peer, ours: Option<FileId>) -> io::Result<Listener> {
        let address = place.socket_address()?;
        let domain = Domain::from(i32::from(address.family()));
        let socket = options::new_socket(domain, settings.protocol.socket_type(), settings)?;
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

    fn add_siblings(&mut self, shared: &config::Listener, count: usize) -> io::Result<()> {
        for _ in 0..count {
            self.reuseport_siblings.push(Listener::bind_one(shared, &self.address, None)?.socket);
        }
        Ok(())
    }

    /// The siblings for which `settings` have no event loop, as a listener of their own.
    pub fn surplus(&mut self, settings: &config::Listener) -> Option<Listener> {
        let wanted = reuseport_siblings(settings, &self.address).min(self.reuseport_siblings.len());
        let mut surplus = self.reuseport_siblings.split_off(wanted).into_iter();
        let first = surplus.next()?;
        Some(Listener { reuseport_siblings: surplus.collect(), ..self.sibling(first) })
    }

    /// The sockets of one address that the previous echod left; the first of them is `self`.
    pub fn with_siblings(self, reuseport_siblings: Vec<Socket>) -> Listener {
        Listener { reuseport_siblings, ..self }
    }

    /// Binds the siblings that are missing for the present number of event loops. A stored socket may have more than
    /// that: these are served as well. Loops without a socket of their own share one.
    pub fn complete_siblings(&mut self, settings: &config::Listener) -> io::Result<()> {
        if !matches!(self.address, Peer::Inet(_)) {
            return Ok(());
        }
        let lacking =
            reuseport_siblings(settings, &self.address).saturating_sub(self.reuseport_siblings.len());
        let shares = settings.reuse_port || !self.reuseport_siblings.is_empty() || lacking > 0;
        self.share_port(shares)?;
        self.add_siblings(&config::Listener { reuse_port: true, ..settings.clone() }, lacking)
    }
}
