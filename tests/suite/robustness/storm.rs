//! A storm of nonsense: random bytes, split at random, at every kind of listener at once. Nothing crashes, nothing leaks, and
//! honest clients are answered throughout. It is seeded; `ECHOD_STORM_SECONDS` says how long it lasts.

mod reloads;

use std::{
    collections::BTreeMap,
    env,
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crate::harness::{Client, Echod, Endpoint, eventually, proc};

/// Long enough to see a fault that is not rare, and short enough for every run of the tests.
const SECONDS: u64 = 4;

/// What the second half of the storm may add to memory. Buffers take none until they are touched: those for 64 datagrams of any length
/// never were by all of the first half.
const GROWTH: u64 = 24 << 20;

const MODES: [(&str, &str); 8] = [
    ("threading", "mode = \"threading\""),
    ("forking", "mode = \"forking\""),
    ("pool", "mode = \"forking\"\nworkers = 2"),
    ("select", "mode = \"select\""),
    ("poll", "mode = \"poll\""),
    ("epoll", "mode = \"epoll\"\nworkers = 2"),
    ("edge", "mode = \"epoll\"\ntrigger = \"edge\""),
    ("io-uring", "mode = \"io-uring\""),
];

const LIMITS: &str = "idle-timeout = \"2s\"\nmax-lifetime = \"10s\"\nmax-bytes = \"1MB\"\nproxy-header-timeout = \"1s\"\n\
    max-connections-per-source = 100\ndeny = \"192.0.2.0/24\"\n";

const HEADER: &[u8] = b"PROXY TCP4 203.0.113.7 198.51.100.1 40000 7\r\n";
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x11\xcb\x00\x71\x08\xc6\x33\x64\x01\x9c\x40\x00\x07\x04\x00\x02ab";

#[test]
fn a_storm_leaves_nothing_behind() {
    let (daemon, listeners) = start();
    let half = Duration::from_secs(seconds()) / 2;
    // What is made once, such as spare threads, is made in the first half.
    rage(&listeners, 1, half);
    let before = settle(&daemon, &listeners);
    let (attacks, answers) = rage(&listeners, 2, half);
    let after = settle(&daemon, &listeners);
    eprintln!("{attacks} attacks, {answers} honest clients; before {before:?}, after {after:?}");
    assert!(attacks > 100 && answers as usize >= listeners.len(), "{attacks} attacks, {answers} answers");
    assert_eq!(after.descriptors, before.descriptors);
    assert_eq!(after.processes, before.processes);
    assert!(after.memory <= before.memory + GROWTH, "{before:?}, then {after:?}");
    let mut daemon = daemon;
    let log = daemon.log();
    for word in ["panicked", "ERROR", " lost "] {
        assert!(!log.contains(word), "{log}");
    }
    daemon.stop();
}

fn seconds() -> u64 {
    env::var("ECHOD_STORM_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS)
}

/// A listener, and whether its clients must begin with a header.
struct Target {
    name: String,
    to: Endpoint,
    required: bool,
}

fn start() -> (Echod, Vec<Target>) {
    let mut toml = "[log]\nlevel = \"info\"\n[daemon]\ndrain-timeout = \"60s\"\n".to_owned();
    let mut names = Vec::new();
    for (number, (mode, keys)) in MODES.into_iter().enumerate() {
        for protocol in ["tcp", "unix", "unix-seqpacket", "udp", "unix-datagram"] {
            let required = number % 2 == 0;
            let name = format!("{protocol}-{mode}");
            let address = if protocol.starts_with("unix") { &*format!("{name}.s") } else { "127.0.0.1:0" };
            let word = if required { "required" } else { "optional" };
            let more = match protocol {
                "tcp" | "unix" => format!("{LIMITS}proxy-protocol = \"{word}\"\n"),
                _ => String::new(),
            };
            toml += &format!(
                "[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\n{keys}\n{more}"
            );
            names.push((name, required && protocol != "unix-seqpacket"));
        }
    }
    let daemon = Echod::start(&toml);
    let target = |(name, required): (String, bool)| Target { to: daemon.endpoint(&name), name, required };
    let targets = names.into_iter().map(target).collect();
    (daemon, targets)
}

/// Attacks all of them for so long, and asks each honestly meanwhile, once at least. Counts both.
fn rage(listeners: &[Target], seed: u64, time: Duration) -> (u64, u64) {
    let (over, attacks) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut answers = 0;
    thread::scope(|scope| {
        // The attackers end in any case, or nobody would hear of an answer that is wrong.
        let over = EndOf(&over);
        for attacker in 0..3 {
            let (over, attacks) = (over.0, &attacks);
            scope.spawn(move || {
                let mut attacker = Attacker::new(seed << 8 | attacker);
                while !over.load(Relaxed) {
                    attacker.attack(listeners);
                    attacks.fetch_add(1, Relaxed);
                }
            });
        }
        let end = Instant::now() + time;
        while Instant::now() < end || answers < listeners.len() as u64 {
            let target = &listeners[answers as usize % listeners.len()];
            let question = format!("honest question {answers}");
            // A datagram may be lost in the storm, and a busy machine may hold up this client until a limit is reached.
            eventually(&format!("an answer of {}", target.name), || ask(target, question.as_bytes()));
            answers += 1;
        }
    });
    (attacks.into_inner(), answers)
}

/// Says that the storm is over when it is dropped.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Asks honestly.
fn ask(target: &Target, question: &[u8]) -> Option<()> {
    let client = match target.to {
        // Where no attacker is: the port of one who has just gone may be had again, and what he asked is answered there.
        Endpoint::Udp(_) => Client::connect_from(&target.to, "127.0.0.2"),
        _ => Client::try_connect(&target.to).ok()?,
    };
    let is_datagram = matches!(target.to, Endpoint::Udp(_) | Endpoint::UnixDatagram(_));
    if is_datagram {
        client.socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    } else if target.required {
        client.try_send(HEADER).ok()?;
    }
    client.try_send(question).ok()?;
    let mut answer = Vec::new();
    while answer.len() < question.len() {
        let mut part = [0; 64];
        match client.read(&mut part).ok()? {
            0 => return None,
            n => answer.extend_from_slice(&part[..n]),
        }
    }
    assert!(answer == question, "{}: {answer:?} for {question:?}", target.name);
    Some(())
}

struct Attacker {
    random: Random,
    /// Connections that are just left open.
    open: Vec<Client>,
}

impl Attacker {
    fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), open: Vec::new() }
    }

    fn attack(&mut self, listeners: &[Target]) {
        let target = &listeners[self.next(listeners.len())];
        // Somebody who is refused, or finds a full queue, has done enough.
        let Ok(client) = Client::try_connect(&target.to) else { return };
        let moment = Some(Duration::from_millis(5));
        client.socket.set_write_timeout(moment).unwrap();
        client.socket.set_read_timeout(moment).unwrap();
        let bytes = self.bytes();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let most = [1, 5, 100, 70_000][self.next(4)];
            let length = (1 + self.next(most)).min(rest.len());
            let Ok(sent) = client.try_send(&rest[..length]) else { break };
            rest = &rest[sent..];
            match self.next(20) {
                0 => _ = client.read(&mut [0; 5000]),
                1 => _ = client.socket.shutdown(std::net::Shutdown::Write),
                _ => {}
            }
        }
        match self.next(4) {
            0 => client.reset(),
            1 if self.open.len() < 5 => self.open.push(client),
            1 => self.open.clear(),
            _ => {}
        }
    }

    /// Something like a header with a fault, or nothing like one.
    fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = match self.next(5) {
            0 => HEADER.to_vec(),
            1 => BINARY.to_vec(),
            2 => {
                let source = Ipv4Addr::from(self.next(usize::MAX) as u32);
                format!("PROXY TCP4 {source} 198.51.100.1 1 7\r\n").into_bytes()
            }
            _ => Vec::new(),
        };
        if self.next(3) == 0 && !bytes.is_empty() {
            let at = self.next(bytes.len());
            bytes[at] = self.next(256) as u8;
        }
        if self.next(4) == 0 {
            bytes.truncate(self.next(bytes.len() + 1));
        }
        let most = [1, 30, 3000, 200_000][self.next(4)];
        for _ in 0..self.next(most) {
            bytes.push(self.next(256) as u8);
        }
        bytes
    }

    fn next(&mut self, end: usize) -> usize {
        self.random.next(end)
    }
}

/// Numbers that are the same for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self(seed);
        (0..8).for_each(|_| _ = random.next(1));
        random
    }

    fn next(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// What a daemon holds.
#[derive(Debug)]
struct Holdings {
    /// Of the daemon itself, and of the processes of its forking listeners.
    descriptors: Vec<usize>,
    processes: usize,
    /// Memory of their own in bytes. (What they share are tables of a fixed size.)
    memory: u64,
}

/// Waits until nobody is connected any more, and looks.
fn settle(daemon: &Echod, listeners: &[Target]) -> Holdings {
    for target in listeners {
        daemon.wait_state(&target.name, |state| state["open"] == 0 && state["died"] == 0);
    }
    holdings(daemon)
}

/// What it holds once that does not change any more.
fn holdings(daemon: &Echod) -> Holdings {
    let holdings = || {
        let group = daemon.group();
        let memory = |pid: i32| {
            let text = proc::status(pid, "RssAnon")?;
            text.trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib << 10)
        };
        let mut descriptors = group.iter().map(|pid| proc::descriptors(*pid).len()).collect::<Vec<_>>();
        descriptors.sort_unstable();
        let memory = group.iter().filter_map(|pid| memory(*pid)).sum();
        Holdings { descriptors, processes: group.len(), memory }
    };
    // A process may take a moment to end after its connection was counted.
    let mut last = BTreeMap::new();
    eventually("the same picture twice", || {
        let now = holdings();
        let same = last.insert((), now.descriptors.clone()) == Some(now.descriptors.clone());
        same.then_some(now)
    })
}
