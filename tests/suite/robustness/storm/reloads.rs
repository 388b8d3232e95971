//! A storm of reloads: addresses are widened, narrowed, removed and moved between listeners, modes and options change, some
//! files are faulty, and descriptors run out at random moments. A client that both the old and the new configuration serve is
//! served throughout. It is seeded; `ECHOD_STORM_SECONDS` says how long it lasts.

mod plan;

use std::{
    fs,
    io::Read,
    path::Path,
    process::Command,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use self::plan::{Plan, Target};
use super::{GROWTH, Holdings, Random, holdings, seconds};
use crate::harness::{Client, Echod, Launch, Manager, Over, PATIENCE, fitted, has_ipv6, netns, poll, proc};

/// How often a datagram is sent again before its client gives up: a full buffer may drop one.
const TRIES: u32 = 40;

#[test]
fn a_storm_of_reloads_refuses_no_client_that_is_to_be_served() {
    if has_ipv6() {
        // Ports of its own: a wildcard address must not meet those of other tests.
        netns::in_namespace("true", || storm(seconds(), seed()));
    }
}

fn seed() -> u64 {
    std::env::var("ECHOD_STORM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7)
}

fn storm(seconds: u64, seed: u64) {
    let mut random = Random::new(seed);
    let first = Plan::first();
    let manager = Manager::new();
    let mut daemon = Launch::new().env("NOTIFY_SOCKET", &manager.name).config(&first.toml()).start();
    manager.wait("READY=1");
    let fresh = held(&daemon, &first);
    let (mut reloads, mut refused, mut short) = (0, 0, 0);
    let served = Served(Mutex::new(first.targets()));
    let (over, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut plan = first.clone();
    thread::scope(|scope| {
        let _over = Over(&over);
        for client in 0..3 {
            let (over, answers, served, dir) = (&over, &answers, &served, daemon.path(""));
            scope.spawn(move || {
                let mut random = Random::new(seed << 8 | client);
                while !over.load(Relaxed) {
                    visit(&dir, served, &mut random);
                    answers.fetch_add(1, Relaxed);
                }
            });
        }
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            let next = plan.changed(&mut random);
            let fault = (random.next(6) == 0).then(|| next.with_fault(&mut random));
            let limit = (random.next(4) == 0).then(|| {
                short += 1;
                Limit::set(&daemon, random.next(16))
            });
            // Whatever becomes of the reload, these are served before and after it.
            served.set(plan.targets().into_iter().filter(|target| next.targets().contains(target)).collect());
            let is_reloaded = reload(&daemon, &manager, fault.as_ref().unwrap_or(&next.toml()));
            assert!(
                !is_reloaded || fault.is_none(),
                "a faulty file was taken: {}",
                fault.unwrap_or_default()
            );
            assert!(
                is_reloaded || fault.is_some() || limit.is_some(),
                "not reloaded:\n{}\n{}",
                next.toml(),
                holders()
            );
            reloads += 1;
            match is_reloaded {
                true => plan = next,
                false => refused += 1,
            }
            served.set(plan.targets());
            drop(limit);
            if reloads % 8 == 0 {
                for target in plan.targets() {
                    let answered = ask(daemon.path("").as_path(), &target);
                    answered.unwrap_or_else(|error| {
                        panic!("{target:?}: {error}\n{}\n{}", plan.toml(), holders())
                    });
                }
            }
        }
        served.set(Vec::new());
    });
    // A listener that stays may keep sockets of more loops than it has now; none that is made anew does.
    assert!(reload(&daemon, &manager, &first.without_sites().toml()), "nothing can be given up");
    assert!(
        reload(&daemon, &manager, &first.toml()),
        "the first configuration is not served again\n{}",
        daemon.log()
    );
    // What earlier generations have left ends with their last clients.
    let after = poll(|| Some(held(&daemon, &first)).filter(|after| after.descriptors == fresh.descriptors));
    let after = after.unwrap_or_else(|| held(&daemon, &first));
    let answers = answers.into_inner();
    eprintln!(
        "{reloads} reloads, {refused} of them refused, {short} short of descriptors, {answers} clients; {fresh:?}, then {after:?}"
    );
    assert!(reloads > 10 && refused > 0 && answers > 100, "{reloads} reloads, {answers} clients");
    assert_eq!(after.descriptors, fresh.descriptors, "{}", holders());
    assert_eq!(after.processes, fresh.processes);
    assert!(after.memory <= fresh.memory + GROWTH, "{fresh:?}, then {after:?}");
    daemon.stop();
    let log = daemon.log();
    for word in ["panicked", " lost "] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(word)).take(20).collect();
        assert!(lines.is_empty(), "{lines:#?}");
    }
}

/// What the daemon holds once it has served each target of `plan` and nobody is connected.
fn held(daemon: &Echod, plan: &Plan) -> Holdings {
    for target in plan.targets() {
        // Twice: one that was made for the first is not made again.
        (0..2).for_each(|_| ask(daemon.path("").as_path(), &target).unwrap());
    }
    for name in plan.names() {
        daemon.wait_state(&name, |state| state["open"] == 0 && state["died"] == 0);
    }
    holdings(daemon)
}

/// The targets that every configuration which may be in force now serves.
struct Served(Mutex<Vec<Target>>);

impl Served {
    fn lock(&self) -> MutexGuard<'_, Vec<Target>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, targets: Vec<Target>) {
        *self.lock() = targets;
    }
}

/// One client of a target that is served; a failure counts unless the target was given up meanwhile.
fn visit(dir: &Path, served: &Served, random: &mut Random) {
    let target = {
        let targets = served.lock();
        match targets.len() {
            0 => None,
            count => Some(targets[random.next(count)].clone()),
        }
    };
    let Some(target) = target else { return thread::yield_now() };
    if let Err(error) = ask(dir, &target) {
        assert!(!served.lock().contains(&target), "{target:?} is served, but: {error}\n{}", holders());
    }
}

/// Has a question echoed by a target.
fn ask(dir: &Path, target: &Target) -> Result<(), String> {
    let question = b"served before, meanwhile and afterwards";
    let client = Client::try_connect(&target.endpoint(dir)).map_err(|error| format!("connect: {error}"))?;
    if !client.is_datagram() {
        client.try_send(question).map_err(|error| format!("send: {error}"))?;
        let mut answer = vec![0; question.len()];
        (&client.socket).read_exact(&mut answer).map_err(|error| format!("receive: {error}"))?;
        return if answer == question { Ok(()) } else { Err(format!("{answer:?} came back")) };
    }
    client.socket.set_read_timeout(Some(PATIENCE / TRIES)).unwrap();
    for _ in 0..TRIES {
        client.try_send(question).map_err(|error| format!("send: {error}"))?;
        let mut answer = [0; 64];
        match client.read(&mut answer) {
            Ok(length) if &answer[..length] == question => return Ok(()),
            Ok(length) => return Err(format!("{:?} came back", &answer[..length])),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(format!("receive: {error}")),
        }
    }
    Err(format!("no answer to {TRIES} datagrams"))
}

/// Gives the daemon another file to read; whether it took that.
fn reload(daemon: &Echod, manager: &Manager, toml: &str) -> bool {
    fs::write(daemon.path("new.toml"), fitted(toml)).unwrap();
    fs::rename(daemon.path("new.toml"), daemon.path("echod.toml")).unwrap();
    // What was said of earlier reloads.
    manager.arrived();
    daemon.signal(Signal::SIGHUP);
    !manager.wait("READY=1").contains("not reloaded: ")
}

/// While this is there the daemon may open a few descriptors more than it has, and no others.
struct Limit<'a>(&'a Echod);

impl<'a> Limit<'a> {
    fn set(daemon: &'a Echod, more: usize) -> Self {
        let limit = proc::descriptors(daemon.pid()).len() + more;
        prlimit(daemon, &format!("{limit}:"));
        Self(daemon)
    }
}

impl Drop for Limit<'_> {
    fn drop(&mut self) {
        prlimit(self.0, "4096:");
    }
}

/// What listens, and what waits there.
fn holders() -> String {
    let listed = Command::new("ss").args(["-Hnpl", "-tux"]).output();
    listed
        .map_or_else(|error| error.to_string(), |listed| String::from_utf8_lossy(&listed.stdout).into_owned())
}

fn prlimit(daemon: &Echod, limit: &str) {
    let limit = format!("--nofile={limit}");
    let set = Command::new("prlimit").args(["--pid", &daemon.pid().to_string(), &limit]).output().unwrap();
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
}
