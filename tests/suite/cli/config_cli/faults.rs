//! Configurations that are refused, and in which words.

use super::LISTENER;
use crate::harness::{Echod, Launch};

#[test]
fn a_misspelt_key_is_cited_with_the_nearest_one() {
    let failed = Launch::new().config(&format!("{LISTENER}max-conections = 3\n")).run();
    failed.expect(
        78,
        &[
            "max-conections",
            "echod.toml:5:1",
            "^^^^^^^^^^^^^^",
            "did you mean `max-connections`",
            "max-conections = 3",
        ],
    );
}

#[test]
fn all_faults_are_reported_in_one_run() {
    let toml = format!(
        "[daemon]\ndrain-timeout = \"soon\"\n{LISTENER}{LISTENER}[[listener]]\nname = \"u\"\nprotocol = \"udp\"\n\
         address = \"nonsense\"\nsocket-mode = \"9\"\n"
    );
    refused(&toml, &["drain-timeout", "soon", "web", "nonsense", "socket-mode"]);
}

#[test]
fn faulty_values_are_refused() {
    for (key, word) in [
        ("mode = \"threaded\"", "threading"),
        ("service = \"ehco\"", "echo"),
        ("workers = 0", "workers"),
        ("workers = \"many\"", "workers"),
        ("max-connections = -1", "max-connections"),
        ("keepalive = \"-3s\"", "keepalive"),
        ("payload = \"yes\"", "payload"),
        ("nodelay = \"perhaps\"", "nodelay"),
        ("receive-buffer = \"64 bananas\"", "receive-buffer"),
        ("socket-mode = \"0666\"", "socket-mode"),
        ("allow-amplification = true", "allow-amplification"),
    ] {
        let toml = format!("{LISTENER}{key}\n");
        refused(&toml, &[key.split(' ').next().unwrap(), word, "echod.toml:5:"]);
    }
}

#[test]
fn faulty_listeners_are_refused() {
    let listener = |protocol: &str, address: &str| {
        format!("[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\n")
    };
    refused(&listener("sctp", "127.0.0.1:0"), &["sctp"]);
    refused(&listener("tcp", "127.0.0.1"), &["127.0.0.1"]);
    refused(&listener("tcp", "127.0.0.1:70000"), &["70000"]);
    refused(&listener("tcp", "127.0.0.1:7009-7000"), &["7009-7000"]);
    refused("[[listener]]\nname = \"it\"\naddress = \"127.0.0.1:0\"\n", &["protocol"]);
    refused("[[listener]]\nname = \"it\"\nprotocol = \"tcp\"\n", &["address"]);
    refused("[[listener]\n", &["echod.toml:1:"]);
    refused(
        &listener("unix", "it.sock").replace("[[", "[daemon]\nsocket-user = \"nobody\"\n[["),
        &["socket-user"],
    );
    refused(
        &(listener("unix", "it.sock") + "socket-user = \"no-such-user-here\"\n"),
        &["no-such-user-here", "echod.toml:5:"],
    );
}

#[test]
fn two_listeners_on_one_address_are_refused() {
    let two = LISTENER.replace(":0", ":7777") + &LISTENER.replace(":0", ":7777").replace("web", "other");
    refused(&two, &["127.0.0.1:7777", "web", "other"]);
    // Port 0 is another one each time, and protocols do not share their ports.
    let fine = LISTENER.to_owned()
        + &LISTENER.replace("web", "other")
        + &LISTENER.replace("web", "u").replace("tcp", "udp");
    Launch::new().config(&fine).args(&["--check"]).run().expect(0, &[]);
}

#[test]
fn faulty_urls_are_refused() {
    for (url, word) in [
        ("ftp://127.0.0.1:0", "ftp"),
        ("tcp://127.0.0.1:0?mdoe=forking", "mode"),
        ("tcp://127.0.0.1:0?mode=fork", "fork"),
        ("tcp://127.0.0.1", "127.0.0.1"),
        ("nonsense", "nonsense"),
    ] {
        let failed = Launch::new().args(&["-l", url]).run();
        failed.expect(64, &[word]);
    }
}

/// A loop that looks for work before it sleeps still serves, and sleeps in the end.
#[test]
fn busy_poll_serves_and_ends() {
    let daemon = Echod::start(&format!("{LISTENER}mode = \"epoll\"\nbusy-poll = \"1ms\"\n"));
    let client = daemon.client("web");
    (0..100).for_each(|_| client.echo(b"soon"));
    for wrong in ["0s", "2s", "-1us"] {
        let config = format!("{LISTENER}mode = \"epoll\"\nbusy-poll = \"{wrong}\"\n");
        Launch::new().config(&config).args(&["--check"]).run().expect(78, &["busy-poll"]);
    }
    let config = format!("{LISTENER}mode = \"threading\"\nbusy-poll = \"1ms\"\n");
    Launch::new()
        .config(&config)
        .args(&["--check"])
        .run()
        .expect(78, &["`busy-poll` does not fit mode `threading`"]);
}

#[track_caller]
fn refused(toml: &str, words: &[&str]) {
    // The check and the start refuse alike, and nothing is announced.
    for flag in ["--check", "--announce"] {
        let failed = Launch::new().config(toml).args(&[flag]).run();
        failed.expect(78, words);
        assert!(failed.stdout.is_empty(), "{}", failed.stdout);
    }
}
