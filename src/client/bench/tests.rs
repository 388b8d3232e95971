use std::{
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    thread,
    time::Duration,
};

use clap::{Args, Command, FromArgMatches};

use super::{super::target::Families, *};
use crate::{
    client::{
        measurement::{Measurement, Replies},
        options,
        target::Target,
    },
    report::error::Exit,
};

fn bench(url: &str, line: &str) -> Result<Measurement, crate::report::error::Failure> {
    let command =
        options::Bench::augment_args(Command::new("test").no_binary_name(true).args_override_self(true));
    let quick = "-d 50ms --rounds 2 --warm-up 10ms -W 10s";
    let matches = command.get_matches_from(quick.split(' ').chain(line.split_whitespace()));
    let options = options::Bench::from_arg_matches(&matches).unwrap();
    let target = Target::read("bench", url, Families::Any).unwrap();
    measure(&[target], &options, &mut Silent::default())
}

/// The books of every round add up, and so do the rounds.
fn balanced(measurement: &Measurement) {
    for target in &measurement.targets {
        let mut all = crate::client::measurement::Fates::default();
        for round in &target.rounds {
            let fates = round.fates;
            assert_eq!(fates.planned, fates.sent() + fates.unsent + fates.skipped, "{fates:?}");
            assert_eq!(round.service.count(), fates.ok + fates.late);
            all.add(&fates);
        }
        assert_eq!(all, target.fates);
        assert_eq!(target.service.count(), all.ok + all.late);
    }
}

/// A server that serves each connection until its end.
fn tcp_server() -> String {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", server.local_addr().unwrap());
    thread::spawn(move || {
        for client in server.incoming() {
            let mut client = client.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = client.read(&mut buffer) {
                    let _ = client.write_all(&buffer[..length]);
                }
            });
        }
    });
    url
}

/// A server that answers datagram n as `answers` says: with these datagrams.
fn udp_server(answers: impl Fn(u64, &[u8]) -> Vec<Vec<u8>> + Send + 'static) -> String {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("udp://{}", server.local_addr().unwrap());
    thread::spawn(move || {
        let mut buffer = [0; 65_536];
        for n in 0.. {
            let (length, client) = server.recv_from(&mut buffer).unwrap();
            for answer in answers(n, &buffer[..length]) {
                let _ = server.send_to(&answer, client);
            }
        }
    });
    url
}

#[test]
fn every_message_of_a_stream_comes_back() {
    let url = tcp_server();
    for line in
        ["", "--window 5", "--connections 3 --window 2 --size 7", "--size 300000 --window 3", "--rate 1000"]
    {
        let measurement = bench(&url, line).unwrap();
        balanced(&measurement);
        let target = &measurement.targets[0];
        assert_eq!(target.rounds.len(), 2);
        // On a machine under load TCP sends again over loopback, too.
        let replies = Replies { retransmitted: 0, ..target.replies };
        assert!(target.fates.ok > 0 && replies == Replies::default(), "{line}: {replies:?}");
        assert_eq!((target.fates.lost, target.fates.unsent), (0, 0), "{line}");
        assert_eq!(target.response.is_some(), line.contains("rate"));
        assert!(target.connect.is_some());
    }
}

#[test]
fn an_open_loop_plans_each_message() {
    let measurement =
        bench(&udp_server(|_, message| vec![message.to_vec()]), "--rate 1000 --connections 3").unwrap();
    balanced(&measurement);
    let target = &measurement.targets[0];
    assert_eq!(target.fates.planned, 100);
    assert_eq!(target.schedule_error.as_ref().unwrap().count(), target.fates.sent());
    assert_eq!(measurement.settings.window, None);
}

#[test]
fn what_becomes_of_datagrams_is_told_apart() {
    let url = udp_server(|n, message| {
        let mut spoilt = message.to_vec();
        spoilt[40] ^= 1;
        match n % 10 {
            3 => vec![],
            5 => vec![message.to_vec(), message.to_vec()],
            7 => vec![spoilt],
            9 => vec![b"something else, which is long enough".to_vec(), message.to_vec()],
            _ => vec![message.to_vec()],
        }
    });
    let measurement = bench(&url, "--warm-up 0s --rounds 1 -W 5s --rate 1000 -d 100ms");
    // The time-out is long, so that a slow machine makes nothing late; it is waited for at the end.
    let measurement = measurement.unwrap();
    balanced(&measurement);
    let target = &measurement.targets[0];
    let sent = target.fates.sent();
    let of = |digit: u64| (0..sent).filter(|n| n % 10 == digit).count() as u64;
    let replies = target.replies;
    assert_eq!(
        (replies.duplicate, replies.corrupt, replies.stray),
        (of(5), of(7), of(9)),
        "{:?} {:?}",
        target.fates,
        target.replies
    );
    assert_eq!(
        (target.fates.lost, target.fates.late),
        (of(3) + of(7), 0),
        "{:?} {:?}",
        target.fates,
        target.replies
    );
}

#[test]
fn a_late_answer_is_late() {
    let url = udp_server(|n, message| {
        if n == 0 {
            thread::sleep(Duration::from_millis(100));
        }
        vec![message.to_vec()]
    });
    let measurement = bench(&url, "--warm-up 0s --rounds 1 -W 30ms -d 20ms").unwrap();
    balanced(&measurement);
    let target = &measurement.targets[0];
    assert!(target.fates.late + target.fates.lost >= 1, "{:?} {:?}", target.fates, target.replies);
}

#[test]
fn one_who_is_not_there_refuses() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let measurement = bench(&format!("udp://{gone}"), "--rate 1000 --connections 2").unwrap();
    balanced(&measurement);
    let target = &measurement.targets[0];
    assert!(target.fates.refused > 0 && target.fates.ok == 0, "{:?} {:?}", target.fates, target.replies);
    assert_eq!(target.rounds.len(), 1);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(bench(&format!("tcp://{gone}"), "").unwrap_err().exit, Exit::Unavailable);
}

#[test]
fn a_server_that_closes_is_told() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", server.local_addr().unwrap());
    thread::spawn(move || {
        for client in server.incoming() {
            let mut client = client.unwrap();
            let mut buffer = [0; 64];
            let _ = client.read_exact(&mut buffer).and_then(|()| client.write_all(&buffer));
        }
    });
    let measurement = bench(&url, "--warm-up 0s --connections 2").unwrap();
    balanced(&measurement);
    assert!(
        measurement.warnings.iter().any(|warning| warning.id == "connections-closed"),
        "{:?}",
        measurement.warnings
    );
    assert_eq!(measurement.targets[0].fates.ok, 2);
}

#[test]
fn options_that_cannot_be_had_are_refused() {
    for (url, line) in [
        ("tcp://127.0.0.1:7", "--size 0"),
        ("udp://127.0.0.1:7", "--size 65508"),
        ("udp://127.0.0.1:7", "--idle 3"),
        ("udp://127.0.0.1:7", "--size 0 --rate 100"),
        ("tcp://127.0.0.1:7", "-d 0s"),
    ] {
        assert_eq!(bench(url, line).unwrap_err().exit, Exit::Usage, "{line}");
    }
}
