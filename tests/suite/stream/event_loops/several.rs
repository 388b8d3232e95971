//! Several loops of one listener: e11.

use std::{
    fs,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{STREAMS, combination};
use crate::{
    harness::{Echod, Launch},
    matrix::Combination,
};

in_every_mode! { e11_two_loops_serve_all e11_every_queue_is_drained_at_the_end }

/// Two loops share a port by `SO_REUSEPORT`; that must not let another daemon in.
#[test]
fn e11_a_second_daemon_is_refused() {
    for protocol in ["tcp", "udp"] {
        let listen = |port| format!("{protocol}://127.0.0.1:{port}?name=it&mode=epoll&workers=2");
        let daemon = Echod::with_args(&["--listen", &listen(0)]);
        let Err(second) = Launch::new().args(&["--listen", &listen(daemon.port("it"))]).try_start() else {
            panic!("{protocol}: a second daemon serves the same port");
        };
        second.expect(69, &["cannot bind"]);
        daemon.client("it").echo(b"the first still serves");
    }
}

/// Both loops have clients: of a port the kernel gives each loop its share, of a shared socket whoever is free takes one.
fn e11_two_loops_serve_all(mode: &'static str) {
    for socket in STREAMS {
        let daemon = Combination { workers: "2", ..combination(mode, socket) }.start();
        let before = wakeups(&daemon);
        // Enough for one loop to be busy with them when the others come.
        daemon.signal(Signal::SIGSTOP);
        let clients = (0..64).map(|_| daemon.client("it")).collect::<Vec<_>>();
        daemon.signal(Signal::SIGCONT);
        for round in 0..20 {
            clients.iter().for_each(|client| client.send(format!("round {round:3}").as_bytes()));
            clients
                .iter()
                .for_each(|client| assert_eq!(client.receive(9), format!("round {round:3}").as_bytes()));
        }
        let busy = wakeups(&daemon).into_iter().filter(|task| !before.contains(task)).count();
        assert!(busy >= 2 || socket.0 != "tcp", "{busy} threads did it all");
        drop(clients);
        daemon.wait_state("it", |state| state["open"] == 0 && state["served"] == 64);
    }
}

/// How often each thread has waited.
fn wakeups(daemon: &Echod) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let of = |status: &str| status.lines().find(|line| line.starts_with("voluntary")).unwrap().to_owned();
    tasks
        .map(|task| task.unwrap())
        .map(|task| {
            let status = fs::read_to_string(task.path().join("status")).unwrap();
            (task.file_name().into_string().unwrap(), of(&status))
        })
        .collect()
}

fn e11_every_queue_is_drained_at_the_end(mode: &'static str) {
    for socket in STREAMS {
        let combination = Combination { workers: "2", ..combination(mode, socket) };
        let mut daemon = combination.start_with("drain-timeout = \"60s\"", "");
        daemon.signal(Signal::SIGSTOP);
        let clients = (0..50).map(|_| daemon.client("it")).collect::<Vec<_>>();
        clients.iter().for_each(|client| client.send(b"just in time"));
        daemon.signal(Signal::SIGTERM);
        let stopped = Instant::now();
        daemon.signal(Signal::SIGCONT);
        for client in clients {
            assert_eq!(client.rest(), b"just in time");
        }
        daemon.expect_success();
        assert!(stopped.elapsed() < Duration::from_secs(20), "the drain took {:?}", stopped.elapsed());
    }
}
