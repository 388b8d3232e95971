//! What the daemon and its service manager tell each other, see sd_notify(3).

use std::fs;

use nix::{
    sys::{ptrace, signal::Signal},
    unistd::Pid,
};

use crate::{
    harness::{Echod, Launch, Manager, eventually},
    matrix::classes,
    robustness::survival::signal_process,
};

const LISTENER: &str = "[[listener]]\nname = \"it\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n";

/// A listener in every mode that waits in its own way.
fn every_mode() -> String {
    let mut toml = "[daemon]\ndrain-timeout = \"60s\"\n[defaults]\nservice = \"echo\"\n".to_owned();
    for (name, mode, more) in [
        ("iterative", "iterative", ""),
        ("threading", "threading", ""),
        ("threads", "threading", "workers = 2"),
        ("forking", "forking", ""),
        ("processes", "forking", "workers = 2"),
        ("select", "select", ""),
        ("poll", "poll", ""),
        ("epoll", "epoll", "workers = 2"),
        ("ring", "io-uring", ""),
        ("edge", "epoll", "trigger = \"edge\""),
    ] {
        for protocol in ["tcp", "udp"] {
            toml += &format!(
                "[[listener]]\nname = \"{name}-{protocol}\"\nprotocol = \"{protocol}\"\n\
                 address = \"127.0.0.1:0\"\nmode = \"{mode}\"\n{more}\n"
            );
        }
    }
    toml
}

fn under(manager: &Manager, toml: &str) -> Launch {
    Launch::new().config(toml).env("NOTIFY_SOCKET", &manager.name)
}

#[test]
fn ready_is_told_once_all_are_served() {
    for manager in [Manager::new(), Manager::nameless()] {
        let mut daemon = under(&manager, &every_mode()).start();
        assert_eq!(manager.next(), "READY=1\nSTATUS=serving 20 listeners");
        daemon.client("processes-tcp").echo(b"hello");
        daemon.stop();
        let last = manager.arrived();
        let stopping = last.iter().filter(|message| message.contains("STOPPING=1")).count();
        assert_eq!(stopping, 1, "{last:?}");
    }
}

#[test]
fn a_start_that_fails_is_never_ready() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let manager = Manager::new();
    let toml = format!("[[listener]]\nname = \"it\"\nprotocol = \"tcp\"\naddress = \"{address}\"\n");
    under(&manager, &toml).run().expect(69, &["cannot bind"]);
    assert!(manager.arrived().is_empty());
}

#[test]
fn a_manager_that_cannot_be_reached_is_a_warning() {
    for name in ["/nowhere/notify", "vsock:2:1", "@nobody-listens-here"] {
        let mut daemon =
            Launch::new().args(&["--listen", "tcp://127.0.0.1:0?name=it"]).env("NOTIFY_SOCKET", name).start();
        daemon.wait_log(|line| line.contains(" WARN ") && line.contains("service manager"));
        daemon.client("it").echo(b"hello");
        daemon.stop();
    }
}

/// While it drains, the manager is told how many are left and how long it may take, and is asked for that time.
#[test]
fn a_drain_is_told() {
    for class in classes().into_iter().filter(|class| class.protocol == "tcp") {
        let manager = Manager::new();
        let toml = format!("[daemon]\ndrain-timeout = \"60s\"\n{LISTENER}mode = \"{}\"\n", class.mode);
        let mut daemon = under(&manager, &toml).start();
        manager.wait("READY=1");
        let client = daemon.client("it");
        client.echo(b"hello");
        // It does not read its echo to the end: so the daemon has something left to send.
        client.flood(crate::harness::pattern(crate::harness::LONG));
        daemon.signal(Signal::SIGTERM);
        let message = manager.wait("STOPPING=1");
        assert!(message.contains("STATUS=draining: 1 open connection left, 60 s at most"), "{message}");
        assert!(message.contains("EXTEND_TIMEOUT_USEC=62000000"), "{message}");
        let message = manager.next();
        assert!(message.starts_with("EXTEND_TIMEOUT_USEC="), "{message}");
        assert!(message.contains("STATUS=draining: 1 open connection left, 59 s"), "{message}");
        drop(client);
        daemon.expect_success();
    }
}

/// The pings come as long as all answer, whatever mode they wait in.
#[test]
fn the_watchdog_is_pinged() {
    let manager = Manager::new();
    let launch = under(&manager, &every_mode()).env("WATCHDOG_USEC", 1_000_000);
    let mut daemon = launch.shell("WATCHDOG_PID=$$ exec \"$0\" \"$@\"").start();
    let client = daemon.client("iterative-tcp");
    client.echo(b"served while others are asked");
    for _ in 0..4 {
        let message = manager.wait("WATCHDOG=1");
        assert!(message.contains("STATUS=serving 20 listeners, "), "{message}");
    }
    client.echo(b"not disturbed");
    drop(client);
    daemon.stop();
    let log = daemon.log();
    assert!(!log.contains("does not answer"), "{log}");
}

#[test]
fn the_watchdog_of_another_process_is_not_pinged() {
    let manager = Manager::new();
    let launch = under(&manager, LISTENER);
    let mut daemon = launch.env("WATCHDOG_USEC", 2).env("WATCHDOG_PID", 1).start();
    manager.wait("READY=1");
    daemon.client("it").echo(b"hello");
    daemon.stop();
    let told = manager.arrived();
    assert!(!told.iter().any(|message| message.contains("WATCHDOG")), "{told:?}");
}

/// A stuck loop, a stuck thread at the door and a stopped process starve the watchdog; it is fed again when they go on.
#[test]
fn who_is_stuck_starves_the_watchdog() {
    for mode in ["epoll", "io-uring", "poll", "threading", "iterative", "forking"] {
        let manager = Manager::new();
        let toml = format!("{LISTENER}mode = \"{mode}\"\n");
        let mut daemon = under(&manager, &toml).env("WATCHDOG_USEC", 100_000).start();
        daemon.client("it").echo(b"all have begun");
        // And are done with it: who is stopped holds nothing that others need.
        (0..3).for_each(|_| drop(manager.wait("WATCHDOG=1")));
        let stop = Stopped::one_of(&daemon, mode);
        daemon.wait_log(|line| line.contains("listener \"it\" does not answer"));
        manager.arrived();
        // Many times the interval: the line in the log is later than the last ping.
        assert!(hears_nothing(&daemon, &manager), "pinged although {mode} is stopped");
        drop(stop);
        manager.wait("WATCHDOG=1");
        daemon.client("it").echo(b"alive");
        daemon.stop();
    }
}

/// Whether no message comes while the daemon is asked for its state several times.
fn hears_nothing(daemon: &Echod, manager: &Manager) -> bool {
    (0..5).for_each(|_| drop(daemon.state("it")));
    !manager.arrived().iter().any(|message| message.contains("WATCHDOG=1"))
}

/// What serves the only listener of a daemon, stopped until this is dropped.
enum Stopped {
    Process(i32),
    Thread(Pid),
}

impl Stopped {
    fn one_of(daemon: &Echod, mode: &str) -> Self {
        if let Some(&process) = daemon.children().first() {
            signal_process(process, Signal::SIGSTOP);
            return Self::Process(process);
        }
        let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        // The worker of mode iterative is started by a thread that waits for its end; in mode threading there is a spare one for
        // clients. Their numbers say nothing: the kernel begins again at the lowest after the highest.
        let wanted = if mode == "iterative" { "it/worker" } else { "it/" };
        let mut threads = tasks.map(|task| task.unwrap().path()).filter(|task| {
            // Those of clients that have left may end meanwhile.
            let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
            name.starts_with(wanted) && !name.contains("client")
        });
        let last = threads.next().unwrap();
        let thread = Pid::from_raw(last.file_name().unwrap().to_str().unwrap().parse().unwrap());
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        let stat = || fs::read_to_string(last.join("stat")).unwrap();
        eventually("the thread to stop", || stat().contains(") t ").then_some(()));
        Self::Thread(thread)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        match *self {
            Self::Process(process) => signal_process(process, Signal::SIGCONT),
            Self::Thread(thread) => {
                // A stop must be waited for before the thread can be let go.
                nix::sys::wait::waitpid(thread, Some(nix::sys::wait::WaitPidFlag::__WALL)).unwrap();
                ptrace::detach(thread, None).unwrap();
            }
        }
    }
}

#[test]
fn children_inherit_nothing_of_it() {
    let manager = Manager::new();
    let toml = format!("{LISTENER}mode = \"forking\"\n");
    let launch = under(&manager, &toml).env("WATCHDOG_USEC", 60_000_000).env("INHERITED", "yes");
    let mut daemon = launch.shell("WATCHDOG_PID=$$ exec \"$0\" \"$@\"").start();
    let environment = fs::read_to_string(format!("/proc/{}/environ", daemon.children()[0])).unwrap();
    assert!(environment.contains("INHERITED=yes"));
    for name in ["NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_"] {
        assert!(!environment.contains(name), "{environment:?}");
    }
    daemon.stop();
}
