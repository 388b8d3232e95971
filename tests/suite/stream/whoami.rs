//! whoami where a listener has several addresses, where clients set what the kernel notes, where a proxy lies, and where the service
//! changes while clients are there.

use std::os::{fd::AsFd, linux::net::SocketAddrExt};

use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};

use crate::{
    harness::{Client, Echod, Endpoint, Launch, can_be_had, has_mode, has_python},
    matrix::whoami::{PADDED, line, tlv},
};

const MODES: [(&str, &str); 9] = [
    ("iterative", ""),
    ("threading", ""),
    ("forking", ""),
    ("forking", "workers = \"per-request\""),
    ("select", ""),
    ("poll", ""),
    ("epoll", ""),
    ("epoll", "trigger = \"edge\""),
    ("io-uring", ""),
];

fn listener(protocol: &str, address: &str, (mode, more): (&str, &str), keys: &str) -> String {
    format!(
        "[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\nmode = \"{mode}\"\n{more}\n\
         service = \"whoami\"\n{keys}\n"
    )
}

fn asked(client: &Client) -> Value {
    match client.is_datagram() {
        true => line(&client.ask(&PADDED)),
        false => line(&client.rest()),
    }
}

/// A client that says how far its packets may go, and of which class they are, before it says anything else.
fn marked(to: &Endpoint) -> Client {
    let client = Client::prepared(to, |socket| {
        let is_v4 = matches!(to, Endpoint::Tcp(at) | Endpoint::Udp(at) if at.is_ipv4());
        match is_v4 {
            true => {
                socket.set_ttl_v4(17).unwrap();
                socket.set_tos_v4(46 << 2).unwrap();
            }
            false => {
                socket.set_unicast_hops_v6(17).unwrap();
                nix::sys::socket::setsockopt(
                    &socket.as_fd(),
                    nix::sys::socket::sockopt::Ipv6TClass,
                    &(46 << 2),
                )
                .unwrap();
            }
        }
    });
    client.unwrap()
}

/// Each of these reaches one socket for both families, and the answer tells which address was asked.
#[test]
fn every_address_of_a_wildcard_is_told() {
    for mode in MODES.into_iter().filter(|(mode, _)| has_mode(mode)) {
        for protocol in ["tcp", "udp"] {
            for (address, asked_at) in
                [("0.0.0.0:0", "127.0.0.5"), ("[::]:0", "::1"), ("[::]:0", "127.0.0.5"), ("[::1]:0", "::1")]
            {
                if !can_be_had(address) {
                    continue;
                }
                let daemon =
                    Echod::start(&listener(protocol, address, mode, "allow = [\"127.0.0.0/8\", \"::1\"]"));
                let mut endpoint = daemon.endpoint("it");
                endpoint.set_ip(asked_at.parse().unwrap());
                let client = marked(&endpoint);
                let own = client.socket.local_addr().unwrap().as_socket().unwrap();
                let told = asked(&client);
                let context = format!("{mode:?} {protocol} {address} {asked_at}: {told}");
                assert_eq!(
                    told["peer"],
                    json!({"address": own.ip().to_string(), "port": own.port()}),
                    "{context}"
                );
                assert_eq!(
                    told["local"],
                    json!({"address": asked_at, "port": endpoint.inet().port()}),
                    "{context}"
                );
                assert_eq!(told["ttl"], 17, "{context}");
                assert_eq!((&told["dscp"], &told["ecn"]), (&json!(46), &json!(0)), "{context}");
            }
        }
    }
}

/// The limits of a header hold; what its fields hold is not looked at before it is told, and cannot break the line.
#[test]
fn hostile_fields_are_told_or_left_out() {
    let daemon =
        Echod::start(&listener("tcp", "127.0.0.1:0", ("epoll", ""), "proxy-protocol = \"required\""));
    let every: Vec<u8> = (0..=255).collect();
    let ssl = [&[1, 0, 0, 0, 0][..], &tlv(0x21, b"TLSv1.3"), &[0x22, 0xff, 0xff, b'x']].concat();
    let hostile: [(Vec<u8>, Value); 8] = [
        (
            tlv(1, &every),
            json!({"alpn": {"hex": every.iter().map(|byte| format!("{byte:02x}")).collect::<String>()}}),
        ),
        (tlv(2, b"\"}\n{\"a\":\"\\"), json!({"authority": "\"}\n{\"a\":\"\\"})),
        (tlv(5, "\u{2028}\u{0}\u{7f}".as_bytes()), json!({"unique_id": "\u{2028}\u{0}\u{7f}"})),
        (
            tlv(0x20, &ssl),
            json!({"ssl": {"tls": true, "certificate": false, "verified": false, "version": "TLSv1.3"}}),
        ),
        (tlv(0x20, b""), json!({})),
        (tlv(0xea, b""), json!({})),
        (tlv(0xee, &[1, 2]), json!({})),
        ([tlv(1, b"first"), tlv(1, b"second")].concat(), json!({"alpn": "first"})),
    ];
    for (fields, expected) in hostile {
        let client = daemon.client("it");
        client.send(
            &[&b"\r\n\r\n\0\r\nQUIT\n\x21\x00"[..], &(fields.len() as u16).to_be_bytes(), &fields].concat(),
        );
        let mut told = line(&client.rest());
        let proxy = told["proxy"].as_object_mut().unwrap();
        assert_eq!(
            (proxy.remove("version"), proxy.remove("command")),
            (Some(json!(2)), Some(json!("proxy")))
        );
        assert_eq!(told["proxy"], expected);
    }
    // Longer than any header may be: the smallest fields.
    let many = tlv(1, b"").repeat(1400);
    let client = daemon.client("it");
    client.send(&[&b"\r\n\r\n\0\r\nQUIT\n\x21\x00"[..], &(many.len() as u16).to_be_bytes(), &many].concat());
    assert!(client.is_ended());
    daemon.wait_state("it", |state| state["proxy-header"] == 1 && state["died"] == 0);
}

/// Bytes that are no text are told all, not as the sign for what cannot be read.
#[test]
fn names_of_sockets_that_are_no_text_are_told_in_hexadecimal() {
    let daemon =
        Echod::start(&listener("tcp", "127.0.0.1:0", ("epoll", ""), "proxy-protocol = \"required\""));
    let client = daemon.client("it");
    let name = |bytes: &[u8]| [bytes, &vec![0; 108 - bytes.len()]].concat();
    client.send(&[&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8"[..], &name(b"/run/a"), &name(b"\xff\xfe")].concat());
    let told = line(&client.rest());
    let expected = [json!({"address": "/run/a"}), json!({"address": {"hex": "fffe"}})];
    assert_eq!([&told["proxy"]["source"], &told["proxy"]["destination"]], [&expected[0], &expected[1]]);

    let daemon = Echod::start(&listener("unix-datagram", "it.sock", ("epoll", ""), ""));
    let name = [b"echod-test-\xff-", std::process::id().to_string().as_bytes()].concat();
    let bytes = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let socket = std::os::unix::net::UnixDatagram::bind_addr(&bytes).unwrap();
    socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    socket.send_to(&PADDED, daemon.path("it.sock")).unwrap();
    let mut answer = [0; 2000];
    let length = crate::harness::uninterrupted(|| socket.recv(&mut answer)).unwrap();
    let hex: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(line(&answer[..length])["peer"], json!({"address": {"hex": format!("00{hex}")}}));
}

/// A proxy's check of its own tells of nobody.
#[test]
fn a_proxy_that_speaks_for_itself_is_the_client() {
    let daemon =
        Echod::start(&listener("tcp", "127.0.0.1:0", ("epoll", ""), "proxy-protocol = \"required\""));
    let client = daemon.client("it");
    client.send(b"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\x0c0123456789ab");
    assert_eq!(line(&client.rest())["proxy"], json!({"version": 2, "command": "local"}));
    let client = daemon.client("it");
    client.send(b"PROXY UNKNOWN\r\n");
    assert_eq!(line(&client.rest())["proxy"], json!({"version": 1, "command": "unknown"}));
}

#[test]
fn node_and_pod_come_from_the_environment() {
    for mode in MODES.into_iter().filter(|(mode, _)| has_mode(mode)) {
        let launch = Launch::new().config(&listener("tcp", "127.0.0.1:0", mode, ""));
        let daemon = launch.env("ECHOD_NODE", "worker-7").env("ECHOD_POD", "echod-\u{e4}\"x").start();
        let told = line(&daemon.client("it").rest());
        assert_eq!(
            (&told["server"]["node"], &told["server"]["pod"]),
            (&json!("worker-7"), &json!("echod-\u{e4}\"x"))
        );
    }
}

/// The padding that is documented, and that a refusal tells as the cure, is enough whatever the names are.
#[test]
fn a_padded_request_is_answered_however_long_the_names_are() {
    let name = "\u{e4}".repeat(500);
    for (protocol, address) in [("udp", "127.0.0.1:0"), ("unix-datagram", "it.sock")] {
        let toml = listener(protocol, address, ("epoll", ""), "").replace("\"it\"", &format!("\"{name}\""));
        let controls = "\u{1}".repeat(300);
        let launch = Launch::new().config(&toml).env("ECHOD_NODE", &controls).env("ECHOD_POD", &controls);
        let daemon = launch.start();
        let told = line(&daemon.client(&name).ask(&PADDED));
        let names = [&told["listener"], &told["server"]["node"], &told["server"]["pod"]];
        for (told, full) in names.into_iter().zip([&name, &controls, &controls]) {
            let told = told.as_str().unwrap();
            assert!(told.len() >= 20 && full.starts_with(told), "{protocol}: {told:?}");
        }
    }
}

/// The kernel notes for whoami what it does not for echo, at a socket that stays the same.
#[test]
fn a_reload_changes_the_service_of_a_socket() {
    for mode in [("epoll", ""), ("forking", ""), ("threading", "")] {
        for protocol in ["tcp", "udp"] {
            let address = "127.0.0.1:0";
            let echo = listener(protocol, address, mode, "").replace("service = \"whoami\"\n", "");
            let daemon = Echod::start(&echo);
            daemon.client("it").echo(b"an echo");
            for _ in 0..2 {
                daemon.reload(&listener(protocol, address, mode, ""));
                let told = asked(&daemon.client("it"));
                assert_eq!(
                    (&told["service"], &told["ttl"]),
                    (&json!("whoami"), &json!(64)),
                    "{mode:?} {protocol}"
                );
                daemon.reload(&echo);
                daemon.client("it").echo(b"an echo again");
            }
        }
    }
}

/// Who allows amplification gets an answer to anything.
#[test]
fn amplification_is_for_the_configuration_to_allow() {
    for (protocol, address) in [("udp", "127.0.0.1:0"), ("unix-datagram", "it.sock")] {
        let daemon = Echod::start(&listener(protocol, address, ("epoll", ""), "allow-amplification = true"));
        assert_eq!(line(&daemon.client("it").ask(b""))["protocol"], protocol);
    }
}

/// A datagram that was there before the kernel was asked to note anything is answered with what it did note.
#[test]
fn what_waited_in_a_passed_socket_is_answered() {
    if !has_python("no socket was passed") {
        return;
    }
    for mode in MODES.into_iter().filter(|(mode, _)| has_mode(mode)) {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let endpoint = Endpoint::Udp(SockRef::from(&socket).local_addr().unwrap().as_socket().unwrap());
        let client = Client::connect(&endpoint);
        client.send(&PADDED);
        let toml = listener("udp", "127.0.0.1:9", mode, "");
        let _daemon = Launch::new().config(&toml).pass("it", &socket).start();
        let told = line(&client.receive(0));
        assert_eq!(told["local"]["port"], endpoint.inet().port(), "{told}");
        assert_eq!(line(&client.ask(&PADDED))["ttl"], 64);
    }
}
