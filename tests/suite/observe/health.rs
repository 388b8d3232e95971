//! Health is true: it is decided by signs of life of every worker, and names what is not well.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{by_port, exchange, get, observed, one_of_each, status};
use crate::harness::{Client, eventually, has_mode, listener, poll};

#[test]
fn a_daemon_that_serves_is_healthy_and_ready_in_every_mode() {
    let mut listeners = one_of_each();
    for mode in ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"] {
        if has_mode(mode) {
            listeners += &listener(mode, "tcp", &format!("mode = \"{mode}\""));
            listeners += &listener(&format!("{mode}-udp"), "udp", &format!("mode = \"{mode}\""));
        }
    }
    let mut daemon = observed(&listeners);
    for path in ["/healthz", "/readyz"] {
        let reply = get(&daemon, path);
        assert_eq!((reply.status, reply.body.as_str()), (200, "ok\n"), "{path}");
        let reply = exchange(&by_port(&daemon), &format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    daemon.stop();
    assert!(!daemon.path("observe.sock").exists(), "its file is left behind");
}

#[test]
fn a_stopped_process_is_named_and_forgiven_once_it_goes_on() {
    let daemon = observed(&(listener("well", "tcp", "") + &listener("ill", "tcp", "mode = \"forking\"")));
    let process = Pid::from_raw(daemon.children()[0]);
    kill(process, Signal::SIGSTOP).unwrap();
    for path in ["/healthz", "/readyz"] {
        let reply = get(&daemon, path);
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (503, "listener \"ill\" does not respond\n"),
            "{path}"
        );
    }
    kill(process, Signal::SIGCONT).unwrap();
    eventually("health", || (get(&daemon, "/readyz").status == 200).then_some(()));
}

#[test]
fn a_supervisor_that_is_stopped_is_not_healthy() {
    // The whole process is stopped, and the endpoint with it: whoever asks meets silence, never "ok".
    let daemon = observed(&listener("it", "tcp", ""));
    assert_eq!(get(&daemon, "/healthz").status, 200);
    daemon.signal(Signal::SIGSTOP);
    let client = Client::connect(&super::by_file(&daemon));
    client.send(b"GET /healthz HTTP/1.1\r\n\r\n");
    assert!(client.hears_nothing_for(std::time::Duration::from_millis(100)));
    daemon.signal(Signal::SIGCONT);
    assert_eq!(super::reply(&client).status, 200);
}

#[test]
fn readiness_ends_with_the_drain_and_health_does_not() {
    let mut daemon =
        observed(&("[daemon]\ndrain-timeout = \"60s\"\n".to_owned() + &listener("it", "tcp", "")));
    let client = daemon.client("it");
    client.echo(b"x");
    daemon.signal(Signal::SIGTERM);
    let reply = poll(|| Some(get(&daemon, "/readyz")).filter(|reply| reply.status == 503)).unwrap();
    assert!(reply.body.starts_with("draining\n"), "{reply:?}");
    assert_eq!(get(&daemon, "/healthz").status, 200);
    assert_eq!(status(&daemon)["draining"], true);
    drop(client);
    daemon.expect_success();
}

#[test]
fn a_refused_reload_is_told_and_the_listeners_stay_ready() {
    let listeners = listener("it", "tcp", "");
    let daemon = observed(&listeners);
    assert_eq!(status(&daemon)["reload"]["successful"], true);
    daemon.reload("nonsense = 1");
    let seen = status(&daemon);
    assert_eq!(seen["reload"]["successful"], false);
    let why = seen["reload"]["refused"].as_str().unwrap();
    assert!(why.contains(".toml:") && why.ends_with(":1: unknown key `nonsense`"), "{why}");
    assert_eq!(get(&daemon, "/readyz").status, 200);
    daemon.reload(&format!("{}{listeners}", super::OBSERVE));
    assert_eq!(status(&daemon)["reload"]["successful"], true);
}
