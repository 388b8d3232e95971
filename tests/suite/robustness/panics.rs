//! c20: a service that panics loses one connection, whatever the mode. No service of ours does, so the strategies are
//! given one that is made to. (A forking listener needs a process of one thread, and is left to [`crate::robustness::survival`].)

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use echod::{
    access::guard,
    config::{self, Environment, Inputs},
    modes,
    serve::context::ListenerContext,
    service::{Next, Service, Session, SessionEvent},
    socket::{address::Peer, bind, host_names::HostNames},
    sys::{interrupt, shared::Shared},
};

use crate::harness::{Client, Endpoint, Patient};

const MODES: [&str; 7] = [
    "mode=iterative",
    "mode=threading",
    "mode=threading&workers=2",
    "mode=select",
    "mode=poll",
    "mode=epoll",
    "mode=epoll&trigger=edge&workers=2",
];

/// Echoes, but is afraid of one word.
struct Fragile;

impl Service for Fragile {
    fn connect(&self) -> Box<dyn Session> {
        Box::new(Fragile)
    }

    fn datagram(&self, buffer: &mut [u8], request: usize) -> Option<usize> {
        assert_ne!(&buffer[..request], b"boo", "on purpose");
        Some(request)
    }
}

impl Session for Fragile {
    fn respond(&mut self, event: SessionEvent, buffer: &mut [u8]) -> Next {
        match event {
            SessionEvent::Received(n) if buffer[..n].starts_with(b"boo") => panic!("on purpose"),
            SessionEvent::Received(n) => Next::Send(n),
            SessionEvent::Opened | SessionEvent::Drained => Next::Listen,
        }
    }
}

#[test]
fn c20_a_panic_costs_one_connection() {
    for mode in MODES {
        let context = serving(&format!("tcp://127.0.0.1:0?{mode}"), |address| {
            // Who is served meanwhile, where that is possible.
            let connect = || Client::connect(&Endpoint::Tcp(address));
            let other = (mode != "mode=iterative").then(connect);
            other.iter().for_each(|other| other.echo(b"before"));
            for _ in 0..2 {
                let victim = connect();
                victim.send(b"boo");
                assert!(victim.is_ended());
            }
            connect().echo(b"the next");
            other.iter().for_each(|other| other.echo(b"after"));
        });
        assert_eq!((context.stats.died.load(Relaxed), context.stats.errors.load(Relaxed)), (2, 2), "{mode}");
        assert_eq!(context.stats.open.load(Relaxed), 0, "{mode}");
    }
}

#[test]
fn c20_a_panic_costs_one_datagram() {
    for mode in MODES {
        let context = serving(&format!("udp://127.0.0.1:0?{mode}"), |address| {
            let client = stranger();
            client.connect(address).unwrap();
            for word in [&b"boo"[..], b"next"] {
                client.send(word).unwrap();
            }
            let mut buffer = [0; 8];
            assert_eq!(client.recv(&mut buffer).unwrap(), 4, "{mode}");
        });
        assert_eq!((context.stats.died.load(Relaxed), context.stats.errors.load(Relaxed)), (1, 1), "{mode}");
    }
}

/// Lets `visit` talk to a listener whose service is [`Fragile`], and then ends it; returns what it has counted.
fn serving(url: &str, visit: impl FnOnce(SocketAddr)) -> Arc<ListenerContext> {
    interrupt::on(interrupt::SIGNAL);
    let inputs = Inputs { file: None, listen: vec![url.to_owned()] };
    let settings = config::load(&inputs, &Environment::default()).unwrap().config.listeners.remove(0);
    let sites = bind::sites(&settings, &HostNames::default()).unwrap();
    let sockets = bind::bind(&settings, sites, Duration::ZERO, &mut Vec::new()).unwrap();
    let Peer::Inet(address) = *sockets[0].address() else { panic!("{url} is no internet address") };
    let mut context = ListenerContext::new(settings, Arc::new(Shared::new().unwrap())).unwrap();
    context.service = Box::new(Fragile);
    let context = Arc::new(context);
    thread::scope(|scope| {
        let served = scope.spawn(|| context.threads.join(|| modes::serve(&context, sockets)));
        let visited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| visit(address)));
        context.stop();
        let ended = served.join();
        assert!(visited.is_ok(), "{url}");
        assert!(matches!(ended, Ok(Ok(()))), "{url}: the listener is lost");
    });
    context
}

/// A client whose port no listener of this process has had: who seems to be one is not answered.
fn stranger() -> Patient<UdpSocket> {
    let own = guard::own_ports().unwrap();
    loop {
        let client = Patient::udp("127.0.0.1:0");
        if !own.contains(false, client.local_addr().unwrap().port()) {
            return client;
        }
    }
}
