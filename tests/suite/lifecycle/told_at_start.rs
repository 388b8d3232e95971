//! What a start warns of, with the cure: files that it cannot remove in the end, directories that are not its own, and sockets that
//! are not as the file says.

use std::{fs, os::unix::fs::chown};

use nix::unistd::{getegid, geteuid};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::{
    harness::{Client, Endpoint, Launch, Manager, has_python, listener, skipped},
    stream::io_uring,
};

/// The daemon that has given up root may not remove what root has made in its own directories.
#[test]
fn files_that_stay_are_told() {
    if !geteuid().is_root() {
        return skipped("root is needed to give it up");
    }
    let toml = "[daemon]\nuser = \"nobody\"\npid-file = \"echod.pid\"\n".to_owned()
        + &listener("it", "unix", "")
        + &listener("other", "unix-datagram", "");
    for mine in [false, true] {
        let launch = Launch::new().config(&toml);
        if mine {
            chown(launch.dir(), Some(65534), Some(65534)).unwrap();
        }
        let mut daemon = launch.start();
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains("when echod ends"));
        assert_eq!(line.is_none(), mine, "{log}");
        if let Some(line) = line {
            let words =
                [" WARN ", "it.sock, other.sock, echod.pid", "user 65534", "a directory of this user"];
            assert!(words.iter().all(|word| line.contains(word)), "{line}");
        }
        daemon.stop();
        for file in ["it.sock", "other.sock", "echod.pid"] {
            assert_eq!(daemon.path(file).exists(), !mine, "{file}");
        }
    }
}

/// What may be removed or made in a directory may be so with all that is in it.
#[test]
fn a_sandbox_with_a_shared_directory_is_told() {
    let shared = format!("/tmp/echod-test-{}.pid", std::process::id());
    for (pid_file, warned) in [(shared.as_str(), true), ("own.pid", false)] {
        let toml =
            format!("[daemon]\nsandbox = \"on\"\npid-file = \"{pid_file}\"\n{}", listener("it", "unix", ""));
        let mut daemon = Launch::new().config(&toml).start();
        let log = daemon.log();
        if log.contains("landlock not applied") {
            return skipped("this kernel has no Landlock, nothing was out of reach");
        }
        let line = log.lines().find(|line| line.contains("the files of other programs"));
        assert_eq!(line.is_some(), warned, "{log}");
        if let Some(line) = line {
            assert!(
                line.contains(" WARN ") && line.contains(pid_file) && line.contains("/run/echod"),
                "{line}"
            );
        }
        daemon.stop();
        assert!(!fs::exists(pid_file).unwrap());
    }
}

/// Without the right to give files away they can be given to whom they are of already.
#[test]
fn a_socket_file_of_the_right_owner_is_not_given_away() {
    let keys = format!("socket-user = \"{}\"\nsocket-group = \"{}\"", geteuid(), getegid());
    for protocol in ["unix", "unix-seqpacket", "unix-datagram"] {
        let Some(launch) = io_uring::denied(libc::SYS_fchownat) else { return };
        let daemon = launch.config(&listener("it", protocol, &keys)).start();
        daemon.client("it").echo(b"hello");
        let Some(launch) = io_uring::denied(libc::SYS_fchownat) else { return };
        let failed = launch.config(&listener("it", protocol, "socket-group = \"54321\"")).run();
        failed.expect(77, &["cannot bind", "CAP_CHOWN", "SupplementaryGroups="]);
        assert!(!failed.dir.path().join("it.sock").exists());
    }
}

/// What is decided when a socket is bound is decided by whoever binds it.
#[test]
fn keys_that_a_passed_socket_does_not_heed_are_told() {
    if !has_python("no socket was passed") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("passed.sock");
    let passed = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    passed.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    passed.listen(8).unwrap();
    let start = |keys: &str| {
        let toml = listener("it", "unix", keys).replace("it.sock", path.to_str().unwrap());
        let daemon = Launch::new().config(&toml).pass("it", &passed).start();
        Client::connect(&Endpoint::Unix(path.clone())).echo(b"hello");
        let log = daemon.log();
        log.lines().find(|line| line.contains("passed by the service manager")).map(str::to_owned)
    };
    let line = start("backlog = 9\nsocket-mode = \"0601\"\nsocket-user = \"54321\"").unwrap();
    for words in [
        " WARN ",
        "`backlog`, `socket-mode`, `socket-user`",
        "Backlog=, SocketMode=, SocketUser=",
        "listener \"it\"",
    ] {
        assert!(line.contains(words), "{line}");
    }
    assert_eq!(start(""), None);
}

/// The manager says in the environment how many sockets it keeps, and keeps fewer.
#[test]
fn what_was_not_kept_over_a_restart_is_told() {
    if !has_python("no socket was passed") {
        return;
    }
    let manager = Manager::new();
    let toml = listener("it", "tcp", "") + &listener("other", "tcp", "");
    // systemd before 254 says nothing by itself, its unit does.
    for variable in ["FDSTORE", "ECHOD_FDSTORE"] {
        let launch = || Launch::new().config(&toml).env("NOTIFY_SOCKET", &manager.name).env(variable, 64);
        let mut first = launch().start();
        let (message, socket) = manager.receive().unwrap();
        let name = message.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap();
        first.stop();
        let second = launch().pass(name, &socket.unwrap()).start();
        let line = second.wait_log(|line| line.contains("1 of 2 sockets were kept over the restart"));
        assert!(line.contains(" WARN "), "{line}");
        assert!(line.contains("FileDescriptorStoreMax="), "{line}");
        drop(second);
        manager.arrived();
    }
}
