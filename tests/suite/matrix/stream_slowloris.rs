//! Many clients that say a byte now and then and are never done (slowloris): each is ended by the limit that is meant for it,
//! and others are served meanwhile.

use std::time::{Duration, Instant};

use super::Combination;
use crate::harness::{Client, Echod, eventually};

/// No slow client is silent for so long.
const IDLE: Duration = Duration::from_millis(400);
const PAUSE: Duration = Duration::from_millis(50);

/// `max-lifetime` ends those who keep `idle-timeout` away.
pub(super) fn max_lifetime(combination: Combination) {
    endures(combination, "max-lifetime", "max-lifetime = \"800ms\"", b"");
}

/// `proxy-header-timeout` ends those whose header has no end.
pub(super) fn proxy_header_timeout(combination: Combination) {
    let keys = "proxy-protocol = \"required\"\nproxy-header-timeout = \"800ms\"";
    endures(combination, "proxy-timeout", keys, b"PROXY UNKNOWN\r\n");
}

/// Waits until all slow clients have been ended. `counter` is to tell of each of them and of nobody else; honest ones, who send
/// `header` first, come one after the other and are all served.
fn endures(combination: Combination, counter: &str, keys: &str, header: &[u8]) {
    let places = combination.capacity(64);
    let is_large = places == 64;
    // Where they take every place one more waits for it, and the honest ones behind that.
    let (crowd, limit) = if is_large { (40, "max-connections = 64") } else { (places + 1, "") };
    let attempt = || {
        let daemon = combination.start_with("", &format!("idle-timeout = \"{IDLE:?}\"\n{keys}\n{limit}"));
        let visit = || {
            let client = daemon.client("it");
            client.send(&[header, b"honest"].concat());
            (client, Instant::now())
        };
        let mut slow = (0..crowd).map(|_| Slow::new(&daemon)).collect::<Vec<_>>();
        let (mut honest, mut since) = visit();
        let (mut served_between, mut longest) = (false, Duration::ZERO);
        eventually("the end of all slow clients", || {
            slow.retain_mut(|client| {
                longest = longest.max(client.go_on());
                !client.is_ended()
            });
            // That has read the first byte, if there is one.
            if !honest.has_nothing() {
                assert_eq!(honest.receive(5), b"onest");
                if !served_between {
                    let state = daemon.state("it");
                    served_between = state["open"] >= crowd as u64 && state[counter] == 0;
                }
                longest = longest.max(since.elapsed());
                (honest, since) = visit();
            }
            slow.is_empty().then_some(())
        });
        assert_eq!(honest.receive(6), b"honest");
        drop(honest);
        longest = longest.max(since.elapsed());
        daemon.wait_state("it", |state| state["open"] == 0);
        let state = daemon.state("it");
        let is_told = state[counter] == crowd as u64 && state["idle-timeout"] == 0;
        assert!(is_told || longest >= IDLE, "never silent over {longest:?}: {state:?}\n{}", daemon.log());
        is_told && (served_between || !is_large)
    };
    // On a busy machine the clients themselves may be held up for so long: then they have another try.
    assert!((0..20).any(|_| attempt()), "nobody was served between {crowd} slow clients");
}

struct Slow {
    client: Client,
    last: Instant,
    /// What could become a header of a proxy, as far as that may be long.
    bytes: std::vec::IntoIter<u8>,
}

impl Slow {
    fn new(daemon: &Echod) -> Self {
        let (last, client) = (Instant::now(), daemon.client("it"));
        client.socket.set_nonblocking(true).unwrap();
        Self { client, last, bytes: [b"PROXY UNKNOWN ", &[b'x'; 90][..]].concat().into_iter() }
    }

    /// Says a byte if it is time to, and tells for how long it had been silent then.
    fn go_on(&mut self) -> Duration {
        let before = Instant::now();
        let has_spoken = self.last.elapsed() >= PAUSE
            && self.bytes.next().is_some_and(|byte| self.client.try_send(&[byte]).is_ok());
        let silent = self.last.elapsed();
        if has_spoken {
            self.last = before;
        }
        silent
    }

    /// Reads what has come back.
    fn is_ended(&self) -> bool {
        match self.client.read(&mut [0; 128]) {
            Ok(length) => length == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}
