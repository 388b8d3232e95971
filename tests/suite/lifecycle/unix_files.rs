//! The file of a unix socket (d07 of the conformance list: Python leaves it behind and cannot start again).

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixDatagram, UnixListener},
        process::CommandExt,
    },
    process::Command,
};

use nix::sys::signal::Signal;

use crate::harness::{Echod, Launch, skipped};

const KINDS: [&str; 3] = ["unix", "unix-seqpacket", "unix-datagram"];

fn toml(protocol: &str, keys: &str) -> String {
    format!("[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = \"it.sock\"\n{keys}\n")
}

#[test]
fn d07_the_file_is_gone_after_the_end_in_every_mode() {
    for protocol in KINDS {
        for mode in ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"] {
            let mut daemon = Echod::start(&toml(protocol, &format!("mode = \"{mode}\"")));
            daemon.client("it").echo(b"x");
            assert!(fs::metadata(daemon.path("it.sock")).unwrap().file_type().is_socket());
            daemon.stop();
            assert!(!daemon.path("it.sock").exists());
        }
    }
}

#[test]
fn d07_the_mode_is_honoured() {
    for protocol in KINDS {
        for (keys, mode) in
            [("", 0o666), ("socket-mode = \"0600\"", 0o600), ("socket-mode = \"0640\"", 0o640)]
        {
            let daemon = Echod::start(&toml(protocol, keys));
            let metadata = fs::metadata(daemon.path("it.sock")).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{protocol} {keys}");
        }
    }
}

#[test]
fn d07_owner_and_group_are_honoured() {
    if !nix::unistd::geteuid().is_root() {
        skipped("only root may give a file away");
        return;
    }
    let daemon = Echod::start(&toml("unix", "socket-user = \"65534\"\nsocket-group = \"65533\""));
    let metadata = fs::metadata(daemon.path("it.sock")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (65534, 65533));
}

#[test]
fn d07_a_stale_file_is_taken_over() {
    for protocol in KINDS {
        let launch = Launch::new().config(&toml(protocol, ""));
        let path = launch.dir().join("it.sock");
        if protocol == "unix" {
            drop(UnixListener::bind(&path).unwrap());
        } else {
            drop(UnixDatagram::bind(&path).unwrap());
        }
        assert!(path.exists());
        launch.start().client("it").echo(b"taken over");
    }
}

#[test]
fn d07_a_live_socket_is_refused_and_left_alone() {
    for protocol in KINDS {
        let first = Echod::start(&toml(protocol, ""));
        let path = first.path("it.sock");
        let url = format!("{protocol}:{}", path.display());
        Launch::new().args(&["-l", &url]).run().expect(69, &["cannot bind", "it.sock", "in use"]);
        first.client("it").echo(b"left alone");
    }
}

#[test]
fn d07_a_regular_file_is_refused_and_left_alone() {
    for protocol in KINDS {
        let launch = Launch::new().config(&toml(protocol, ""));
        let path = launch.dir().join("it.sock");
        fs::write(&path, "precious").unwrap();
        let failed = launch.run();
        failed.expect(69, &["cannot bind", "it.sock", "not a socket"]);
        assert_eq!(fs::read_to_string(failed.dir.path().join("it.sock")).unwrap(), "precious");
    }
}

#[test]
fn d07_only_our_own_file_is_removed() {
    for protocol in KINDS {
        let mut daemon = Echod::start(&toml(protocol, ""));
        let path = daemon.path("it.sock");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "of somebody else").unwrap();
        daemon.stop();
        assert_eq!(fs::read_to_string(path).unwrap(), "of somebody else");
    }
}

#[test]
fn a_killed_daemon_leaves_a_file_that_the_next_takes_over() {
    let mut daemon = Echod::start(&toml("unix", "mode = \"forking\""));
    let client = daemon.client("it");
    client.echo(b"x");
    daemon.signal(Signal::SIGKILL);
    daemon.wait_exit();
    let url = format!("unix:{}?name=it", daemon.path("it.sock").display());
    assert!(client.is_ended());
    Launch::new().args(&["-l", &url]).start().client("it").echo(b"again");
}

#[test]
fn nothing_is_left_on_disk_after_a_failed_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for mode in ["threading", "forking"] {
        let failed = Launch::new()
            .config(&format!(
                "[defaults]\nmode = \"{mode}\"\n{}{}[[listener]]\nname = \"taken\"\nprotocol = \"tcp\"\n\
                 address = \"127.0.0.1:{port}\"\n",
                toml("unix", ""),
                toml("unix-datagram", "").replace("it", "other")
            ))
            .run();
        failed.expect(69, &["listener \"taken\"", &format!("tcp://127.0.0.1:{port}"), "in use"]);
        assert!(!failed.dir.path().join("it.sock").exists());
        assert!(!failed.dir.path().join("other.sock").exists());
    }
}

/// A directory that may not be written to: exit code 77, and a text that says what is wrong.
#[test]
fn no_permission_is_its_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("echod");
    // By another process: a program that this one writes may be open in what another test has just forked, and is busy until that
    // has started.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_echod")).arg(&binary).status().unwrap().success());
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = Command::new("timeout");
    command.args(["30"]).arg(&binary).current_dir("/").env_remove("ECHOD_LOG");
    command.args(["--listen", &format!("unix:{}/it.sock", dir.path().display())]);
    if nix::unistd::geteuid().is_root() {
        // Root may write everywhere.
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(77), "{message}");
    assert!(message.contains("cannot bind unix:") && message.contains("permission denied"), "{message}");
}
