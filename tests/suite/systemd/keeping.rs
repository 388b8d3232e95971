//! Sockets that the service manager keeps over a restart (`FDSTORE=1`, sd_notify(3)): nobody is refused in between.

mod changes;
mod load;
mod options;

use std::{
    collections::BTreeMap,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::harness::{
    Client, Echod, Endpoint, Launch, Manager, for_each_protocol, has_python, other_loopback,
};

/// A service manager with a store of descriptors.
struct FdStore {
    manager: Manager,
    room: usize,
    kept: BTreeMap<String, OwnedFd>,
    /// Where socket files are: each daemon has another directory.
    dir: TempDir,
}

impl FdStore {
    /// One with much room; `None`, said so, where descriptors cannot be passed.
    fn new() -> Option<Self> {
        if !has_python("no socket was passed") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        Some(Self { manager: Manager::new(), room: 64, kept: BTreeMap::new(), dir })
    }

    /// A daemon with what was kept until now.
    fn launch(&self, toml: &str) -> Launch {
        let launch = Launch::new().config(toml).env("NOTIFY_SOCKET", &self.manager.name);
        let launch = launch.env("FDSTORE", self.room);
        self.kept.iter().fold(launch, |launch, (name, descriptor)| launch.pass(name, descriptor))
    }

    /// Starts it, and keeps what it wants to be kept.
    #[track_caller]
    fn start(&mut self, toml: &str) -> Echod {
        let daemon = self.launch(toml).start();
        self.until("READY=1");
        daemon
    }

    /// Does what the daemon says up to a message with this line.
    #[track_caller]
    fn until(&mut self, line: &str) {
        loop {
            let (message, descriptor) = self.manager.receive().expect(line);
            self.heed(&message, descriptor);
            if message.lines().any(|each| each == line) {
                return;
            }
        }
    }

    /// Does what the daemon has said.
    fn catch_up(&mut self) {
        self.manager.set_nonblocking(true);
        while let Ok((message, descriptor)) = self.manager.receive() {
            self.heed(&message, descriptor);
        }
        self.manager.set_nonblocking(false);
    }

    fn heed(&mut self, message: &str, descriptor: Option<OwnedFd>) {
        let value = |key: &str| message.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        if value("FDSTORE") == Some("1") {
            assert_eq!(value("FDPOLL"), Some("0"), "{message}");
            let name = value("FDNAME").unwrap();
            assert!(name.len() < 256 && name.chars().all(|c| c.is_ascii_graphic() && c != ':'), "{name}");
            assert!(self.kept.insert(name.to_owned(), descriptor.unwrap()).is_none(), "{name} is kept twice");
            assert!(self.kept.len() <= self.room, "{message}");
        } else if value("FDSTOREREMOVE") == Some("1") {
            let name = value("FDNAME").unwrap();
            assert!(self.kept.remove(name).is_some(), "{name} is not kept");
        }
    }

    /// An address for a listener.
    fn address(&self, protocol: &str) -> String {
        match protocol {
            "tcp" | "udp" => "127.0.0.1:0".to_owned(),
            _ => self.file().display().to_string(),
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("it.sock")
    }

    /// A listener called `it`.
    fn listener(&self, protocol: &str, more: &str) -> String {
        listener("it", protocol, &self.address(protocol), more)
    }

    /// The same in one mode after the other.
    fn in_turn(&self, protocol: &str, turn: usize) -> String {
        let (mode, workers) = MODES[turn % MODES.len()];
        self.listener(protocol, &format!("mode = \"{mode}\"\n{workers}"))
    }
}

fn listener(name: &str, protocol: &str, address: &str, more: &str) -> String {
    format!("[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\n{more}\n")
}

#[track_caller]
fn assert_quiet(daemon: &Echod) {
    daemon.expect_no_trouble();
}

/// Clients that come while no daemon is there; `turn` tells them apart.
fn come_in_between(endpoint: &Endpoint, turn: u8) -> Vec<(Client, [u8; 2])> {
    let come = |number| {
        let client = Client::connect(endpoint);
        client.send(&[turn, number]);
        if !client.is_datagram() {
            // So that those behind it have their turn.
            client.half_close();
        }
        (client, [turn, number])
    };
    (0..8).map(come).collect()
}

/// Every mode that waits in its own way.
const MODES: [(&str, &str); 14] = [
    ("iterative", ""),
    ("threading", ""),
    ("threading", "workers = 2"),
    ("threading", "workers = \"per-request\""),
    ("forking", ""),
    ("forking", "workers = 2"),
    ("forking", "workers = \"per-request\""),
    ("select", "workers = 2"),
    ("poll", ""),
    ("epoll", ""),
    ("epoll", "workers = 3"),
    ("epoll", "trigger = \"edge\""),
    ("io-uring", ""),
    ("io-uring", "workers = 2"),
];

for_each_protocol! { who_comes_in_between_is_served_by_the_next_one }

/// Who comes while no daemon is there waits for the next one, whatever modes they have: of streams and of datagrams.
fn who_comes_in_between_is_served_by_the_next_one(protocol: &str) {
    let Some(mut store) = FdStore::new() else { return };
    let mut daemon = store.start(&store.in_turn(protocol, 0));
    let endpoint = daemon.endpoint("it");
    for turn in 1..=MODES.len() {
        Client::connect(&endpoint).echo(b"as ever");
        daemon.stop();
        assert_quiet(&daemon);
        let waiting = come_in_between(&endpoint, turn as u8);
        daemon = store.start(&store.in_turn(protocol, turn));
        for (client, sent) in waiting {
            assert_eq!(client.receive(2), sent, "{protocol} turn {turn}\n{}", daemon.log());
        }
        assert_eq!(daemon.announced.len(), 1, "{:?}", daemon.announced);
    }
    daemon.stop();
    store.catch_up();
    assert!(!store.kept.is_empty());
    let file = store.file();
    assert_eq!(file.exists(), protocol.starts_with("unix"));
    // It was a stop and not a restart: the manager lets go, and the next start takes over what is left on disk.
    store.kept.clear();
    if protocol != "udp" {
        endpoint.wait_refused();
    }
    let mut last = store.start(&store.in_turn(protocol, 0));
    last.client("it").echo(b"another socket");
    last.stop();
    assert_quiet(&last);
}

/// A killed daemon says nothing any more; its sockets are kept all the same.
#[test]
fn sockets_are_kept_when_the_daemon_is_killed() {
    for (protocol, mode) in [("tcp", "forking"), ("udp", "epoll"), ("unix", "threading")] {
        let Some(mut store) = FdStore::new() else { return };
        let toml = store.listener(protocol, &format!("mode = \"{mode}\""));
        let mut daemon = store.start(&toml);
        let endpoint = daemon.endpoint("it");
        daemon.signal(Signal::SIGKILL);
        daemon.wait_exit();
        let waiting = come_in_between(&endpoint, 1);
        let _next = store.start(&toml);
        for (client, sent) in waiting {
            assert_eq!(client.receive(2), sent, "{protocol}");
        }
    }
}

/// Names in the abstract namespace, several addresses of a listener, a range of ports.
#[test]
fn every_kind_of_address_is_kept() {
    let Some(mut store) = FdStore::new() else { return };
    let name = format!("@echod-keeping-{}", std::process::id());
    let several = format!("[\"127.0.0.1:0\", \"{}:0\"]", other_loopback());
    let toml = "[defaults]\nmax-connections = 100\n".to_owned()
        + &listener("abstract", "unix", &name, "")
        + &listener("datagrams", "unix-datagram", &format!("{name}-2"), "mode = \"forking\"")
        + &format!("[[listener]]\nname = \"several\"\nprotocol = \"tcp\"\naddress = {several}\n")
        + &listener("other", "tcp", "127.0.0.1:0", "");
    let mut first = store.start(&toml);
    assert_eq!(store.kept.len(), 5, "{:?}", store.kept);
    let names = ["abstract", "datagrams", "several", "other"];
    let endpoints: Vec<_> = names.iter().flat_map(|name| first.endpoints(name)).collect();
    let announced = first.announced.clone();
    first.stop();
    let waiting: Vec<_> = endpoints.iter().flat_map(|endpoint| come_in_between(endpoint, 1)).collect();
    let mut second = store.start(&toml);
    assert_eq!(second.announced, announced, "each listener has its own ports again");
    waiting.iter().for_each(|(client, sent)| assert_eq!(client.receive(2), sent));
    drop(waiting);
    second.stop();
    second.wait_log(|line| line.contains("kept over the restart: 5 sockets"));
    assert_quiet(&second);
}

/// Where no store is offered all is as outside of a service manager: nothing is sent, and no file is left.
#[test]
fn without_a_store_nothing_is_kept() {
    let manager = Manager::new();
    for room in [None, Some("0"), Some("many")] {
        let launch = Launch::new().config(&listener("it", "unix", "it.sock", ""));
        let launch = launch.env("NOTIFY_SOCKET", &manager.name);
        let mut daemon = room.into_iter().fold(launch, |launch, room| launch.env("FDSTORE", room)).start();
        daemon.stop();
        assert!(!daemon.path("it.sock").exists());
        let told = manager.arrived();
        assert!(!told.iter().any(|message| message.contains("FDSTORE")), "{told:?}");
        assert_quiet(&daemon);
    }
}

/// What does not fit is said and not half kept.
#[test]
fn what_does_not_fit_is_told() {
    let Some(mut store) = FdStore::new() else { return };
    store.room = 2;
    let toml = listener("loops", "tcp", "127.0.0.1:0", "workers = 3") + &store.listener("unix", "");
    let more = listener("more", "unix", &store.dir.path().join("more.sock").display().to_string(), "")
        + &listener("last", "unix", &store.dir.path().join("last.sock").display().to_string(), "");
    let mut daemon = store.start(&(toml + &more));
    daemon.wait_log(|line| {
        line.contains(" WARN ") && line.contains("keeps 2 sockets") && line.contains("4 more")
    });
    assert_eq!(store.kept.len(), 2);
    let endpoint = daemon.endpoint("loops");
    daemon.stop();
    endpoint.wait_refused();
    let left: Vec<_> =
        fs::read_dir(store.dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(left.len() == 2 && !left.contains(&"last.sock".into()), "{left:?}");
}

for_each_protocol! { a_listener_that_is_done_is_not_kept }

/// Who has served enough has nothing that waits for the next one.
fn a_listener_that_is_done_is_not_kept(protocol: &str) {
    for mode in ["epoll", "threading", "forking", "iterative"] {
        let Some(mut store) = FdStore::new() else { return };
        let more = format!("max-requests = 1\nmode = \"{mode}\"");
        let mut daemon =
            store.start(&(store.listener(protocol, &more) + &listener("other", "udp", "127.0.0.1:0", "")));
        assert_eq!(store.kept.len(), 2);
        let endpoint = daemon.endpoint("it");
        daemon.client("it").echo(b"the only one");
        while store.kept.len() > 1 {
            let (message, descriptor) = store.manager.receive().unwrap();
            store.heed(&message, descriptor);
        }
        assert!(!store.file().exists());
        if protocol != "udp" {
            endpoint.wait_refused();
        }
        daemon.stop();
    }
}

/// An end of its own accord is no restart.
#[test]
fn an_idle_daemon_leaves_nothing() {
    let Some(mut store) = FdStore::new() else { return };
    let toml = "[daemon]\nexit-idle-time = \"50ms\"\n".to_owned() + &store.listener("unix", "");
    let mut daemon = store.start(&toml);
    daemon.expect_success();
    store.catch_up();
    assert!(store.kept.is_empty() && !store.file().exists());
}

/// A file of this name that another socket has.
fn replace_file(path: &Path) {
    fs::remove_file(path).unwrap();
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
}
