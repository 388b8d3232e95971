//! A service that panics.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use super::*;
use crate::{
    config::{Environment, Inputs},
    service::{Event, Next, Session},
};

/// Echoes, but is afraid of one word.
struct Fragile;

impl Service for Fragile {
    fn connect(&self) -> Box<dyn Session> {
        Box::new(Fragile)
    }

    fn datagram(&self, _: &mut [u8], _: usize) -> Option<usize> {
        None
    }
}

impl Session for Fragile {
    fn respond(&mut self, event: Event, buffer: &mut [u8]) -> Next {
        match event {
            Event::Received(n) if buffer[..n].starts_with(b"boo") => panic!("on purpose"),
            Event::Received(n) => Next::Send(n),
            Event::Opened | Event::Drained => Next::Listen,
        }
    }
}

#[test]
fn a_panic_costs_one_connection() {
    let inputs = Inputs { file: None, listen: vec!["unix:@unused?name=it".into()] };
    let settings = config::load(&inputs, &Environment::default()).unwrap().config.listeners.remove(0);
    let mut duty = Duty::new(settings, Arc::new(Shared::new().unwrap())).unwrap();
    duty.service = Box::new(Fragile);
    let mut scratch = [0; 64];
    let mut converse = |word: &[u8]| {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(word).unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let socket = Socket::from(OwnedFd::from(theirs));
        let mut permit = duty.gate.enter().unwrap();
        permit.open();
        duty.serve(Guest { socket, peer: Peer::Unnamed, permit, opened: Instant::now() }, &mut scratch);
        let mut answer = Vec::new();
        ours.read_to_end(&mut answer).unwrap();
        (answer, [&duty.stats.died, &duty.stats.open].map(|count| count.load(Relaxed)))
    };
    assert_eq!(converse(b"hello"), (b"hello".to_vec(), [0, 0]));
    assert_eq!(converse(b"boo"), (Vec::new(), [1, 0]));
    assert_eq!(converse(b"again"), (b"again".to_vec(), [1, 0]));
    assert_eq!(duty.stats.errors.load(Relaxed), 1);
}
