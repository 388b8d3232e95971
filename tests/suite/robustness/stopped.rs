//! A machine that stops the daemon for a moment, again and again, as a hypervisor, a freezer of control groups or Ctrl-Z does:
//! system calls with a time-out come back with EINTR (signal(7)), and nobody notices.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    harness::{Client, Echod, Over, eventually, listener, poll, proc},
    lifecycle::reload::modes,
};

/// Stops and continues all processes of a daemon once.
fn stop_for_a_moment(daemon: &Echod) {
    for signal in [Signal::SIGSTOP, Signal::SIGCONT] {
        // It may have ended meanwhile.
        let all = [vec![daemon.pid()], proc::descendants(daemon.pid())].concat();
        all.into_iter().for_each(|pid| _ = kill(Pid::from_raw(pid), signal));
    }
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
