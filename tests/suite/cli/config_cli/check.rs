//! `--check`: what is said about a configuration that can be served.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use super::LISTENER;
use crate::harness::Launch;

#[test]
fn every_file_of_the_project_passes_its_check() {
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config")).unwrap();
    let mut checked = 0;
    for path in
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "toml"))
    {
        let checked_file = Launch::new().args(&["--check", "--config", path.to_str().unwrap()]).run();
        checked_file.expect(0, &[]);
        checked += 1;
    }
    assert!(checked > 0);
}

/// Says what would run, and does not: the address is taken.
#[test]
fn check_binds_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let toml =
        format!("{}[[listener]]\nname = \"file\"\nprotocol = \"unix\"\naddress = \"it.sock\"\n", LISTENER)
            .replace("127.0.0.1:0", &address);
    let checked = Launch::new().config(&toml).args(&["--check"]).run();
    checked.expect(0, &[]);
    for word in ["web", &address, "it.sock", "epoll", "echo"] {
        assert!(checked.stdout.contains(word), "no {word:?} in {}", checked.stdout);
    }
    assert!(!checked.dir.path().join("it.sock").exists());
}

#[test]
fn check_works_without_a_file() {
    let checked = Launch::new().args(&["--check"]).run();
    checked.expect(0, &[]);
    assert!(
        checked.stdout.contains("127.0.0.1:7777") && checked.stdout.contains("[::1]:7777"),
        "{}",
        checked.stdout
    );
}

/// Legal but unwise: said, and no error.
#[test]
fn select_is_warned_of_more_than_it_can_watch() {
    let config = format!("{LISTENER}mode = \"select\"\nmax-connections = 5000\n");
    let checked = Launch::new().config(&config).args(&["--check"]).run();
    checked.expect(0, &["max-connections is 5000", "select"]);
    let quiet = Launch::new().config(&format!("{LISTENER}mode = \"select\"\n")).args(&["--check"]).run();
    assert_eq!(quiet.stderr, "");
}

#[test]
fn a_udp_listener_that_is_open_to_everybody_is_warned_of() {
    let check = |listener: &str| {
        let checked = Launch::new()
            .config(&format!("[[listener]]\nname = \"it\"\n{listener}\n"))
            .args(&["--check"])
            .run();
        checked.expect(0, &[]);
        checked.stderr
    };
    let open = "answers datagrams from everywhere";
    for (listener, warned) in [
        ("protocol = \"udp\"\naddress = \"0.0.0.0:7\"", true),
        ("protocol = \"udp\"\naddress = [\"127.0.0.1:7\", \"[::]:8\"]", true),
        ("protocol = \"udp\"\naddress = \"192.0.2.1:7\"\ndeny = \"192.0.2.2\"", true),
        ("protocol = \"udp\"\naddress = \"0.0.0.0:7\"\nallow = \"10.0.0.0/8\"", false),
        ("protocol = \"udp\"\naddress = \"0.0.0.0:9\"\nservice = \"discard\"", false),
        ("protocol = \"udp\"\naddress = [\"192.168.1.1:7\", \"[fd00::1]:7\", \"[::1]:7\"]", false),
        ("protocol = \"tcp\"\naddress = \"0.0.0.0:7\"", false),
    ] {
        let told = check(listener);
        assert_eq!(told.contains(open), warned, "{listener}: {told}");
        assert_eq!(told.contains("name in `allow` who may use it"), warned, "{listener}: {told}");
    }
    let chargen = "protocol = \"udp\"\naddress = \"127.0.0.1:19\"\nservice = \"chargen\"";
    assert_eq!(check(chargen), "");
    assert!(check(&format!("{chargen}\nallow-amplification = true")).contains("CVE-1999-0103"));
}

#[test]
fn files_that_everybody_may_write_are_warned_of() {
    let listener = format!("{LISTENER}deny-include = \"nets\"\n");
    let warn = |config: u32, nets: u32| {
        let launch = Launch::new().config(&listener).args(&["--check"]);
        fs::write(launch.dir().join("nets"), "::1\n").unwrap();
        for (file, mode) in [("echod.toml", config), ("nets", nets)] {
            fs::set_permissions(launch.dir().join(file), Permissions::from_mode(mode)).unwrap();
        }
        let checked = launch.run();
        checked.expect(0, &[]);
        checked.stderr
    };
    assert_eq!(warn(0o664, 0o640), "");
    let told = warn(0o666, 0o602);
    assert!(told.contains("echod.toml can be written by everybody"), "{told}");
    assert!(told.contains("try `chmod o-w nets`"), "{told}");
}

/// They are taken for ports of a loop, wherever a datagram comes from.
#[test]
fn check_warns_of_udp_ports_that_clients_are_given() {
    let check = |keys: &str| {
        let toml = format!(
            "[[listener]]\nname = \"it\"\nprotocol = \"udp\"\naddress = \"10.1.2.3:50000-50999\"\nallow = \"10.0.0.0/8\"\n{keys}\n"
        );
        let checked = Launch::new().config(&toml).args(&["--check"]).run();
        checked.expect(0, &[]);
        checked.stdout + &checked.stderr
    };
    let told = check("");
    assert!(told.contains("1000 UDP ports of ours are among those that clients are given"), "{told}");
    assert!(told.contains("`trusted`"), "{told}");
    assert!(!check("trusted = \"10.0.0.0/8\"").contains("UDP ports"));
}
