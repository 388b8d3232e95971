//! Giving up root, and the limit of open files.

use std::fs;

use nix::{sys::signal::Signal, unistd::geteuid};

use crate::harness::{Echod, Launch, Manager, eventually, is_root, it, other_loopback, proc, skipped};

/// Every id of a process, and its groups.
fn ids(pid: i32) -> [String; 3] {
    ["Uid", "Gid", "Groups"]
        .map(|key| proc::status(pid, key).unwrap().split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn root_is_given_up_by_everyone() {
    if !is_root() {
        return;
    }
    for mode in ["epoll", "threading", "forking"] {
        let toml =
            format!("[daemon]\nuser = \"nobody\"\ngroup = 1234\n{}", it(&format!("mode = \"{mode}\"")));
        let mut daemon = Launch::new().config(&toml).start();
        let client = daemon.client("it");
        client.echo(b"hello");
        let nobody = ["65534 65534 65534 65534", "1234 1234 1234 1234", ""].map(str::to_owned);
        for pid in daemon.group() {
            assert_eq!(ids(pid), nobody, "{mode}");
            let capabilities = proc::status(pid, "CapEff").unwrap() + &proc::status(pid, "CapPrm").unwrap();
            assert!(capabilities.bytes().all(|digit| digit == b'0'), "{mode}: {capabilities}");
        }
        for task in fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap() {
            let thread = task.unwrap().file_name().to_str().unwrap().parse().unwrap();
            assert_eq!(ids(thread), nobody, "each thread has ids of its own");
        }
        drop(client);
        daemon.stop();
    }
}

/// A port that only root can have is bound before, and kept over a reload afterwards.
#[test]
fn what_needs_root_is_done_before() {
    if !is_root() {
        return;
    }
    let script = "exec unshare --net sh -c 'ip link set lo up 2>/dev/null; exec \"$0\" \"$@\"' \"$0\" \"$@\"";
    let tried = std::process::Command::new("unshare").args(["--net", "true"]).status();
    if !tried.is_ok_and(|status| status.success()) {
        return skipped("no network namespace can be made here");
    }
    let toml = |more: &str| {
        let port = it(more).replace("127.0.0.1:0", "127.0.0.1:7");
        let file = "[[listener]]\nname = \"file\"\nprotocol = \"unix\"\naddress = \"it.sock\"\n";
        format!("[daemon]\nuser = \"nobody\"\n[log]\ntarget = \"file\"\nfile = \"log\"\n{port}{file}")
    };
    let launch = Launch::new().config(&toml("")).shell(script);
    // What it reads again must be readable for the user that it has become.
    fs::set_permissions(launch.dir(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut daemon = launch.start();
    daemon.client("file").echo(b"hello");
    fs::write(daemon.path("echod.toml"), toml("service = \"upper\"")).unwrap();
    daemon.signal(Signal::SIGHUP);
    let read = || fs::read_to_string(daemon.path("log")).unwrap();
    crate::harness::eventually("the reload", || read().contains("reloaded: serving 2").then_some(()));
    assert!(read().contains("gave up root: now user 65534"), "{}", read());
    assert_eq!(ids(daemon.pid())[0], "65534 65534 65534 65534");
    daemon.stop();
}

/// Root with another group is root.
#[test]
fn a_group_alone_does_not_give_up_root() {
    if !is_root() {
        return;
    }
    for (keys, changed) in
        [("group = 1234", true), ("user = \"root\"", false), ("user = 0\ngroup = 1234", true)]
    {
        let toml = format!("[daemon]\n{keys}\n{}", it("").replace("127.0.0.1:0", "0.0.0.0:0"));
        let daemon = Launch::new().config(&toml).start();
        let log = daemon.log();
        assert!(!log.contains("gave up root"), "{keys}: {log}");
        assert_eq!(
            log.contains("changed group to 1234, no other groups; still root (uid 0)"),
            changed,
            "{log}"
        );
        assert!(log.contains(" WARN ") && log.contains(" as root: set `user` in [daemon]"), "{keys}: {log}");
        let group = if changed { "1234 1234 1234 1234" } else { "0 0 0 0" };
        assert_eq!(ids(daemon.pid())[..2], ["0 0 0 0", group], "{keys}");
    }
}

#[test]
fn only_root_can_become_another_user() {
    if !is_root() {
        let toml = format!("[daemon]\nuser = \"root\"\n{}", it(""));
        return Launch::new().config(&toml).run().expect(77, &["cannot become `root`: only root can"]);
    }
    let toml = format!("[daemon]\nuser = 54321\n{}", it(""));
    Launch::new().config(&toml).run().expect(78, &["cannot become user `54321`", "set `group` too"]);
}

#[test]
fn an_unknown_user_is_cited() {
    let toml = |key: &str| format!("[daemon]\n{key} = \"no-such-one\"\n{}", it(""));
    Launch::new()
        .config(&toml("user"))
        .run()
        .expect(78, &["echod.toml:2:8", "there is no user `no-such-one`"]);
    Launch::new()
        .config(&toml("group"))
        .run()
        .expect(78, &["echod.toml:2:9", "there is no group `no-such-one`"]);
}

#[test]
fn root_on_a_public_address_is_warned() {
    if !is_root() {
        return;
    }
    let warned = |address: &str| {
        let daemon = Launch::new().args(&["-l", &format!("tcp://{address}?name=it")]).start();
        daemon.client("it").echo(b"hello");
        daemon.log().contains(" as root: set `user` in [daemon]")
    };
    assert!(warned("0.0.0.0:0"));
    assert!(!warned("127.0.0.1:0"));
    assert!(!warned(&format!("{}:0", other_loopback())));
}

#[test]
fn too_few_descriptors_are_told_with_the_cure() {
    const CONNECTIONS: usize = 1000;
    let script = "ulimit -n 500; exec setpriv --bounding-set -sys_resource \"$0\" \"$@\"";
    let script = if geteuid().is_root() { script } else { "ulimit -n 500; exec \"$0\" \"$@\"" };
    if geteuid().is_root() && std::process::Command::new("setpriv").arg("--version").output().is_err() {
        return skipped("setpriv is not installed, no limit was too low");
    }
    let manager = Manager::new();
    let limited = |keys: &str| -> Echod {
        let launch = Launch::new().env("NOTIFY_SOCKET", &manager.name).env("WATCHDOG_USEC", 60_000_000);
        let toml = format!("[[listener]]\nname = \"it\"\nprotocol = \"tcp\"\n{keys}\n");
        launch.config(&toml).args(&["-v"]).shell(script).start()
    };
    let several = format!("[\"127.0.0.1:0\", \"{}:0\", \"127.0.0.2:0\"]", other_loopback());
    for address in ["\"127.0.0.1:0\"", &several] {
        for mode in ["\"epoll\"", "\"epoll\"\nworkers = 9", "\"io-uring\"\nworkers = 9", "\"threading\""] {
            let daemon =
                limited(&format!("address = {address}\nmode = {mode}\nmax-connections = {CONNECTIONS}"));
            let line = daemon.wait_log(|line| line.contains("the limit of open files is 500"));
            assert!(line.contains(" WARN "), "{line}");
            let (_, needed) = line.split_once("LimitNOFILE=").unwrap();
            let needed: usize = needed.split(' ').next().unwrap().parse().unwrap();
            // What it opens without clients, and a little to spare, but not for each loop.
            eventually("all to be open", || {
                let open = proc::descriptors(daemon.pid()).len();
                assert!(open + CONNECTIONS <= needed, "{open} are open, {line}");
                (open + CONNECTIONS + 50 > needed).then_some(())
            });
        }
    }
    // Nobody has asked for the default: who asks for more of the log is told, and a first run warns of nothing.
    let default = limited("address = \"127.0.0.1:0\"");
    let line = default.wait_log(|line| line.contains("the limit of open files is 500"));
    assert!(line.contains(" DEBUG ") && line.contains("LimitNOFILE="), "{line}");
    let enough = limited("address = \"127.0.0.1:0\"\nmax-connections = 400");
    enough.client("it").echo(b"hello");
    assert!(!enough.log().contains(" WARN "), "{}", enough.log());
}
