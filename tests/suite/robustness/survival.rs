//! One process dies, the others go on; the daemon dies, nobody is left.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::harness::{Client, Echod, Launch, eventually, poll, proc};

const DEADLY: [Signal; 2] = [Signal::SIGKILL, Signal::SIGSEGV];

/// One connection is lost, and its place is free again.
#[test]
fn a_killed_child_costs_one_connection() {
    for (protocol, address) in [("tcp", "127.0.0.1:0"), ("unix", "it.sock")] {
        for signal in DEADLY {
            let daemon = forking(protocol, address, "max-connections = 2");
            let victim = daemon.client("it");
            victim.echo(b"victim");
            let child = daemon.grandchildren();
            assert_eq!(child.len(), 1);
            let other = daemon.client("it");
            other.echo(b"other");
            kill_process(child[0], signal);
            assert!(victim.is_ended());
            other.echo(b"untouched");
            // The limit is two: this works only if the dead child's permit came back.
            daemon.client("it").echo(b"the next");
            drop(other);
            daemon.wait_state("it", |state| state["open"] == 0 && state["died"] == 1);
        }
    }
}

#[test]
fn a_killed_worker_of_a_pool_is_replaced() {
    for (protocol, address) in [
        ("tcp", "127.0.0.1:0"),
        ("unix", "it.sock"),
        ("unix-seqpacket", "it.sock"),
        ("udp", "127.0.0.1:0"),
        ("unix-datagram", "it.sock"),
    ] {
        for signal in DEADLY {
            let daemon = forking(protocol, address, "workers = 2");
            daemon.client("it").echo(b"before");
            // One of them may serve before the other is there.
            let workers = eventually("two workers", || {
                Some(daemon.grandchildren()).filter(|workers| workers.len() == 2)
            });
            kill_process(workers[0], signal);
            for _ in 0..5 {
                daemon.client("it").echo(b"meanwhile");
            }
            eventually("another worker", || {
                let now = daemon.grandchildren();
                (now.len() == 2 && !now.contains(&workers[0])).then_some(())
            });
            daemon.client("it").echo(b"after");
        }
    }
}

/// A worker dies with a client in its hands: the place of that client must be free again, more than once.
#[test]
fn a_worker_killed_while_it_serves_loses_one_connection() {
    let daemon = forking("tcp", "127.0.0.1:0", "workers = 1");
    for _ in 0..2 {
        let victim = daemon.client("it");
        victim.echo(b"victim");
        kill_process(daemon.grandchildren()[0], Signal::SIGKILL);
        assert!(victim.is_ended());
        daemon.client("it").echo(b"the next");
    }
    daemon.wait_state("it", |state| state["open"] == 0 && state["died"] == 2);
}

/// The process that owns a forking listener dies: it is started again on the same socket.
#[test]
fn a_killed_owner_of_a_listener_is_started_again() {
    for (protocol, address, workers) in [
        ("tcp", "127.0.0.1:0", ""),
        ("tcp", "127.0.0.1:0", "workers = 2"),
        ("unix", "it.sock", ""),
        ("unix-seqpacket", "it.sock", ""),
        ("udp", "127.0.0.1:0", ""),
        ("udp", "127.0.0.1:0", "workers = \"per-request\""),
        ("unix-datagram", "it.sock", ""),
    ] {
        for signal in DEADLY {
            let daemon = forking(protocol, address, workers);
            daemon.client("it").echo(b"before");
            let owners = daemon.children();
            assert_eq!(owners.len(), 1, "{protocol}");
            let group = daemon.group();
            kill_process(owners[0], signal);
            eventually("the old family to be gone", || {
                let now = daemon.group();
                group.iter().all(|pid| *pid == daemon.pid() || !now.contains(pid)).then_some(())
            });
            // A client of this moment waits in the backlog, which was never closed.
            daemon.client("it").echo(b"meanwhile");
            assert_ne!(daemon.children(), owners);
            daemon.client("it").echo(b"after");
        }
    }
}

#[test]
fn two_forking_listeners_do_not_share_their_fate() {
    let daemon = Echod::start(
        "[[listener]]\nname = \"a\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\nmode = \"forking\"\n\
         [[listener]]\nname = \"b\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\nmode = \"forking\"\n",
    );
    let clients = [daemon.client("a"), daemon.client("b")];
    clients.iter().for_each(|client| client.echo(b"before"));
    let owners = daemon.children();
    assert_eq!(owners.len(), 2);
    kill_process(owners[0], Signal::SIGKILL);
    let lost = clients.iter().filter(|client| client.is_lost()).count();
    assert_eq!(lost, 1);
    daemon.client("a").echo(b"after");
    daemon.client("b").echo(b"after");
}

/// Nothing is left of a daemon that had no chance to clean up, whatever its family was doing.
#[test]
fn sigkill_of_the_daemon_takes_its_family_along() {
    for workers in ["", "workers = 2", "workers = \"per-request\""] {
        let daemon = Echod::start(&format!(
            "[defaults]\nmode = \"forking\"\n{workers}\n\
             [[listener]]\nname = \"t\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n\
             [[listener]]\nname = \"u\"\nprotocol = \"udp\"\naddress = \"127.0.0.1:0\"\n"
        ));
        let busy = daemon.client("t");
        busy.echo(b"forked");
        daemon.client("u").echo(b"x");
        assert!(daemon.group().len() >= 4, "{:?}", daemon.group());
        daemon.signal(Signal::SIGKILL);
        let gone = poll(|| daemon.group().is_empty().then_some(()));
        daemon.or_log(gone, "the end of the family");
        assert!(busy.is_ended());
    }
}

/// c34, d05: a child that the daemon inherited and did not fork is nobody's business: it is never waited for.
#[test]
fn c34_d05_a_foreign_child_is_left_alone() {
    let daemon = Launch::new()
        .config(&toml("tcp", "127.0.0.1:0", ""))
        .shell("sleep 1000 >/dev/null 2>&1 & echo $! >foreign.pid; exec \"$0\" \"$@\"")
        .start();
    let foreign = std::fs::read_to_string(daemon.path("foreign.pid")).unwrap();
    let foreign = foreign.trim().parse::<i32>().unwrap();
    let owner = daemon.children().into_iter().find(|pid| *pid != foreign).unwrap();
    kill_process(foreign, Signal::SIGKILL);
    daemon.client("it").echo(b"hello world\n");
    // Now the daemon has a child of its own to wait for, and must not take the other along.
    kill_process(owner, Signal::SIGKILL);
    daemon.client("it").echo(b"hello world\n");
    let reaped = poll(|| (!daemon.children().contains(&owner)).then_some(()));
    daemon.or_log(reaped, "its own child to be reaped");
    assert!(proc::is_zombie(foreign), "{:?}", proc::status(foreign, "State"));
    assert!(daemon.children().contains(&foreign));
}

/// Kills a process, and waits until it cannot take another request with it.
pub(crate) fn kill_process(pid: i32, signal: Signal) {
    signal_process(pid, signal);
    eventually("a killed process to be dead", || {
        (proc::status(pid, "State").is_none() || proc::is_zombie(pid)).then_some(())
    });
}

pub(crate) fn signal_process(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn forking(protocol: &str, address: &str, keys: &str) -> Echod {
    Echod::start(&toml(protocol, address, keys))
}

fn toml(protocol: &str, address: &str, keys: &str) -> String {
    format!(
        "[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\nmode = \"forking\"\n{keys}\n"
    )
}

impl Client {
    /// Whether this connection does not answer any more.
    fn is_lost(&self) -> bool {
        use std::io::{Read, Write};
        let mut answer = [0; 5];
        (&self.socket).write_all(b"alive").is_err() || (&self.socket).read_exact(&mut answer).is_err()
    }
}
