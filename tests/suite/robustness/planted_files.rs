//! Files that the daemon makes, in a directory where another user has put something else: nothing is overwritten, removed or given
//! away that is not the daemon's, and nobody can prevent a start by a lock.

use std::{
    fs::{self, File},
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use nix::{
    sys::stat::{Mode, SFlag, makedev, mknod},
    unistd::{geteuid, mkfifo},
};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::harness::{Launch, eventually, it, listener, skipped};

const PID: &str = "[daemon]\npid-file = \"planted\"\n";
const LOG: &str = "[log]\ntarget = \"file\"\nfile = \"planted\"\n";

fn is_root(not_done: &str) -> bool {
    if !geteuid().is_root() {
        skipped(format_args!("only root is in danger of that, {not_done}"));
    }
    geteuid().is_root()
}

type Plant = fn(&Path);

/// Everything that may stand at a path and is no file with one name; each is made by `plant` and called by a word of the message.
fn others() -> Vec<(&'static str, Plant)> {
    let mut others: Vec<(&'static str, Plant)> = vec![
        ("FIFO", |path| mkfifo(path, Mode::S_IRWXU).unwrap()),
        ("directory", |path| fs::create_dir(path).unwrap()),
        ("socket", |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
        ("symbolic link", |path| {
            fs::write(path.with_file_name("victim"), "").unwrap();
            symlink("victim", path).unwrap();
        }),
        ("symbolic link", |path| symlink("nowhere", path).unwrap()),
        ("hard link", |path| {
            fs::write(path.with_file_name("victim"), "").unwrap();
            fs::hard_link(path.with_file_name("victim"), path).unwrap();
        }),
    ];
    if geteuid().is_root() {
        // One of its own, and not that of the machine.
        others.push(("device", |path| mknod(path, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 3)).unwrap()));
    }
    others
}

#[test]
fn only_a_regular_file_is_a_pid_or_log_file() {
    for (table, words) in [(PID, "cannot write pid file planted"), (LOG, "cannot log to planted")] {
        for (kind, plant) in others() {
            for check in [true, false] {
                let mut launch = Launch::new().config(&(table.to_owned() + &it("")));
                let path = launch.dir().join("planted");
                plant(&path);
                let before = fs::symlink_metadata(&path).unwrap();
                if check {
                    launch = launch.args(&["--check"]);
                }
                let failed = launch.run();
                failed.expect(69, &[words, kind, "choose another"]);
                let after = fs::symlink_metadata(&path).unwrap();
                let (before, after) =
                    [before, after].map(|found| (found.ino(), found.mode(), found.uid(), found.len())).into();
                assert_eq!(before, after, "{kind}");
                let victim = fs::read_to_string(failed.dir.path().join("victim")).unwrap_or_default();
                assert_eq!(victim, "", "{kind}");
                assert!(!failed.dir.path().join("nowhere").exists());
            }
        }
    }
}

#[test]
fn a_file_that_holds_anything_else_is_no_pid_file() {
    for text in ["precious\n", "4194305 and more", "12\n13\n"] {
        for check in [true, false] {
            let mut launch = Launch::new().config(&(PID.to_owned() + &it("")));
            fs::write(launch.dir().join("planted"), text).unwrap();
            if check {
                launch = launch.args(&["--check"]);
            }
            let failed = launch.run();
            failed.expect(69, &["cannot write pid file planted", "something else than a process id"]);
            assert_eq!(fs::read_to_string(failed.dir.path().join("planted")).unwrap(), text);
        }
    }
}

/// Whoever may read a pid file may lock it, and has the lock as soon as the daemon has died. What it left empty, because it had
/// given up root, is as dead; and a process that has got its number is not the one that holds the lock.
#[test]
fn the_pid_file_of_a_dead_daemon_is_replaced_whoever_locks_it() {
    for text in ["4194304\n", "", "1\n"] {
        let launch = Launch::new().config(&(PID.to_owned() + &it("")));
        let path = launch.dir().join("planted");
        fs::write(&path, text).unwrap();
        let lock = File::open(&path).unwrap();
        lock.try_lock().unwrap();
        let mut daemon = launch.start();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", daemon.pid()));
        let second = Launch::new().config(&format!("[daemon]\npid-file = {path:?}\n{}", it(""))).run();
        second.expect(75, &[&format!("process {} (echod) holds it", daemon.pid())]);
        daemon.stop();
        assert!(!path.exists());
        let left = fs::read_dir(path.parent().unwrap()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_str().unwrap().starts_with("planted")), "{left:?}");
    }
}

/// What was rotated away may have a link in its place when the daemon, which is the user that it has become, opens it again.
#[test]
fn a_log_file_is_not_opened_again_through_a_link() {
    let daemon = Launch::new().config(&(LOG.to_owned() + &it(""))).start();
    let (planted, moved) = (daemon.path("planted"), daemon.path("moved"));
    fs::rename(&planted, &moved).unwrap();
    fs::write(daemon.path("victim"), "").unwrap();
    symlink("victim", &planted).unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    let log = || fs::read_to_string(&moved).unwrap();
    eventually("the end of the reload", || log().contains("reloaded: ").then_some(()));
    assert!(log().contains("the log file before stays open") && log().contains("symbolic link"), "{}", log());
    assert_eq!(fs::read_to_string(daemon.path("victim")).unwrap(), "");
    daemon.client("it").echo(b"as before");
}

/// It is whoever's who started the daemon, and may be a pipe, or the terminal of root.
#[test]
fn standard_streams_are_logged_to_and_not_given_away() {
    for stream in ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"] {
        let user = if geteuid().is_root() { "[daemon]\nuser = \"nobody\"\n" } else { "" };
        let log = LOG.replace("planted", stream);
        let mut daemon = Launch::new().config(&format!("{user}{log}{}", it(""))).start();
        daemon.client("it").echo(b"hello");
        daemon.wait_log(|line| line.contains("5 bytes in"));
        assert_eq!(fs::metadata(daemon.path("stderr.log")).unwrap().uid(), geteuid().as_raw());
        daemon.stop();
    }
    let script = "mkfifo pipe; cat <pipe >seen & exec \"$0\" \"$@\" 2>pipe";
    let log = LOG.replace("planted", "/dev/stderr");
    let daemon = Launch::new().config(&(log + &it(""))).shell(script).start();
    eventually("a line in the pipe", || {
        fs::read_to_string(daemon.path("seen")).ok()?.contains("serving echo").then_some(())
    });
}

/// The file is swapped for a link in the moment between bind(2) and what comes then, which strace holds up.
#[test]
fn the_owner_and_the_mode_of_a_socket_file_are_nobody_elses() {
    if !is_root("no file of root was planted") {
        return;
    }
    let works = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    if !works.is_ok_and(|status| status.success()) {
        return skipped("strace is not installed or may not attach, no socket file was swapped");
    }
    let script =
        "exec strace -f -qq -o /dev/null -e trace=bind -e inject=bind:delay_exit=1000000 \"$0\" \"$@\"";
    for (protocol, owner) in
        [("unix", ""), ("unix", "socket-user = \"65534\""), ("unix-datagram", "socket-group = \"65534\"")]
    {
        let toml = listener("it", protocol, owner);
        let launch = Launch::new().config(&toml).shell(script);
        let dir = launch.dir().to_owned();
        let victim = dir.join("victim");
        fs::write(&victim, "secret").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        let swap = std::thread::spawn(move || {
            let socket = dir.join("it.sock");
            eventually("the socket file", || socket.symlink_metadata().ok());
            symlink("victim", dir.join("planted")).unwrap();
            fs::rename(dir.join("planted"), &socket).unwrap();
            let found = fs::metadata(dir.join("victim")).unwrap();
            (found.mode(), found.uid())
        });
        // It may serve a socket that nobody finds, or say that another file is there.
        let daemon = launch.try_start();
        swap.join().unwrap();
        let found = fs::metadata(&victim).map(|found| (found.mode() & 0o777, found.uid(), found.gid()));
        assert_eq!(found.unwrap(), (0o600, 0, 0), "{protocol} {owner}");
        drop(daemon);
    }
}

/// Whatever the umask, and without a moment in which it is another.
#[test]
fn a_socket_file_has_its_mode_whatever_the_umask() {
    let scripts = ["umask 0777; exec \"$0\" \"$@\"", "umask 0; exec \"$0\" \"$@\""];
    for (script, protocol) in scripts.into_iter().zip(["unix", "unix-datagram"]) {
        let toml = listener("it", protocol, "socket-mode = \"0620\"");
        let launch = Launch::new().config(&toml).shell(script);
        if !geteuid().is_root() && script.contains("777") {
            continue;
        }
        let daemon = launch.start();
        let found = fs::metadata(daemon.path("it.sock")).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.mode() & 0o7777, 0o620, "{script}");
    }
}

/// A program binds its socket and listens a moment later; another daemon that starts in this moment must not take it for stale.
#[test]
fn a_socket_that_does_not_listen_yet_is_left_alone() {
    for protocol in ["unix", "unix-seqpacket", "unix-datagram"] {
        let launch = Launch::new().config(&listener("it", protocol, ""));
        let path = launch.dir().join("it.sock");
        let fresh = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        fresh.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        let failed = launch.run();
        failed.expect(69, &["cannot bind", "it.sock", "in use"]);
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
        fresh.listen(1).unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
    }
}

/// Any user may lock a directory that he may read.
#[test]
fn a_lock_on_the_directory_prevents_no_start() {
    for protocol in ["unix", "unix-seqpacket", "unix-datagram"] {
        let launch = Launch::new().config(&listener("it", protocol, ""));
        let path = launch.dir().join("it.sock");
        drop(std::os::unix::net::UnixDatagram::bind(&path).unwrap());
        let lock = File::open(launch.dir()).unwrap();
        lock.try_lock().unwrap();
        let mut daemon = launch.start();
        daemon.client("it").echo(b"hello");
        daemon.stop();
        let left: Vec<_> = fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("it.sock"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
