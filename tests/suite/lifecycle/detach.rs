//! `--daemonize` and the pid file: what the shell that starts a daemon learns, and what is left in the end.

use std::{fs, net::TcpListener};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid, getsid},
};

use crate::harness::{Client, Echod, Endpoint, Finished, Launch, eventually, it, proc, skipped};

/// A daemon that has left; dropped, it is killed.
struct Detached {
    launcher: Finished,
}

impl Detached {
    fn start(toml: &str) -> Self {
        let launch = Launch::new().config(&(DAEMON.to_owned() + toml)).args(&["--daemonize", "--announce"]);
        let detached = Self { launcher: launch.detach() };
        detached.launcher.expect(0, &[]);
        detached
    }

    fn pid(&self) -> i32 {
        fs::read_to_string(self.path("echod.pid")).unwrap().trim().parse().unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.launcher.dir.path().join(name)
    }

    fn client(&self) -> Client {
        let line: serde_json::Value =
            serde_json::from_str(self.launcher.stdout.lines().next().unwrap()).unwrap();
        Client::connect(&Endpoint::Tcp(line["address"].as_str().unwrap().parse().unwrap()))
    }

    fn stop(&self) {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).unwrap();
        let gone = || proc::working_in(self.launcher.dir.path()).is_empty().then_some(());
        eventually("the end of the daemon", gone);
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        proc::kill_all(self.launcher.dir.path());
    }
}

const DAEMON: &str = "[daemon]\npid-file = \"echod.pid\"\n[log]\ntarget = \"file\"\nfile = \"echod.log\"\n";

#[test]
fn the_shell_goes_on_when_the_daemon_is_ready() {
    for mode in ["epoll", "forking"] {
        let daemon = Detached::start(&it(&format!("mode = \"{mode}\"")));
        daemon.client().echo(b"hello");
        let pid = Pid::from_raw(daemon.pid());
        assert_ne!(getsid(Some(pid)).unwrap(), getsid(None).unwrap(), "it has a session of its own");
        for stream in 0..3 {
            let target = fs::read_link(format!("/proc/{pid}/fd/{stream}")).unwrap();
            assert_eq!(target.to_str(), Some("/dev/null"), "stream {stream}");
        }
        assert!(daemon.launcher.stderr.is_empty(), "{}", daemon.launcher.stderr);
        daemon.stop();
        assert!(!daemon.path("echod.pid").exists());
        let log = fs::read_to_string(daemon.path("echod.log")).unwrap();
        assert!(log.contains("listener \"it\": serving echo") && log.contains("5 bytes in"), "{log}");
    }
}

/// Relative paths mean the same as before it left, also when it reads its configuration again.
#[test]
fn a_detached_daemon_reloads() {
    let daemon = Detached::start(&it(""));
    let toml = DAEMON.to_owned() + &it("service = \"upper\"");
    fs::write(daemon.path("echod.toml"), toml).unwrap();
    kill(Pid::from_raw(daemon.pid()), Signal::SIGHUP).unwrap();
    eventually("the reload", || (daemon.client().ask(b"hello") == b"HELLO").then_some(()));
    daemon.stop();
}

/// What prevents a start is on the terminal of whoever tried, with an exit code that scripts know.
#[test]
fn the_shell_is_told_what_went_wrong() {
    let detach = |toml: &str| Launch::new().config(toml).args(&["--daemonize"]).run();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let in_use = DAEMON.to_owned() + &it("").replace("127.0.0.1:0", &address);
    let failed = detach(&in_use);
    failed.expect(69, &["echod: listener \"it\": cannot bind", "in use"]);
    assert_eq!(failed.stderr.lines().count(), 1, "{}", failed.stderr);
    assert!(!failed.dir.path().join("echod.pid").exists());
    detach(&(DAEMON.to_owned() + &it("mode = \"epol\""))).expect(78, &["did you mean `epoll`"]);
}

/// Who has the pid file is told, whether it is detached or not.
#[test]
fn a_second_daemon_is_told_who_is_the_first() {
    let first = Detached::start(&it(""));
    let path = first.path("echod.pid");
    let toml = format!("[daemon]\npid-file = \"{}\"\n{}", path.display(), it(""));
    let words =
        format!("echod: cannot take pid file {}: process {} (echod) holds it", path.display(), first.pid());
    Launch::new().config(&toml).run().expect(75, &[&words]);
    Launch::new().config(&toml).args(&["--daemonize"]).run().expect(75, &[&words]);
    first.client().echo(b"not disturbed");
    first.stop();
    let mut second = Launch::new().config(&toml).start();
    assert_eq!(fs::read_to_string(&path).unwrap().trim(), second.pid().to_string());
    // Killed, it leaves a file that nobody holds.
    second.signal(Signal::SIGKILL);
    second.wait_exit();
    assert!(path.exists());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut third: Echod = Launch::new().config(&toml).start();
    third.stop();
    assert!(!path.exists());
}

/// A pipe that stays open keeps the shell waiting for its end, and a lock of flock(1) is never freed.
#[test]
fn a_detached_daemon_keeps_nothing_that_it_inherited() {
    for mode in ["epoll", "forking"] {
        let toml = DAEMON.to_owned() + &it(&format!("mode = \"{mode}\""));
        let launch = Launch::new().config(&toml).args(&["--daemonize", "--announce"]);
        let launch = launch.shell("exec 7>lock 8<lock; exec \"$0\" \"$@\"");
        let daemon = Detached { launcher: launch.detach() };
        daemon.launcher.expect(0, &[]);
        daemon.client().echo(b"hello");
        let all = proc::working_in(daemon.launcher.dir.path());
        assert!(!all.is_empty());
        for pid in all {
            let open = proc::descriptors(pid);
            assert!(!open.iter().any(|name| name.ends_with("/lock")), "{mode} {open:?}");
        }
        daemon.stop();
    }
}

/// The log of a daemon is that of syslog, which may be started later or not at all, as in a container.
#[test]
fn without_a_syslog_daemon_it_serves_and_says_so() {
    if fs::exists("/dev/log").unwrap() {
        return skipped("there is a syslog daemon on this machine");
    }
    let toml = format!("[daemon]\npid-file = \"echod.pid\"\n{}", it(""));
    let launch = Launch::new().config(&toml).args(&["--daemonize", "--announce"]);
    let daemon = Detached { launcher: launch.detach() };
    daemon.launcher.expect(0, &["echod: cannot log to syslog yet: /dev/log: "]);
    daemon.client().echo(b"hello");
    daemon.stop();
}

#[test]
fn what_may_not_be_written_is_told() {
    let toml = format!("[daemon]\npid-file = \"/echod-test.pid\"\n{}", it(""));
    let launch = Launch::new().config(&toml).args(&["--daemonize"]);
    let launch = match geteuid().is_root() {
        true => {
            if std::process::Command::new("setpriv").arg("--version").output().is_err() {
                return skipped("setpriv is not installed, no permission was missing");
            }
            std::os::unix::fs::chown(launch.dir(), Some(65534), Some(65534)).unwrap();
            launch.shell("exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\" \"$@\"")
        }
        false => launch,
    };
    let failed = launch.run();
    if failed.status.code() == Some(126) {
        return skipped("the binary under test may not be run by another user");
    }
    failed.expect(77, &["echod: cannot write pid file /echod-test.pid: "]);
}
