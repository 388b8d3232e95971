//! Answers that are longer than their path: on a way that loses its ICMP errors, and where they may not be fragmented at all.

use std::net::{IpAddr, SocketAddr};

use crate::harness::{
    Client, Echod, Endpoint, PATIENCE, Patient, can_be_had, has_ipv6, has_mode,
    netns::{Neighbour, in_namespace, sh},
    pattern, skipped,
};

const MODES: [&str; 7] = ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"];

/// The network of the daemon, a router, and a client behind a link with a lower MTU. The router says nothing about what is too long for
/// that link.
struct Path {
    client: Neighbour,
    _router: Neighbour,
}

impl Path {
    fn new() -> Result<Path, String> {
        let (router, client) = (Neighbour::new(), Neighbour::new());
        sh(&format!(
            "ip link add s0 type veth peer name r0 netns {} && ip address add 192.0.2.1/24 dev s0 && ip link set s0 up && \
             ip route add 198.51.100.0/24 via 192.0.2.2",
            router.name()
        ))?;
        router.sh(format!(
            "ip link add r1 mtu 1280 type veth peer name c0 mtu 1280 netns {} && ip address add 192.0.2.2/24 dev r0 && \
             ip address add 198.51.100.1/24 dev r1 && ip link set r0 up && ip link set r1 up && \
             echo 1 > /proc/sys/net/ipv4/ip_forward && \
             nft 'table inet deaf {{ chain out {{ type filter hook output priority 0; \
             icmp type destination-unreachable drop; }}; }}'",
            client.name()
        ))?;
        client.sh(
            "ip link set c0 up && ip address add 198.51.100.2/24 dev c0 && ip route add default via 198.51.100.1"
                .to_owned(),
        )?;
        Ok(Path { client, _router: router })
    }

    /// The lengths of the first `count` answers to datagrams of [`LENGTHS`], sent at once to this port of the daemon. They are
    /// sent again where some are missing: a busy machine drops datagrams between its namespaces.
    fn answered(&self, port: u16, count: usize) -> Vec<usize> {
        self.client.run(move || {
            let round = || {
                let client = Patient::udp("198.51.100.2:0").within(PATIENCE / 5);
                LENGTHS
                    .iter()
                    .for_each(|&length| _ = client.send_to(pattern(length), ("192.0.2.1", port)).unwrap());
                let mut buffer = [0; 65_536];
                let answers = std::iter::from_fn(|| {
                    let length = client.recv(&mut buffer).ok()?;
                    assert_eq!(&buffer[..length], pattern(length));
                    Some(length)
                });
                let mut came: Vec<_> = answers.take(count).collect();
                came.sort_unstable();
                came
            };
            let mut came = round();
            for _ in 0..4 {
                if came.len() < count {
                    came = round();
                }
            }
            came
        })
    }
}

/// Those of one length that follow each other are answered by segments of one message. What is longer than the first link is cut up
/// there in any case.
const LENGTHS: [usize; 11] = [1400, 1400, 1200, 1200, 1200, 9000, 1400, 1, 1400, 1400, 5];

/// Without the errors the kernel of the daemon never learns that the path is narrow.
#[test]
fn answers_pass_a_narrow_path_that_loses_its_errors_if_they_may_be_fragmented() {
    in_namespace("true", || {
        let path = match Path::new() {
            Ok(path) => path,
            Err(told) => return skipped(told),
        };
        for mode in MODES.into_iter().filter(|mode| has_mode(mode)) {
            for (address, keys) in
                [("192.0.2.1", ""), ("0.0.0.0", ""), ("[::]", ""), ("192.0.2.1", "gso = false")]
            {
                if !can_be_had(address) {
                    continue;
                }
                let narrow = format!(
                    "[[listener]]\nname = \"it\"\nprotocol = \"udp\"\naddress = \"{address}:0\"\nmode = \"{mode}\"\n{keys}\n"
                );
                let wide = narrow.clone() + "dont-fragment = \"off\"\n";
                let daemon = Echod::start(&wide);
                let answered = |count| path.answered(daemon.port("it"), count);
                let all = [1, 5, 1200, 1200, 1200, 1400, 1400, 1400, 1400, 1400, 9000];
                assert_eq!(answered(11), all, "{mode} {address} {keys}");
                daemon.reload(&narrow);
                assert_eq!(answered(6), [1, 5, 1200, 1200, 1200, 9000], "{mode} {address} {keys}");
                daemon.reload(&wide);
                assert_eq!(answered(11), all, "{mode} {address} {keys}");
            }
        }
    });
}

/// It is not sent, and counted.
#[test]
fn an_answer_that_may_never_be_fragmented_is_given_up_where_it_is_too_long() {
    in_namespace("ip link set lo mtu 1500", || {
        for mode in MODES.into_iter().filter(|mode| has_mode(mode)) {
            for address in ["127.0.0.1", "::1"].into_iter().take(if has_ipv6() { 2 } else { 1 }) {
                let ip: IpAddr = address.parse().unwrap();
                let daemon = Echod::start(&format!(
                    "[[listener]]\nname = \"it\"\nprotocol = \"udp\"\naddress = \"{}\"\nmode = \"{mode}\"\ndont-fragment = \"on\"\n",
                    SocketAddr::new(ip, 0)
                ));
                let client = Client::connect(&Endpoint::Udp(SocketAddr::new(ip, daemon.port("it"))));
                let fits = if ip.is_ipv6() { 1452 } else { 1472 };
                client.echo(pattern(fits));
                for _ in 0..3 {
                    client.send(pattern(fits + 1));
                    client.echo(pattern(fits));
                }
                daemon.wait_state("it", |state| {
                    ["served", "oversize", "errors"].map(|key| state[key]) == [7, 3, 0]
                });
                assert!(client.arrived().is_empty(), "{mode} {ip}");
            }
        }
    });
}
