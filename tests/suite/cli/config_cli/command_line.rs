//! Options and their combinations, the exit codes, and the announcement.

use super::LISTENER;
use crate::harness::{Echod, Launch, other_loopback};

#[test]
fn wrong_usage_is_64_and_help_is_0() {
    for args in [&["--no-such-flag"][..], &["--log-level", "loud"], &["surplus"]] {
        Launch::new().args(args).run().expect(64, &[args[args.len() - 1].trim_start_matches('-')]);
    }
    for args in [&["--help"][..], &["-h"]] {
        let help = Launch::new().args(args).run();
        help.expect(0, &[]);
        for flag in [
            "--config",
            "--listen",
            "--check",
            "--print-config",
            "--announce",
            "--verbose",
            "--quiet",
            "--log-level",
            "--log-format",
        ] {
            assert!(help.stdout.contains(flag), "no {flag} in the help");
        }
    }
    let version = Launch::new().args(&["--version"]).run();
    assert_eq!(version.stdout.trim(), concat!("echod ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_missing_file_is_66() {
    Launch::new().args(&["--config", "nowhere.toml"]).run().expect(66, &["cannot read", "nowhere.toml"]);
}

#[test]
fn a_port_in_use_is_69() {
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for (protocol, port) in
        [("tcp", tcp.local_addr().unwrap().port()), ("udp", udp.local_addr().unwrap().port())]
    {
        let url = format!("{protocol}://127.0.0.1:{port}");
        let failed = Launch::new().args(&["--announce", "-l", &url]).run();
        failed.expect(69, &["cannot bind", &url, "in use"]);
        assert!(failed.stdout.is_empty(), "{}", failed.stdout);
        assert_eq!(failed.stderr.matches("cannot bind").count(), 1, "{}", failed.stderr);
    }
}

#[test]
fn listen_takes_every_key_as_a_parameter() {
    let daemon = Echod::with_args(&[
        "--listen",
        "tcp://127.0.0.1:0?name=loud&mode=forking&service=upper&max-connections=3&nodelay=false",
        "-l",
        &format!("udp://{}:0?name=u&workers=2", other_loopback()),
        "-l",
        "unix:it.sock?name=x&socket-mode=0600&payload=text",
        "-l",
        "unix-datagram:d.sock?mode=iterative&name=d",
    ]);
    assert_eq!(daemon.announced.len(), 4);
    let loud = &daemon.announced[0];
    assert_eq!((loud["mode"].as_str(), loud["service"].as_str()), (Some("forking"), Some("upper")));
    assert_eq!(daemon.client("loud").ask(b"hello"), b"HELLO");
    ["u", "x", "d"].iter().for_each(|name| daemon.client(name).echo(b"hello"));
}

#[test]
fn a_file_and_listen_are_added_up() {
    let daemon = Launch::new().config(LISTENER).args(&["-l", "udp://127.0.0.1:0?name=more"]).start();
    daemon.client("web").echo(b"from the file");
    daemon.client("more").echo(b"from the command line");
}

/// One object for each socket, with all that a script needs; then the end of standard output.
#[test]
fn announcement_tells_where_to_connect() {
    let daemon = Echod::start(&format!(
        "{LISTENER}[[listener]]\nname = \"x\"\nprotocol = \"unix\"\naddress = \"it.sock\"\nmode = \"iterative\"\n"
    ));
    let port = daemon.port("web");
    let expected = serde_json::json!({
        "name": "web", "url": format!("tcp://127.0.0.1:{port}"), "protocol": "tcp",
        "address": format!("127.0.0.1:{port}"), "mode": "epoll", "service": "echo",
    });
    assert_eq!(daemon.announced[0], expected);
    let address = daemon.announced[1]["address"].as_str().unwrap();
    assert_eq!(daemon.announced[1]["url"], format!("unix:{address}"));
    assert_eq!(daemon.announced.len(), 2);
}
