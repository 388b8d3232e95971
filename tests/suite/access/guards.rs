//! The guards of UDP listeners, as far as they can be met without forging a packet. Each holds for the listener as a whole, in
//! every way to serve it.

mod forged;
mod kernel;
pub(crate) mod loops;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Socket, Type};

use crate::{
    access::lists::datagrams,
    harness::{
        Client, Echod, Patient, eventually,
        netns::{Forger, in_namespace},
    },
};

/// A client that is not connected, so that it is not told of closed ports.
fn client() -> Patient<UdpSocket> {
    Patient::udp((Ipv4Addr::LOCALHOST, 0))
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().unwrap().port()
}

/// Sends, and expects the same back.
#[track_caller]
fn echo(client: &Patient<UdpSocket>, to: SocketAddr, bytes: &[u8]) {
    let mut buffer = vec![0; bytes.len() + 1];
    client.send_to(bytes, to).unwrap();
    let length = client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], bytes);
}

#[track_caller]
fn has_nothing(client: &Patient<UdpSocket>) -> bool {
    client.set_nonblocking(true).unwrap();
    let nothing = client.recv(&mut [0]).is_err();
    client.set_nonblocking(false).unwrap();
    nothing
}

#[test]
fn a_denied_source_port_is_refused() {
    for way in datagrams("127.0.0.1:0") {
        let (denied, honest) = (client(), client());
        let keys = format!("kernel-filter = false\ndeny-source-ports = [\"reflectors\", {}]", port(&denied));
        let daemon = way.start_with("", &keys);
        let to = daemon.endpoint("it").inet();
        for _ in 0..20 {
            denied.send_to(b"echo me", to).unwrap();
        }
        echo(&honest, to, b"welcome");
        daemon.wait_state("it", |state| {
            ["served", "received", "sent", "source-port", "undelivered"].map(|key| state[key])
                == [1, 147, 7, 20, 0]
        });
        assert!(has_nothing(&denied), "{way:?}");
        daemon.wait_lines(1, |line| line.contains("refused (source-port)"));
    }
}

/// Tools send from the ports of other services: the line of the start says which of them are not answered.
#[test]
fn the_start_tells_which_source_ports_are_not_answered() {
    let usual = "source ports 0,7,9,13,17,19,37,53,69,111,123,137-138,161,389,500 and those of echod are not answered (deny-source-ports)";
    for (keys, told) in [
        ("", Some(usual)),
        ("deny-source-ports = [53, \"4000-4009\"]", Some("source ports 0,53,4000-4009 are not answered")),
        ("deny-source-ports = \"none\"", Some("source ports 0 are not answered")),
        ("service = \"discard\"", None),
    ] {
        for way in datagrams("127.0.0.1:0") {
            let daemon = way.start_with("", keys);
            let line = daemon.wait_log(|line| line.contains("serving "));
            assert_eq!(line.contains("source ports"), told.is_some(), "{line}");
            assert!(told.is_none_or(|told| line.contains(told)), "{line}");
        }
    }
    let stream =
        Echod::with_args(&["-l", "tcp://127.0.0.1:0", "-l", "unix:it.sock", "-l", "unix-datagram:d.sock"]);
    assert!(!stream.log().contains("source ports"), "{}", stream.log());
}

/// A client whose port is a listener's, because that lets others have it too.
#[test]
fn a_listener_of_our_own_is_refused() {
    for way in datagrams("127.0.0.1:0") {
        let other = "[[listener]]\nname = \"other\"\nprotocol = \"udp\"\naddress = \"127.0.0.1:0\"\nreuse-port = true";
        let daemon = way.start_with("", other);
        let to = daemon.endpoint("it").inet();
        let same = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        same.set_reuse_port(true).unwrap();
        same.bind(&daemon.endpoint("other").inet().into()).unwrap();
        let same = UdpSocket::from(same);
        (0..10).for_each(|_| assert_eq!(same.send_to(b"loop", to).unwrap(), 4));
        echo(&client(), to, b"welcome");
        daemon
            .wait_state("it", |state| ["served", "sent", "own-listener"].map(|key| state[key]) == [1, 7, 10]);
    }
}

/// Withheld are so many as the counter says, and no others.
#[test]
fn a_run_without_a_pause_loses_one_in_so_many() {
    for way in datagrams("0.0.0.0:0") {
        let mut daemon = way.start_with("", "loop-breaker = 50");
        let (to, hasty) = (daemon.endpoint("it").inet(), client());
        // Few enough for the buffers on both sides.
        (0..200).for_each(|_| assert_eq!(hasty.send_to(b"again", to).unwrap(), 5));
        daemon.wait_state("it", |state| ["served", "loop-breaker"].map(|key| state[key]) == [196, 4]);
        echo(&client(), to, b"others are not concerned");
        daemon.stop();
        hasty.set_nonblocking(true).unwrap();
        let answers = std::iter::from_fn(|| hasty.recv(&mut [0; 8]).ok()).count();
        assert_eq!(answers, 196, "{way:?}");
    }
}

#[test]
fn nothing_is_withheld_at_loopback_or_from_the_trusted_or_where_that_is_off() {
    for (address, keys) in [
        ("127.0.0.1:0", "loop-breaker = 2"),
        ("0.0.0.0:0", "loop-breaker = 2\ntrusted = \"127.0.0.0/8\""),
        ("0.0.0.0:0", "loop-breaker = 0"),
    ] {
        for way in datagrams(address) {
            let daemon = way.start_with("", keys);
            let (to, hasty) = (daemon.endpoint("it").inet(), client());
            (0..50).for_each(|_| echo(&hasty, to, b"again"));
            daemon.wait_state("it", |state| state["served"] == 50 && state["refused"] == 0);
        }
    }
}

/// Whoever is answered and has not asked says so by port unreachable: it is left in peace.
#[test]
fn a_closed_port_is_left_in_peace() {
    in_namespace("true", || {
        for way in datagrams("0.0.0.0:0") {
            let daemon = way.start();
            let (to, forger) = (daemon.endpoint("it").inet(), Forger::new());
            // Alone: answers that are sent together may bring about one complaint.
            let ask = |before: u64| {
                forger.send("127.0.0.1:4009", to, b"reflect me");
                daemon.wait_state("it", |state| state["served"] + state["victim"] == before + 1);
                before + 1
            };
            let mut asked = 0;
            // A complaint is heard of a moment after the answer, at the latest with the next datagram of anybody.
            eventually("peace", || {
                asked = ask(asked);
                (daemon.state("it")["victim"] > 0).then_some(())
            });
            let told = daemon.wait_lines(1, |line| line.contains("refused (victim)"));
            assert!(told[0].contains("the last from udp://127.0.0.1:4009; add it to `trusted`"), "{told:?}");
            let answered = daemon.state("it")["served"];
            assert!(answered >= 3, "quiet after {answered}");
            echo(&client(), to, b"an honest client");
            asked = (0..7).fold(asked + 1, |asked, _| ask(asked));
            let state = daemon.state("it");
            // Nobody else is harmed by the errors that the socket is told of.
            assert_eq!(
                ["served", "victim", "errors", "dropped", "unreachable"].map(|key| state[key]),
                [answered + 1, asked - answered - 1, 0, 0, 0]
            );
            (0..20).for_each(|_| echo(&client(), to, b"an honest client"));
            assert_idle(&daemon);
        }
    });
}

/// An error queue that nobody empties keeps poll(2) awake.
#[track_caller]
fn assert_idle(daemon: &Echod) {
    let before = daemon.cpu_ticks();
    let quiet = Client::connect(&daemon.endpoint("it"));
    assert!(quiet.hears_nothing_for(std::time::Duration::from_millis(300)));
    let used = daemon.cpu_ticks().saturating_sub(before);
    assert!(used < 10, "the daemon used {used} of 30 ticks for nothing");
}
