//! `[daemon] sandbox`: all that echod does works in it, what it does not do is denied, and what could not be applied is told.

use std::{fs, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use tempfile::TempDir;

use crate::{
    harness::{Client, Echod, Endpoint, Launch, eventually, has_mode, it, listener, proc, skipped},
    stream::io_uring,
};

const MODES: [&str; 7] = ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"];
const PROTOCOLS: [&str; 5] = ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"];

const ON: &str = "[daemon]\nsandbox = \"on\"\n";

/// A daemon in its sandbox; `None`, loudly, where this kernel has not all of it.
fn locked_in(toml: &str) -> Option<Echod> {
    let daemon = Echod::start(&(ON.to_owned() + toml));
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("sandbox: ")).unwrap();
    if line.contains("not applied") {
        skipped(format_args!("{line}"));
        return None;
    }
    let words = ["sandbox: no_new_privs, landlock (ABI ", " paths), seccomp (", " system calls)"];
    assert!(words.iter().all(|word| line.contains(word)), "{line}");
    Some(daemon)
}

/// Asserts that every thread of every process of the daemon is in the sandbox. Those of clients that have left may end meanwhile.
#[track_caller]
fn assert_all_are_in(daemon: &Echod) {
    let threads = |pid: i32| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut seen = 0;
    for task in daemon.group().into_iter().flat_map(threads) {
        let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
        assert!(
            ["\nNoNewPrivs:\t1\n", "\nSeccomp:\t2\n"].iter().all(|line| status.contains(line)),
            "{status}"
        );
        seen += 1;
    }
    assert!(seen > 0, "nothing was seen");
}

#[test]
fn every_mode_serves_in_it_and_everyone_is_in_it() {
    for mode in MODES {
        let toml: String = PROTOCOLS
            .iter()
            .map(|protocol| listener(protocol, protocol, &format!("mode = \"{mode}\"")))
            .collect();
        let Some(mut daemon) = locked_in(&toml) else { return };
        let clients = PROTOCOLS.map(|protocol| daemon.client(protocol));
        clients.iter().for_each(|client| client.echo(b"hello"));
        assert_all_are_in(&daemon);
        assert_eq!(daemon.state("tcp")["open"], 1, "SIGUSR1 is heeded");
        daemon.read_again();
        daemon.wait_log(|line| line.contains("reloaded: serving 5 listeners"));
        clients.iter().for_each(|client| client.echo(b"hello again"));
        drop(clients);
        daemon.stop();
        assert!(!daemon.path("unix.sock").exists() && !daemon.path("unix-datagram.sock").exists());
        let log = daemon.log();
        assert!(!log.contains(" ERROR "), "{log}");
    }
}

#[test]
fn without_it_nothing_is_changed() {
    let daemon = Echod::start(&("[daemon]\nsandbox = \"off\"\n".to_owned() + &it("")));
    let own = std::process::id().cast_signed();
    for key in ["NoNewPrivs", "Seccomp"] {
        assert_eq!(proc::status(daemon.pid(), key), proc::status(own, key));
    }
    assert!(!daemon.log().contains("sandbox"), "{}", daemon.log());
}

/// It is the same program, executed again by a process that is in the sandbox.
#[test]
fn a_lost_process_of_a_forking_listener_starts_again() {
    let Some(mut daemon) = locked_in(&it("mode = \"forking\"")) else { return };
    daemon.client("it").echo(b"hello");
    let [lost] = daemon.children()[..] else { panic!("{:?}", daemon.children()) };
    kill(Pid::from_raw(lost), Signal::SIGKILL).unwrap();
    let started =
        eventually("another process", || daemon.children().into_iter().find(|&child| child != lost));
    daemon.client("it").echo(b"hello again");
    assert_all_are_in(&daemon);
    // Nobody outlives the daemon here, either.
    let client = daemon.client("it");
    client.echo(b"hello");
    daemon.signal(Signal::SIGKILL);
    daemon.wait_exit();
    eventually("the end of all", || daemon.group().is_empty().then_some(()));
    assert_ne!(started, lost);
}

#[test]
fn a_reload_that_needs_other_system_calls_is_refused() {
    let Some(daemon) = locked_in(&it("mode = \"epoll\"")) else { return };
    let client = daemon.client("it");
    for mode in ["forking", "io-uring"].into_iter().filter(|mode| has_mode(mode)) {
        let words = format!("listener \"it\": cannot serve in mode {mode}: the sandbox was made without");
        daemon.reload(&(ON.to_owned() + &it(&format!("mode = \"{mode}\""))));
        let line = daemon.wait_log(|line| line.contains(" ERROR ") && line.contains(&words));
        assert!(line.contains("restart echod instead"), "{line}");
        client.echo(b"nothing changed");
        daemon.client("it").echo(b"nothing changed");
    }
    // The others have their calls in common.
    for mode in ["threading", "select", "poll", "iterative", "epoll"] {
        daemon.reload(&(ON.to_owned() + &it(&format!("mode = \"{mode}\"\nservice = \"upper\""))));
        assert_eq!(daemon.client("it").ask(b"hello"), b"HELLO", "{mode}");
    }
}

/// Where io_uring may be left out it is, as `fallback` says.
#[test]
fn a_reload_falls_back_where_it_may() {
    let Some(daemon) = locked_in(&it("mode = \"epoll\"")) else { return };
    let toml = it("mode = \"io-uring\"\nfallback = \"epoll\"\nservice = \"upper\"");
    daemon.reload(&(ON.to_owned() + &toml));
    daemon.wait_log(|line| line.contains("mode epoll takes the place of io-uring"));
    assert_eq!(daemon.client("it").ask(b"hello"), b"HELLO");
}

/// A mode that was there at the start may come back.
#[test]
fn a_reload_within_the_walls_works() {
    let forking = listener("forks", "unix", "mode = \"forking\"");
    let toml = |more: &str| ON.to_owned() + &it("") + more;
    let Some(daemon) = locked_in(&(it("") + &forking)) else { return };
    daemon.reload(&toml(""));
    assert!(!daemon.path("forks.sock").exists());
    daemon.reload(&toml(&(forking + &listener("new", "unix-datagram", ""))));
    for (name, datagram) in [("forks", false), ("new", true)] {
        let path = daemon.path(format!("{name}.sock"));
        let endpoint = if datagram { Endpoint::UnixDatagram(path) } else { Endpoint::Unix(path) };
        Client::connect(&endpoint).echo(b"hello");
    }
    // Names of hosts and users are looked up, new ports are bound.
    let named =
        "[[listener]]\nname = \"named\"\nprotocol = \"tcp\"\naddress = \"localhost:0\"\noptional = true\n";
    daemon.reload(&toml(&(named.to_owned() + &listener("user", "unix", "allow-users = \"root\""))));
    daemon.wait_log(|line| line.contains("listener \"named\": serving echo at tcp://"));
    assert!(daemon.path("user.sock").exists(), "{}", daemon.log());
}

/// What the kernel denies: the test may do it, and so might a daemon of the same user.
#[test]
fn a_reload_reads_no_other_directory() {
    let outside = outside();
    let list = outside.path().join("networks");
    fs::write(&list, "127.0.0.0/8\n").unwrap();
    let include = it(&format!("allow-include = \"{}\"", list.display()));
    let Some(daemon) = locked_in(&it("")) else { return };
    daemon.reload(&(ON.to_owned() + &include));
    let line = daemon.wait_log(|line| line.contains(" ERROR ") && line.contains("permission denied"));
    daemon.wait_log(|line| line.contains("restart echod"));
    assert!(line.contains("networks"), "{line}");
    daemon.client("it").echo(b"nothing changed");
    // From the start on it is in reach, also as another file of that name.
    let Some(daemon) = locked_in(&include) else { return };
    fs::write(outside.path().join("next"), "0.0.0.0/0\n").unwrap();
    fs::rename(outside.path().join("next"), &list).unwrap();
    daemon.reload(&(ON.to_owned() + &include));
    daemon.wait_log(|line| line.contains("reloaded: serving 1 listener"));
    daemon.client("it").echo(b"hello");
}

#[test]
fn a_reload_makes_files_in_no_other_directory() {
    let outside = outside();
    let place = |name: &str| outside.path().join(name).display().to_string();
    let socket = listener("out", "unix", "").replace("out.sock", &place("out.sock"));
    let log = format!("[log]\ntarget = \"file\"\nfile = \"{}\"\n", place("log"));
    let Some(daemon) = locked_in(&it("")) else { return };
    for (toml, words) in [
        (it("") + &socket, format!("listener \"out\": cannot bind unix:{}", place("out.sock"))),
        (log.clone() + &it(""), format!("cannot log to {}", place("log"))),
    ] {
        daemon.reload(&(ON.to_owned() + &toml));
        let line = daemon.wait_log(|line| line.contains(" ERROR ") && line.contains(&words));
        assert!(line.contains("the sandbox was made without its directory"), "{line}");
        assert!(line.contains("restart echod instead"), "{line}");
        daemon.client("it").echo(b"nothing changed");
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    // There from the start, both can be made anew.
    let toml = format!("{ON}{log}{}{socket}", it(""));
    let mut daemon = Echod::start(&toml);
    let read = || fs::read_to_string(place("log")).unwrap_or_default();
    fs::rename(place("log"), place("log.1")).unwrap();
    fs::write(daemon.path("echod.toml"), format!("{ON}{log}{}", it(""))).unwrap();
    daemon.signal(Signal::SIGHUP);
    eventually("the end of the socket", || (!Path::new(&place("out.sock")).exists()).then_some(()));
    fs::write(daemon.path("echod.toml"), toml).unwrap();
    daemon.signal(Signal::SIGHUP);
    eventually("the socket", || Client::try_connect(&Endpoint::Unix(place("out.sock").into())).ok());
    eventually("the new log", || read().contains("reloaded: ").then_some(()));
    daemon.stop();
    assert!(!Path::new(&place("out.sock")).exists());
}

/// A directory that the daemon cannot know.
fn outside() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn another_value_counts_from_the_next_start_on() {
    let Some(daemon) = locked_in(&it("")) else { return };
    daemon.reload(&("[daemon]\nsandbox = \"off\"\n".to_owned() + &it("service = \"upper\"")));
    daemon
        .wait_log(|line| line.contains(" WARN ") && line.contains("`sandbox` count from the next start on"));
    assert_eq!(daemon.client("it").ask(b"hello"), b"HELLO");
    assert_all_are_in(&daemon);
}

#[test]
fn a_misspelt_choice_is_cited() {
    let failed = Launch::new().config(&("[daemon]\nsandbox = \"onn\"\n".to_owned() + &it(""))).run();
    failed.expect(78, &["echod.toml:2:11", "did you mean `on`?"]);
}

/// In a container that denies one of the walls the others stand, and the daemon serves.
#[test]
fn what_is_not_applied_is_told_with_the_cure() {
    // landlock_create_ruleset(2) has this number everywhere; seccomp(2) has not.
    let walls = [(444, "landlock not applied: "), (libc::SYS_seccomp, "seccomp not applied: ")];
    for (call, words) in walls {
        let Some(launch) = io_uring::denied(call) else { return };
        let mut daemon = launch.config(&(ON.to_owned() + &it("mode = \"forking\""))).start();
        daemon.client("it").echo(b"hello");
        let line = daemon.wait_log(|line| line.contains("sandbox: no_new_privs"));
        assert!(line.contains(" WARN ") && line.contains(words) && line.contains("allow"), "{line}");
        assert_eq!(line.contains("landlock (ABI "), call != 444, "{line}");
        assert_eq!(line.contains(" system calls)"), call == 444, "{line}");
        daemon.stop();
    }
}

/// Whoever gives up root does so before, and what is left of its files is in reach afterwards.
#[test]
fn it_goes_together_with_another_user() {
    if !geteuid().is_root() {
        return skipped("root is needed to give it up");
    }
    let toml = |service: &str| {
        let log = "[log]\ntarget = \"file\"\nfile = \"log\"\n";
        let it = it(&format!("mode = \"forking\"\nservice = \"{service}\""));
        format!("{ON}user = \"nobody\"\npid-file = \"pid\"\n{log}{it}{}", listener("file", "unix", ""))
    };
    let launch = Launch::new().config(&toml("echo"));
    std::os::unix::fs::chown(launch.dir(), Some(65534), Some(65534)).unwrap();
    let mut daemon = launch.start();
    daemon.client("file").echo(b"hello");
    fs::rename(daemon.path("log"), daemon.path("log.1")).unwrap();
    fs::write(daemon.path("echod.toml"), toml("upper")).unwrap();
    daemon.signal(Signal::SIGHUP);
    let read = || fs::read_to_string(daemon.path("log")).unwrap_or_default();
    eventually("the reload", || read().contains("reloaded: serving 2").then_some(()));
    assert_eq!(daemon.client("it").ask(b"hello"), b"HELLO");
    assert_all_are_in(&daemon);
    daemon.stop();
    assert!(!daemon.path("pid").exists() && !daemon.path("file.sock").exists());
}
