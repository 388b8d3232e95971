//! The processes around the daemon: those that it starts, those that it inherits, and the kernel's list of them.

use std::{
    fs,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::harness::{Client, Endpoint, Killed, Launch, eventually, it, may_mount, proc, skipped};

/// In a container the daemon is process 1, and the parent of everybody whose own parent has died: here of those that served the
/// clients of a process that was killed. Whether or not a listener forks in the end, none stays a zombie.
#[test]
fn process_1_reaps_orphans() {
    let unshare = ["--pid", "--fork", "--kill-child", "true"];
    let tried = Command::new("unshare").args(unshare).stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        return skipped("no namespace of processes can be made here (root is needed), nobody was process 1");
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("it.sock");
    let mut outside = Command::new("unshare");
    outside.args(["--pid", "--fork", "--kill-child", env!("CARGO_BIN_EXE_echod"), "--listen"]);
    outside.arg("unix:it.sock?mode=forking").current_dir(dir.path()).stdout(Stdio::null());
    let mut outside =
        Killed(outside.stderr(fs::File::create(dir.path().join("log")).unwrap()).spawn().unwrap());
    let client = || {
        let connected = || Client::try_connect(&Endpoint::Unix(socket.clone())).ok();
        let client = eventually("a connection", connected);
        client.echo(b"hello");
        client
    };
    let clients = [client(), client()];
    let only = |pid: i32| match proc::children(pid)[..] {
        [child] => child,
        ref children => panic!("{children:?}"),
    };
    let first = only(outside.0.id().cast_signed());
    let server = only(first);
    let orphans = proc::children(server);
    assert_eq!(orphans.len(), clients.len());
    kill(Pid::from_raw(server), Signal::SIGKILL).unwrap();
    let gone = |pid: &i32| !fs::exists(format!("/proc/{pid}")).unwrap();
    eventually("the end of the orphans", || orphans.iter().all(gone).then_some(()));
    eventually("another process", || (proc::children(first).len() == 1 && gone(&server)).then_some(()));
    client();
    kill(Pid::from_raw(first), Signal::SIGTERM).unwrap();
    let status = eventually("the end of it", || outside.0.try_wait().unwrap());
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(status.success() && !log.contains(" ERROR "), "{log}");
}

/// A process of its own is this program, started again by its name in /proc.
#[test]
fn a_missing_proc_is_named() {
    if !may_mount("/proc was there") {
        return;
    }
    let script = "exec unshare --mount sh -c 'mount -t tmpfs none /proc && exec \"$0\" \"$@\"' \"$0\" \"$@\"";
    let failed = Launch::new().config(&it("mode = \"forking\"")).shell(script).run();
    failed.expect(69, &["listener \"it\": cannot serve: /proc/self/exe", "mount /proc"]);
    // The others do without it.
    let daemon = Launch::new().config(&it("mode = \"threading\"")).shell(script).start();
    daemon.client("it").echo(b"hello");
}

/// A terminal whose window is being resized tells so, again and again, everybody who runs in it.
#[test]
fn signals_during_a_start_are_no_errors() {
    let script = "own=$$; here=$PWD
        (cd /; while [ ! -e \"$here/started\" ] && kill -WINCH $own; do :; done) >/dev/null 2>&1 &
        exec \"$0\" \"$@\"";
    for _ in 0..5 {
        let mut daemon = Launch::new().config(&it("mode = \"forking\"")).shell(script).start();
        fs::write(daemon.path("started"), "").unwrap();
        daemon.client("it").echo(b"hello");
        assert!(!daemon.log().contains(" ERROR "), "{}", daemon.log());
        daemon.stop();
    }
}
