//! The same frames to two listeners that differ in one key: `offload`. Each answer must be the same, each silence the same silence, and
//! each counter the same number.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    frames::{Answer, Frame, Odd, Wire, collect},
    network::in_two_namespaces,
    udp,
};
use crate::harness::{Echod, netns::sh};

const ON: u16 = 7001;
const OFF: u16 = 7002;
/// A port that only ends a batch.
const END: u16 = 55_555;

const KEYS: &str = "allow = [\"10.77.0.0/24\", \"198.51.100.0/24\", \"fd77::/64\", \"2001:db8::/32\"]\n\
                    deny = [\"10.77.0.64/26\", \"2001:db8:7::/48\"]\n\
                    trusted = [\"198.51.100.128/25\"]\n\
                    deny-source-ports = [\"reflectors\", 4000, \"5000-5009\"]\nloop-breaker = 0\n";

/// Numbers that look random and are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.next(all.len() as u64) as usize]
    }
}

const FROM4: [&str; 18] = [
    "10.77.0.7",
    "10.77.0.9",
    "10.77.0.63",
    "10.77.0.64",
    "10.77.0.100",
    "10.77.0.127",
    "10.77.0.128",
    "10.77.0.1",
    "10.77.0.255",
    "10.77.0.0",
    "198.51.100.7",
    "198.51.100.200",
    "203.0.113.5",
    "127.0.0.1",
    "0.1.2.3",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
];
const FROM6: [&str; 11] = [
    "fd77::7",
    "fd77::8",
    "2001:db8::1",
    "2001:db8:7::1",
    "2001:db8:8::1",
    "fd77::1",
    "::1",
    "::",
    "ff02::1",
    "::ffff:10.77.0.7",
    "::10.77.0.7",
];
const TO4: [&str; 5] = ["10.77.0.1", "10.77.0.255", "255.255.255.255", "224.0.0.1", "10.77.0.9"];
const TO6: [&str; 3] = ["fd77::1", "ff02::1", "fd77::99"];
const PORTS: [u16; 14] = [0, 7, 19, 53, 500, 1023, 1024, 4000, 4999, 5000, 5009, 5010, ON, OFF];

/// A frame of any kind; about half of them are ordinary.
fn any(random: &mut Random, stations: [[u8; 6]; 2], payload: usize) -> Frame {
    let is_v6 = random.next(2) == 0;
    let (from, to): (&[&str], &[&str]) = if is_v6 { (&FROM6, &TO6) } else { (&FROM4, &TO4) };
    let rarely = |random: &mut Random| random.next(8) == 0;
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let odd = match random.next(3) {
        0 | 1 => Odd::Nothing,
        _ => match random.next(14) {
            0 => Odd::Vlan(random.one_of(&[0, 7])),
            1 => Odd::Options,
            2 => Odd::Fragment,
            3 => Odd::DontFragment,
            4 => Odd::Class(random.one_of(&[1, 0x10, 0xb8, 0xff])),
            5 => Odd::Hops(random.one_of(&[1, 2, 64, 255])),
            6 => Odd::Protocol(random.one_of(&[6, 1, 58, 136, 255])),
            7 => Odd::Length(random.one_of(&[-300, -9, -1, 1, 9, 300])),
            8 => Odd::UdpLength(random.one_of(&[-300, -9, -1, 1, 9, 300])),
            9 => Odd::HeaderChecksum,
            10 => Odd::Checksum,
            11 => Odd::NoChecksum,
            12 => Odd::Padding(random.next(60) as u8),
            _ => Odd::Short(1 + random.next(40) as u8),
        },
    };
    let length = match random.next(4) {
        0 => random.next(64),
        1 => random.next(1473),
        _ => random.next(8900),
    };
    Frame {
        to_station: if rarely(random) {
            random.one_of(&[[0xff; 6], [2, 0, 0, 0, 0, 9]])
        } else {
            stations[0]
        },
        from_station: stations[1],
        from: address(if rarely(random) { random.one_of(from) } else { from[random.next(3) as usize] }),
        to: address(if rarely(random) { random.one_of(to) } else { to[0] }),
        from_port: if rarely(random) { random.one_of(&PORTS) } else { 20_000 + random.next(30_000) as u16 },
        to_port: ON,
        payload: (0..length).map(|at| (payload as u64 + at) as u8).collect(),
        odd,
    }
}

/// The end of a batch: its class has it go to the socket, behind everything else.
fn end(stations: [[u8; 6]; 2], to_port: u16, number: usize) -> Frame {
    let payload = number.to_ne_bytes().to_vec();
    let [to_station, from_station] = stations;
    let (from, to) = ("10.77.0.7".parse().unwrap(), "10.77.0.1".parse().unwrap());
    Frame { to_station, from_station, from, to, from_port: END, to_port, payload, odd: Odd::Class(0x10) }
}

#[test]
fn the_kernel_answers_what_the_socket_would() {
    in_two_namespaces(|far| {
        // Whole checksums and single packets on the wire. Whoever is answered has a station.
        if sh("ethtool -K va tx off gro off > /dev/null").is_err()
            || far.run(|| sh("ethtool -K vb tx off gro off > /dev/null")).is_err()
        {
            return crate::harness::skipped("there is no ethtool");
        }
        sh("ip link set va mtu 9000").unwrap();
        far.run(|| sh("ip link set vb mtu 9000")).unwrap();
        // The far end is nobody: its answers are ours to read.
        far.run(|| sh("ip address flush dev vb && sysctl -qw net.ipv6.conf.vb.disable_ipv6=1")).unwrap();
        let wire = far.run(|| Wire::new("vb"));
        let station = wire.station.map(|byte| format!("{byte:02x}")).join(":");
        let clients = FROM4.iter().chain(&FROM6).filter(|from| {
            from.starts_with("10.77.0.")
                && !from.ends_with(".1")
                && !from.ends_with(".255")
                && !from.ends_with(".0")
                || from.starts_with("fd77::") && *from != &"fd77::1"
        });
        for client in clients.clone() {
            sh(&format!("ip neigh replace {client} lladdr {station} dev va nud permanent")).unwrap();
        }
        // A gateway for the others.
        sh("ip route add default via 10.77.0.7 && ip -6 route add default via fd77::7").unwrap();
        let here = Wire::new("va").station;
        let stations = [here, wire.station];
        let daemon = Echod::start(
            &(udp("on", &format!("[::]:{ON}"), &format!("offload = \"on\"\n{KEYS}"))
                + &udp("off", &format!("[::]:{OFF}"), KEYS)),
        );
        let many: usize = std::env::var("ECHOD_TEST_DATAGRAMS").map_or(12_000, |many| many.parse().unwrap());
        let (mut random, mut sent) = (Random(0x2545_f491_4f6c_dd1d), 0);
        let (mut answers, mut wrong) = (BTreeMap::<u16, u64>::new(), BTreeMap::<u16, u64>::new());
        while sent < many {
            // Less than a receive buffer holds.
            let mut frames = Vec::new();
            for _ in 0..20 {
                let frame = any(&mut random, stations, sent);
                for to_port in [ON, OFF] {
                    wire.send(&Frame { to_port, ..frame.clone() }.bytes());
                }
                frames.push(frame);
                sent += 1;
            }
            [ON, OFF].iter().for_each(|port| wire.send(&end(stations, *port, sent).bytes()));
            let mut missing = vec![ON, OFF];
            let (mut got, wrong_now) = collect(&wire, |port, answer| {
                if answer.to_port == END && answer.payload == sent.to_ne_bytes() {
                    missing.retain(|other| *other != port);
                }
                missing.is_empty()
            });
            let mut of = |port: u16| {
                let mut all = got.remove(&port).unwrap_or_default();
                all.retain(|answer: &Answer| answer.to_port != END);
                *answers.entry(port).or_default() += all.len() as u64;
                *wrong.entry(port).or_default() += wrong_now.get(&port).copied().unwrap_or(0);
                // The kernel is faster than the socket: the order differs.
                all.sort();
                all
            };
            let (on, off) = (of(ON), of(OFF));
            if on != off {
                let only = |these: &[Answer], those: &[Answer]| {
                    let only: Vec<_> = these.iter().filter(|one| !those.contains(one)).collect();
                    only.iter()
                        .map(|one| {
                            format!(
                                "{} bytes {:?}",
                                one.payload.len(),
                                Answer { payload: vec![], ..(**one).clone() }
                            )
                        })
                        .collect::<Vec<_>>()
                };
                let sent: Vec<_> = frames
                    .iter()
                    .map(|frame| (frame.payload.len(), Frame { payload: vec![], ..frame.clone() }))
                    .collect();
                panic!(
                    "only with: {:#?}\nonly without: {:#?}\nof {sent:#?}",
                    only(&on, &off),
                    only(&off, &on)
                );
            }
            assert!(got.keys().all(|port| [ON, OFF].contains(port)));
        }
        // A wrong checksum comes back wrong, and no socket receives it.
        let lost = wrong.get(&ON).copied().unwrap_or(0);
        assert_eq!((answers[&ON], wrong.get(&OFF)), (answers[&OFF], Some(&0)));
        assert!(answers[&ON] > many as u64 / 4, "{answers:?} of {many}");
        let states = ["on", "off"].map(|name| daemon.state(name));
        let of = |key: &str| [states[0][key], states[1][key]];
        eprintln!(
            "{many} frames: {} answers, {lost} wrong, of {:?} in the kernel",
            answers[&ON],
            of("offloaded")
        );
        assert!(of("offloaded")[0] > many as u64 / 5);
        assert_eq!(of("served")[0] - lost, of("served")[1]);
        // The kernel does not count all of those that it drops for their checksum.
        let [on, off] = of("undelivered");
        assert!((on..=on + lost).contains(&off), "{on} and {off}, {lost} with a wrong checksum");
        for reason in [
            "denied",
            "not-allowed",
            "source-address",
            "destination-address",
            "source-port",
            "own-listener",
            "unanswerable",
            "refused",
        ] {
            assert_eq!(of(reason)[0], of(reason)[1], "{reason}");
        }
    });
}
