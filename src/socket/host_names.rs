//! The host names of a configuration, each looked up once for all listeners and ports. A name server may be silent for
//! a long time, so other threads look up, and the caller does not wait for all of them.

use std::{
    collections::{BTreeSet, HashMap},
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use crate::{
    config::{Address, Host, Listener},
    process::named_thread,
};

/// The time-out of all look-ups together.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often the caller checks whether the answers are still wanted.
const TICK: Duration = Duration::from_millis(20);

/// Names that are looked up at a time.
const THREADS: usize = 8;

/// Threads that may wait for name servers, at most, with those whose answers are no longer wanted.
const MOST_THREADS: usize = 32;

static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Stack of a thread that looks up: the C library may run modules of its own on it.
const STACK: usize = 1 << 20;

/// The addresses of each name, or why it has none.
#[derive(Debug, Default)]
pub struct HostNames(HashMap<String, Result<Vec<SocketAddr>, String>>);

/// The name of a host that must be looked up. For an address with a zone that only finds the number of the interface.
pub(super) fn name_of(host: &Host) -> Option<String> {
    match host {
        Host::Ip(_) => None,
        Host::Scoped(ip, zone) => Some(format!("{ip}%{zone}")),
        Host::Name(name) => Some(name.clone()),
    }
}

impl HostNames {
    /// Looks up all names of `listeners`. `None` if `is_over` says that they are no longer wanted.
    pub fn look_up<'a>(
        listeners: impl IntoIterator<Item = &'a Listener>,
        is_over: impl Fn() -> bool,
    ) -> Option<HostNames> {
        let addresses = listeners.into_iter().flat_map(|listener| &listener.address);
        let host = |address: &'a Address| match address {
            Address::Inet { host, .. } => name_of(host),
            Address::Path(_) | Address::Abstract(_) => None,
        };
        let names: BTreeSet<String> = addresses.filter_map(host).collect();
        let end = Instant::now() + TIMEOUT;
        let mut found = HashMap::new();
        let room = MOST_THREADS.saturating_sub(WAITING.load(Relaxed));
        let threads = names.len().min(THREADS).min(room);
        let (answer, answers) = mpsc::channel();
        let left = Arc::new(Mutex::new(names.clone().into_iter()));
        for _ in 0..threads {
            let (answer, left) = (answer.clone(), Arc::clone(&left));
            let next = move || left.lock().unwrap_or_else(PoisonError::into_inner).next();
            let look_up = move || {
                while let Some(name) = next().filter(|_| Instant::now() < end) {
                    let addresses = addresses_of(&name);
                    // It fails if the look-up took too long, and the caller has gone on.
                    let _ = answer.send((name, addresses));
                }
                WAITING.fetch_sub(1, Relaxed);
            };
            WAITING.fetch_add(1, Relaxed);
            // With fewer threads it takes longer; without any, there is no answer.
            if named_thread::spawn("resolver", STACK, look_up).is_err() {
                WAITING.fetch_sub(1, Relaxed);
            }
        }
        drop(answer);
        while found.len() < names.len() {
            if is_over() {
                return None;
            }
            let left = end.saturating_duration_since(Instant::now());
            match answers.recv_timeout(left.min(TICK)) {
                Ok((name, addresses)) => _ = found.insert(name, addresses),
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                Err(_) => break,
            }
        }
        Some(HostNames(found))
    }

    /// The addresses of `name`, or why they are not known.
    pub(super) fn addresses(&self, name: &str) -> Result<&[SocketAddr], String> {
        match self.0.get(name) {
            Some(found) => found.as_deref().map_err(String::clone),
            None => Err(format!("there was no answer within {TIMEOUT:?}")),
        }
    }
}

fn addresses_of(name: &str) -> Result<Vec<SocketAddr>, String> {
    let mut found = Vec::new();
    for address in (name, 0).to_socket_addrs().map_err(|error| error.to_string())? {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Environment, Inputs};

    fn listeners(addresses: &[&str]) -> Vec<Listener> {
        let listen = addresses.iter().map(|address| format!("tcp://{address}")).collect();
        let inputs = Inputs { file: None, listen };
        config::load(&inputs, &Environment::default()).unwrap().config.listeners
    }

    #[test]
    fn names_are_looked_up_and_numbers_are_not() {
        let listeners = listeners(&["localhost:1", "localhost:2-9", "127.0.0.1:1", "[fe80::1%lo]:1"]);
        let names = HostNames::look_up(&listeners, || false).unwrap();
        assert_eq!(names.0.len(), 2, "{names:?}");
        let loopback = names.addresses("localhost").unwrap();
        assert!(loopback.iter().all(|address| address.ip().is_loopback() && address.port() == 0));
        assert!(names.addresses("127.0.0.1").is_err());
    }

    #[test]
    fn a_look_up_that_is_not_wanted_returns_at_once() {
        assert!(HostNames::look_up(&listeners(&["localhost:1"]), || true).is_none());
        assert!(HostNames::look_up(&listeners(&["127.0.0.1:1"]), || true).is_some());
    }
}
