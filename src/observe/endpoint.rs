//! The endpoint: its sockets, and the thread that answers the clients there.
//!
//! The thread waits in poll(2) for its sockets, its clients and the supervisor, and does nothing while there is no client. A client may
//! take `timeout` and has 8 KiB for its request. Where there is no room for another one, the client that has gone longest without
//! a whole request is closed: clients that connect and send nothing cannot shut out one that asks.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use log::{info, warn};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

use crate::{
    config::{self, Note, Observe, embedded::plain},
    process::named_thread,
    report::{
        error::{Exit, Failure},
        log_event::LogEvent,
    },
    socket::{
        address::Peer,
        bind,
        host_names::HostNames,
        listener::{AcceptError, Listener},
        socket_file::SocketFile,
    },
};

use super::{
    http::{HttpResponse, Status},
    requests::{RequestCounts, Seen},
    snapshot::{Snapshot, SnapshotRequest},
};

mod client;

use client::{Client, Wants};

/// How long the endpoint rests where a connection cannot be accepted for lack of descriptors or memory.
const REST: Duration = Duration::from_millis(100);

/// The time between two looks at workers that have not responded yet.
const NEXT_LOOK: Duration = Duration::from_millis(5);

/// The sockets of the endpoint, bound and not served yet.
pub struct Endpoint {
    sockets: Vec<Listener>,
    files: Vec<SocketFile>,
}

/// The endpoint while it is served. On drop the files of its sockets are removed.
pub struct RunningEndpoint {
    settings: Arc<Mutex<Observe>>,
    _files: Vec<SocketFile>,
}

impl Endpoint {
    /// Binds the addresses of the endpoint, if it has any.
    ///
    /// # Errors
    /// If one of them cannot be bound: a daemon that is thought to be observed and is not would be worse than none.
    pub fn bind(observe: &Observe, notes: &mut Vec<Note>) -> Result<Option<Endpoint>, Failure> {
        if !observe.is_on() {
            return Ok(None);
        }
        let listeners = observe.listeners();
        let names = HostNames::look_up(&listeners, crate::process::signals::is_stop_pending)
            .ok_or_else(|| Failure::new(Exit::TryAgain, "cannot look up host names: told to stop"))?;
        let mut sockets = Vec::new();
        for settings in &listeners {
            let sites = bind::sites(settings, &names)?;
            sockets.extend(bind::bind(settings, sites, Duration::ZERO, notes)?);
        }
        let mut files = Vec::new();
        for socket in &mut sockets {
            socket.set_nonblocking(true).map_err(|error| cannot_open(&error))?;
            files.extend(socket.take_file());
        }
        files.iter_mut().for_each(SocketFile::confirm);
        Ok(Some(Endpoint { sockets, files }))
    }

    /// Serves the endpoint in a thread of its own. `ask` passes a request for a snapshot to the supervisor.
    ///
    /// # Errors
    /// If there is no descriptor or no memory for it.
    pub fn open(
        self,
        observe: &Observe,
        ask: impl Fn(SnapshotRequest) + Send + 'static,
    ) -> Result<RunningEndpoint, Failure> {
        let Endpoint { sockets, files } = self;
        let urls: Vec<String> = sockets.iter().map(|socket| url_of(socket.address())).collect();
        let settings = Arc::new(Mutex::new(observe.clone()));
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let waker = EventFd::from_flags(flags).map_err(|error| cannot_open(&error.into()))?;
        let (snapshots, inbox) = mpsc::channel();
        let served = EndpointLoop {
            sockets,
            settings: Arc::clone(&settings),
            clients: Vec::new(),
            counts: RequestCounts::default(),
            ask: Box::new(ask),
            asked: 0,
            is_asking: false,
            last: None,
            snapshots,
            inbox,
            waker: Arc::new(waker),
            rest_until: None,
        };
        named_thread::spawn("observe", 256 << 10, move || served.serve())
            .map_err(|error| cannot_open(&error))?;
        for url in urls {
            info!(event = LogEvent::ObserveServing, address = url.as_str(); "observe: status and metrics at {url}");
        }
        Ok(RunningEndpoint { settings, _files: files })
    }
}

impl RunningEndpoint {
    /// Takes the new values of the keys that a reload may change.
    pub fn reload(&self, observe: &Observe) {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let (address, socket_mode) = (Arc::clone(&settings.address), settings.socket_mode);
        *settings = Observe { address, socket_mode, ..observe.clone() };
    }
}

/// How a client finds a socket of the endpoint.
fn url_of(address: &Peer) -> String {
    match address {
        Peer::Inet(address) => format!("http://{address}/"),
        local => local.url(config::Protocol::Unix).to_string(),
    }
}

fn cannot_open(error: &io::Error) -> Failure {
    Failure::new(Exit::Unavailable, format!("[observe]: cannot serve it: {error}"))
}

struct EndpointLoop {
    sockets: Vec<Listener>,
    settings: Arc<Mutex<Observe>>,
    clients: Vec<Client>,
    counts: RequestCounts,
    ask: Box<dyn Fn(SnapshotRequest) + Send>,
    /// The number of the last snapshot that was asked for.
    asked: u64,
    /// Whether that one has not come yet.
    is_asking: bool,
    /// The last snapshot, and when it came.
    last: Option<(Instant, Snapshot)>,
    snapshots: Sender<Snapshot>,
    inbox: Receiver<Snapshot>,
    waker: Arc<EventFd>,
    /// No connection is accepted until then.
    rest_until: Option<Instant>,
}

impl EndpointLoop {
    fn serve(mut self) {
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => {
                    warn!(
                        event = LogEvent::ObserveFailed, error:% = error;
                        "observe: cannot wait for clients: {error}"
                    );
                    thread::sleep(REST);
                    continue;
                }
            };
            self.take_snapshot();
            for (client, is_ready) in self.clients.iter_mut().zip(ready.clients) {
                if is_ready {
                    client.advance(&mut self.counts);
                }
            }
            if ready.has_arrivals {
                self.accept();
            }
            let now = Instant::now();
            self.answer(now);
            self.ask_for_a_snapshot(now);
            self.clients.iter_mut().for_each(|client| client.check_time(now));
            self.clients.retain(|client| !client.has_ended());
        }
    }

    /// Waits until there is something to do, or it is time to do something.
    fn wait(&mut self) -> io::Result<Ready> {
        let now = Instant::now();
        let rests = self.rest_until.is_some_and(|until| until > now);
        let due = self.clients.iter().map(Client::deadline).chain(self.rest_until.filter(|_| rests));
        let due = due.chain(self.next_look()).min();
        let timeout = match due {
            None => PollTimeout::NONE,
            // Rounded up, so that it is time when the wait is over.
            Some(due) => {
                let left = due.saturating_duration_since(now) + Duration::from_micros(999);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        let accepts = if rests { PollFlags::empty() } else { PollFlags::POLLIN };
        let sockets = self.sockets.iter().flat_map(Listener::sockets);
        let mut polled: Vec<PollFd<'_>> = vec![PollFd::new(self.waker.as_fd(), PollFlags::POLLIN)];
        polled.extend(sockets.map(|socket| PollFd::new(socket.as_fd(), accepts)));
        let first_client = polled.len();
        let of_client = |client: &Client| match client.wants() {
            Wants::Read => PollFlags::POLLIN,
            Wants::Write => PollFlags::POLLOUT,
            Wants::Snapshot => PollFlags::empty(),
        };
        polled.extend(self.clients.iter().map(|client| {
            let fd: BorrowedFd<'_> = client.as_fd();
            PollFd::new(fd, of_client(client))
        }));
        match poll(&mut polled, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |polled: &PollFd<'_>| polled.revents().is_some_and(|events| !events.is_empty());
        Ok(Ready {
            has_arrivals: polled[1..first_client].iter().any(is_ready),
            clients: polled[first_client..].iter().map(is_ready).collect(),
        })
    }

    /// Accepts whoever waits.
    fn accept(&mut self) {
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.rest_until = None;
        for socket in &self.sockets {
            loop {
                match socket.accept_nonblocking() {
                    Ok((connection, peer)) => {
                        if self.clients.len() >= settings.max_connections as usize {
                            Client::make_room(&mut self.clients);
                        }
                        let mut client = Client::new(connection, settings.timeout);
                        if !may_look(&peer, &settings) {
                            let text = "your address is not in `allow` of [observe]\n";
                            client.refuse(&HttpResponse::text(Status::Forbidden, text), &mut self.counts);
                        }
                        client.advance(&mut self.counts);
                        self.clients.push(client);
                    }
                    Err(AcceptError::Retry) => {}
                    Err(AcceptError::WouldBlock) => break,
                    Err(AcceptError::Exhausted(_) | AcceptError::Fatal(_)) => {
                        self.rest_until = Some(Instant::now() + REST);
                        break;
                    }
                }
            }
        }
    }

    /// Takes what the supervisor has sent.
    fn take_snapshot(&mut self) {
        if let Some(snapshot) = self.inbox.try_iter().last() {
            // EAGAIN if it was read before.
            let _ = nix::unistd::read(&self.waker, &mut [0; 8]);
            self.last = Some((Instant::now(), snapshot));
            self.is_asking = false;
        }
    }

    /// Answers the clients for which a snapshot was taken after they had asked.
    fn answer(&mut self, now: Instant) {
        let counts = self.counts.clone();
        let seen = self.last.as_ref().map(|(_, daemon)| Seen { daemon, requests: &counts });
        let taken = if self.is_asking { self.asked - 1 } else { self.asked };
        for client in &mut self.clients {
            let is_seen = client.ask().is_some_and(|ask| ask <= taken);
            client.answer(seen.as_ref().filter(|_| is_seen), now, &mut self.counts);
        }
    }

    /// Asks the supervisor for the next snapshot, if a client waits for one.
    fn ask_for_a_snapshot(&mut self, now: Instant) {
        let has_new = self.clients.iter().any(Client::is_new);
        if self.is_asking || !(has_new || self.next_look().is_some_and(|due| due <= now)) {
            return;
        }
        // The workers are pinged already for those that have waited before.
        let ping = self.clients.iter().any(|client| client.is_new() && client.pings());
        let about = self.clients.iter().filter(|client| client.is_new()).filter_map(Client::about);
        let about: Vec<_> = about.cloned().collect();
        self.asked += 1;
        self.is_asking = true;
        let (asked, snapshots, waker) = (self.asked, self.snapshots.clone(), Arc::clone(&self.waker));
        self.clients.iter_mut().for_each(|client| client.is_asked_for(asked));
        let answer = Box::new(move |seen| {
            // Fails only once the endpoint has ended.
            let _ = snapshots.send(seen);
            let _ = waker.write(1);
        });
        (self.ask)(SnapshotRequest { ping, clients: about, answer });
    }

    /// When to look again for the sake of workers that had not responded.
    fn next_look(&self) -> Option<Instant> {
        let waits = self.clients.iter().any(|client| client.ask().is_some());
        let (came, _) = self.last.as_ref().filter(|_| !self.is_asking && waits)?;
        Some(*came + NEXT_LOOK)
    }
}

/// What a wait has found.
struct Ready {
    has_arrivals: bool,
    clients: Vec<bool>,
}

/// Whether `allow` lets this client look. The file of a unix socket decides by its permissions.
fn may_look(peer: &Peer, settings: &Observe) -> bool {
    let Peer::Inet(address) = peer else { return true };
    let ip: IpAddr = plain(address.ip());
    settings.allow.iter().any(|network| network.contains(&ip))
}
