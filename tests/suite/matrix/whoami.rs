//! What whoami tells of a client, held against what the client knows of itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::unistd::{getegid, geteuid};
use serde_json::{Value, json};

use super::{Combination, service_stream::serve};
use crate::harness::{Client, Echod, Endpoint};

/// What the documents say is long enough for any answer to a datagram.
pub(crate) const PADDED: [u8; 1200] = [b'?'; 1200];

/// The one line of an answer.
#[track_caller]
pub(crate) fn line(answer: &[u8]) -> Value {
    let line = std::str::from_utf8(answer).unwrap();
    assert!(line.ends_with('\n') && line.lines().count() == 1, "{line:?}");
    serde_json::from_str(line).unwrap()
}

pub(super) fn whoami(combination: Combination) {
    let daemon = serve(combination, "whoami");
    for _ in 0..3 {
        let client = daemon.client("it");
        let told = line(&client.rest());
        assert_told(&told, combination, &daemon, &client);
        assert_eq!(told["received_by"], "server");
        match combination.protocol {
            // The TTL of this machine, and no class.
            "tcp" => {
                assert_eq!([&told["ttl"], &told["dscp"], &told["ecn"]], [&json!(64), &json!(0), &json!(0)])
            }
            _ => assert!(told.get("ttl").is_none() && told.get("dscp").is_none()),
        }
    }
}

pub(super) fn whoami_behind_a_proxy(combination: Combination) {
    let keys = "service = \"whoami\"\nproxy-protocol = \"optional\"\nproxy-header-timeout = \"1m\"";
    let daemon = combination.start_with("", keys);
    let source = json!({"address": "203.0.113.7", "port": 40_000});
    let destination = json!({"address": "192.0.2.1", "port": 7});
    let client = daemon.client("it");
    client.send(b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 7\r\n");
    let told = line(&client.rest());
    assert_told(&told, combination, &daemon, &client);
    let expected = json!({"version": 1, "command": "proxy", "source": source, "destination": destination});
    assert_eq!(told["proxy"], expected);

    // Fields of every length up to the limit, of bytes that JSON has to escape: longer than the buffer of any mode.
    let long = vec![b'\n'; 1000];
    let fields = [tlv(1, b"h2"), tlv(2, &long), tlv(5, &long), tlv(0x30, &long), tlv(0xea, &long)].concat();
    let addresses = [203, 0, 113, 7, 192, 0, 2, 1, 0x9c, 0x40, 0, 7];
    let body = [&addresses[..], &fields].concat();
    let client = daemon.client("it");
    client.send(&[&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &(body.len() as u16).to_be_bytes(), &body].concat());
    client.send(b"what comes behind it is thrown away");
    let told = line(&client.rest());
    assert_told(&told, combination, &daemon, &client);
    let long = "\n".repeat(1000);
    let expected = json!({
        "version": 2, "command": "proxy", "source": source, "destination": destination,
        "alpn": "h2", "authority": long, "unique_id": long, "netns": long,
    });
    assert_eq!(told["proxy"], expected);

    let client = daemon.client("it");
    client.send(b"no header");
    let told = line(&client.rest());
    assert_told(&told, combination, &daemon, &client);
    assert!(told.get("proxy").is_none(), "{told}");
}

pub(super) fn whoami_datagram(combination: Combination) {
    let daemon = serve(combination, "whoami");
    let (client, other) = (daemon.client("it"), daemon.client("it"));
    for client in [&client, &other, &client] {
        let answer = client.ask(&PADDED);
        let told = line(&answer);
        assert_told(&told, combination, &daemon, client);
        assert_eq!(told["received_by"], "kernel");
        match combination.protocol {
            "udp" => {
                assert_eq!([&told["ttl"], &told["dscp"], &told["ecn"]], [&json!(64), &json!(0), &json!(0)])
            }
            _ => assert!(told.get("ttl").is_none() && told.get("dscp").is_none()),
        }
        // As long as the answer is long enough.
        let exact = client.ask(&vec![0; answer.len()]);
        assert!(exact.len() <= answer.len() && line(&exact)["peer"] == told["peer"]);
        client.send(&[0; 200]);
        client.send(b"");
    }
    daemon.wait_state("it", |state| state["unpadded"] == 6 && state["refused"] == 6);
    assert!(client.has_nothing() && other.has_nothing());
}

/// A field of a PROXY header.
pub(crate) fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &(value.len() as u16).to_be_bytes()[..], value].concat()
}

/// What is so for every client.
#[track_caller]
fn assert_told(told: &Value, combination: Combination, daemon: &Echod, client: &Client) {
    let own = client.socket.local_addr().unwrap();
    let (peer, local) = match daemon.endpoint("it") {
        Endpoint::Tcp(asked) | Endpoint::Udp(asked) => {
            let own = own.as_socket().unwrap();
            let end = |ip: String, port: u16| json!({"address": ip, "port": port});
            (end(own.ip().to_string(), own.port()), end(asked.ip().to_string(), asked.port()))
        }
        Endpoint::Unix(_) | Endpoint::UnixSeqpacket(_) | Endpoint::UnixDatagram(_) => {
            let name = own.as_abstract_namespace().map(|name| format!("@{}", String::from_utf8_lossy(name)));
            // The configuration has the path from its own directory.
            (
                name.map_or(Value::Null, |name| json!({"address": name})),
                json!({"address": combination.address}),
            )
        }
    };
    assert_eq!((&told["service"], &told["listener"]), (&json!("whoami"), &json!("it")));
    assert_eq!(told["protocol"], combination.protocol);
    assert_eq!((&told["peer"], &told["local"]), (&peer, &local), "{told}");
    let process = json!({"pid": std::process::id(), "uid": geteuid().as_raw(), "gid": getegid().as_raw()});
    let is_unix = combination.protocol.starts_with("unix");
    assert_eq!(told["process"], if is_unix { process } else { Value::Null }, "{told}");
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(told["server"], json!({"hostname": hostname.trim_end()}));
    // A minute is long enough for any machine, and a time zone is longer.
    let received: jiff::Timestamp = told["received"].as_str().unwrap().parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let apart =
        now.abs_diff(Duration::try_from(received.duration_since(jiff::Timestamp::UNIX_EPOCH)).unwrap());
    assert!(apart < Duration::from_secs(600), "{told}");
}
