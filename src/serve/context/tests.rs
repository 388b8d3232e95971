//! A service that panics, and the drain deadline of a busy connection.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::atomic::Ordering::Relaxed,
};

use super::*;
use crate::{
    config::{Environment, Inputs},
    report::close_reason::CloseKind,
    service::{Next, Session, SessionEvent, tests::Fragile},
};

/// Takes a millisecond for each message.
struct Slow;

impl Service for Slow {
    fn connect(&self) -> Box<dyn Session> {
        Box::new(Slow)
    }

    fn datagram(&self, _: &mut [u8], _: usize) -> Option<usize> {
        None
    }
}

impl Session for Slow {
    fn respond(&mut self, _: SessionEvent, _: &mut [u8]) -> Next {
        std::thread::sleep(Duration::from_millis(1));
        Next::Listen
    }
}

/// A client that sends faster than it is served never lets the connection wait.
#[test]
fn a_busy_client_is_cut_when_the_time_to_drain_is_over() {
    crate::sys::interrupt::on(crate::sys::interrupt::SIGNAL);
    let mut context = context();
    context.service = Box::new(Slow);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut permit, peer) = (context.slots.acquire().unwrap(), Peer::Unnamed);
    permit.open();
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let block = vec![0; 1 << 20];
            // Long enough that the test fails if the connection is not cut.
            let end = Instant::now() + Duration::from_secs(20);
            while end > Instant::now() {
                if (&ours).write_all(&block).is_err() {
                    return true;
                }
            }
            false
        });
        scope.spawn(|| {
            context.threads.join(|| {
                context.serve(
                    Accepted {
                        socket: OwnedFd::from(theirs).into(),
                        peer,
                        permit,
                        opened: Instant::now(),
                        faults: None,
                    },
                    &mut [0; 64],
                )
            });
        });
        while context.stats.activity() == 0 {
            std::thread::yield_now();
        }
        context.cut.set(Instant::now()).unwrap();
        context.stop();
        assert!(flood.join().unwrap(), "it was served on");
    });
    let cut = context.stats.ended_by(CloseKind::DrainTimeout);
    assert_eq!((cut, context.stats.errors.load(Relaxed)), (1, 0));
}

fn context() -> ListenerContext {
    let inputs = Inputs { file: None, listen: vec!["unix:@unused?name=it".into()] };
    let settings = config::load(&inputs, &Environment::default()).unwrap().config.listeners.remove(0);
    ListenerContext::new(settings, Arc::new(Shared::new().unwrap())).unwrap()
}

#[test]
fn a_panic_costs_one_connection() {
    let mut context = context();
    context.service = Box::new(Fragile);
    let mut scratch = [0; 64];
    let mut echo = |message: &[u8]| {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(message).unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let socket = Socket::from(OwnedFd::from(theirs));
        let mut permit = context.slots.acquire().unwrap();
        permit.open();
        context.serve(
            Accepted { socket, peer: Peer::Unnamed, permit, opened: Instant::now(), faults: None },
            &mut scratch,
        );
        let mut answer = Vec::new();
        ours.read_to_end(&mut answer).unwrap();
        (answer, [&context.stats.died, &context.stats.open].map(|count| count.load(Relaxed)))
    };
    assert_eq!(echo(b"hello"), (b"hello".to_vec(), [0, 0]));
    assert_eq!(echo(b"boo"), (Vec::new(), [1, 0]));
    assert_eq!(echo(b"again"), (b"again".to_vec(), [1, 0]));
    assert_eq!(context.stats.errors.load(Relaxed), 1);
}
