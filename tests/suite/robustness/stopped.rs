//! A machine that stops the daemon for a moment, again and again, as a hypervisor, a freezer of control groups or Ctrl-Z does:
//! system calls with a time-out come back with EINTR (signal(7)), and nobody notices.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    harness::{Client, Echod, Over, eventually, listener, poll, proc},
    lifecycle::reload::modes,
};

/// Sends a signal to all processes of a daemon.
fn signal(daemon: &Echod, signal: Signal) {
    // It may have ended meanwhile.
    family(daemon).into_iter().for_each(|pid| _ = kill(Pid::from_raw(pid), signal));
}

fn family(daemon: &Echod) -> Vec<i32> {
    [vec![daemon.pid()], proc::descendants(daemon.pid())].concat()
}

/// Stops all threads of a daemon.
fn stop(daemon: &Echod) {
    signal(daemon, Signal::SIGSTOP);
    let is_stopped = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status.contains("\nState:\tT")
    };
    let all_are = |pid| fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().all(is_stopped);
    eventually("the stop", || family(daemon).into_iter().all(all_are).then_some(()));
}

fn stop_for_a_moment(daemon: &Echod) {
    signal(daemon, Signal::SIGSTOP);
    signal(daemon, Signal::SIGCONT);
}

/// Does `work` while the machine stops the daemon every few milliseconds.
fn while_stopped_again_and_again(daemon: &Echod, work: impl FnOnce()) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            poll(|| {
                stop_for_a_moment(daemon);
                over.load(Relaxed).then_some(())
            })
        });
        let _over = Over(&over);
        work();
    });
}

#[test]
fn clients_and_reloads_do_not_notice() {
    for protocol in ["tcp", "udp"] {
        for (mode, workers) in modes() {
            let toml = |service: &str| {
                let keys =
                    format!("mode = \"{mode}\"\n{workers}\nservice = \"{service}\"\nidle-timeout = \"1h\"");
                let keys =
                    if protocol.contains("d") { keys.replace("idle-timeout = \"1h\"", "") } else { keys };
                listener("it", protocol, &keys)
            };
            let mut daemon = Echod::start(&toml("echo"));
            while_stopped_again_and_again(&daemon, || {
                for service in ["upper", "echo"] {
                    let client = daemon.client("it");
                    (0..5).for_each(|_| assert!(client.ask(b"hello").eq_ignore_ascii_case(b"hello")));
                    drop(client);
                    daemon.reload(&toml(service));
                }
            });
            daemon.stop();
            daemon.expect_no_trouble();
        }
    }
}

/// The kernel counts a time-out from the start when a call is repeated.
#[test]
fn time_outs_come_to_an_end() {
    for limit in ["idle-timeout", "max-lifetime"] {
        for mode in ["iterative", "threading", "forking"] {
            let keys = format!("mode = \"{mode}\"\n{limit} = \"300ms\"");
            let daemon = Echod::start(&listener("it", "tcp", &keys));
            let client: Client = daemon.client("it");
            eventually("the end of the connection", || {
                stop_for_a_moment(&daemon);
                (!client.hears_nothing_for(Duration::from_millis(50))).then_some(())
            });
            assert!(client.is_ended());
            daemon.wait_state("it", |state| state[limit] == 1);
        }
    }
}

/// What came in time while nobody looked is answered, before the time-outs are looked at.
#[test]
fn who_spoke_in_time_is_not_cut_after_a_stop() {
    const IDLE: Duration = Duration::from_millis(300);
    for mode in ["iterative", "threading", "forking", "select", "poll", "epoll", "edge", "io-uring"] {
        let (name, trigger) = if mode == "edge" { ("epoll", "trigger = \"edge\"") } else { (mode, "") };
        let keys = format!("mode = \"{name}\"\n{trigger}\nidle-timeout = \"{IDLE:?}\"");
        let daemon = Echod::start(&listener("it", "tcp", &keys));
        let is_spared = (0..20).any(|_| {
            let (client, since) = (daemon.client("it"), Instant::now());
            let is_echoed =
                client.try_send(b"before").is_ok() && client.read(&mut [0; 6]).is_ok_and(|n| n == 6);
            stop(&daemon);
            let is_sent = client.try_send(b"x").is_ok();
            let held_up = since.elapsed();
            assert!(!is_echoed || client.hears_nothing_for(2 * IDLE));
            signal(&daemon, Signal::SIGCONT);
            let is_spared = is_echoed && is_sent && client.read(&mut [0]).is_ok_and(|n| n == 1);
            // On a busy machine this client itself may be held up for so long: then it has another try.
            assert!(is_spared || held_up >= IDLE, "{mode}: {}", daemon.log());
            is_spared
        });
        assert!(is_spared, "{mode}");
    }
}
