//! `echod explain`: the decisions about a source, and the lines of the file that make them. What it says is what the
//! daemon does.

use nix::unistd::{Uid, User};

use crate::common::{Client, Finished, Launch};

const FILE: &str = "\
[defaults]
deny-include = \"blocked\"
[[listener]]
name = \"lab\"
protocol = \"udp\"
address = \"127.0.0.1:0\"
allow = [
    \"127.0.0.0/8\",
    \"2001:db8::/32\",
]
rate-per-source = \"1000/s\"
[[listener]]
name = \"web\"
protocol = \"tcp\"
address = \"127.0.0.1:0\"
max-connections-per-source = 3
when-full = \"refuse\"
connection-rate = \"50/s burst 100\"
[[listener]]
name = \"local\"
protocol = \"unix\"
address = \"it.sock\"
allow-users = [\"4242\", \"root\"]
";

const BLOCKED: &str = "# blocked\n127.0.0.2\n192.0.2.0/24\n";

fn launch() -> Launch {
    let launch = Launch::new().config(FILE);
    std::fs::write(launch.dir().join("blocked"), BLOCKED).unwrap();
    launch
}

fn explain(listener: &str, from: &str) -> Finished {
    launch().args(&["explain", "--listener", listener, "--from", from]).run()
}

/// The decisions, each as its word, its key and the rest.
fn steps(finished: &Finished) -> Vec<String> {
    let lines = finished.stdout.lines().filter(|line| line.starts_with("  "));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_deciding_line_is_named() {
    let welcome = explain("lab", "127.0.0.9:4711");
    welcome.expect(0, &[]);
    assert!(welcome.stdout.starts_with("listener \"lab\": a datagram over udp from 127.0.0.9:4711\n"));
    assert!(welcome.stdout.ends_with("let in, as far as the limits allow\n"), "{}", welcome.stdout);
    assert_eq!(
        steps(&welcome),
        [
            "pass source-address 127.0.0.9 may be somebody's (by default)",
            "pass allow 127.0.0.0/8 is the longest that holds 127.0.0.9 (echod.toml:8)",
            "pass deny-source-ports port 4711 is not in reflectors; the ports of this daemon's own listeners are refused \
             (by default)",
            "limit rate-per-source 1000/s from 127.0.0.9; who is over it is refused for 10s (echod.toml:11)",
            "limit loop-breaker every answer of number 65536 in a row is withheld, but not at a loopback address (by default)",
        ]
    );
    let mapped = explain("lab", "::ffff:127.0.0.9");
    assert!(steps(&mapped)[1].contains("127.0.0.0/8 is the longest that holds 127.0.0.9"));
    assert!(steps(&explain("lab", "[2001:db8::7]:4711"))[3].contains("from 2001:db8::/64;"));
}

#[test]
fn the_first_refusal_is_marked() {
    let denied = explain("lab", "192.0.2.7");
    denied.expect(77, &["listener \"lab\" refuses 192.0.2.7 (denied): its address is in `deny`"]);
    let told = "REFUSED deny 192.0.2.0/24 is the longest that holds 192.0.2.7 (blocked:3)";
    assert_eq!(steps(&denied)[1], told);
    let unknown = explain("lab", "203.0.113.7");
    unknown.expect(77, &["(not-allowed)"]);
    assert_eq!(steps(&unknown)[1], "REFUSED allow no network in it holds 203.0.113.7 (echod.toml:8)");
}

#[test]
fn every_limit_is_told() {
    let open = explain("web", "203.0.113.7");
    open.expect(0, &[]);
    assert_eq!(
        steps(&open),
        [
            "pass allow 0.0.0.0/0 is the longest that holds 203.0.113.7 (by default)",
            "limit max-connections 10000 at once, more are refused (by default)",
            "limit when-full clients do not wait (echod.toml:17)",
            "limit max-connections-per-source 3 at once from 203.0.113.7, more are refused (echod.toml:16)",
            "limit connection-rate 50/s burst 100 from all together, more are refused (echod.toml:18)",
        ]
    );
}

#[test]
fn a_unix_client_is_a_user() {
    let root = explain("local", "root");
    root.expect(0, &[]);
    assert_eq!(steps(&root)[0], "pass allow-users it names root (echod.toml:23)");
    explain("local", "4242").expect(0, &[]);
    let other = explain("local", "4243");
    other.expect(77, &["(user)"]);
    assert!(steps(&other)[0].starts_with("REFUSED allow-users 4243 is not in it"), "{}", other.stdout);
    assert!(User::from_uid(Uid::from_raw(4243)).unwrap().is_none(), "this test means a user without a name");
}

#[test]
fn faulty_questions_are_usage() {
    explain("nobody", "::1").expect(64, &["listener \"nobody\"", "\"lab\", \"web\", \"local\""]);
    explain("lab", "root").expect(64, &["`root` is no address"]);
    explain("local", "no-such-user-here").expect(64, &["there is no user `no-such-user-here`"]);
    Launch::new().args(&["explain", "--listener", "x"]).run().expect(64, &["--from"]);
    launch()
        .args(&["explain", "--listener", "lab", "--from", "::1", "-c", "none"])
        .run()
        .expect(66, &["none"]);
    // A URL is a listener too.
    let args = ["explain", "--listener", "it", "--from", "::1", "-l", "tcp://[::1]:7?name=it&deny=::1"];
    let of_url = Launch::new().args(&args).run();
    of_url.expect(77, &["refuses ::1 (denied)"]);
    assert_eq!(steps(&of_url)[0], "REFUSED deny ::1/128 is the longest that holds ::1 (--listen)");
}

/// The same rules, seen from outside.
#[test]
fn the_daemon_does_what_is_explained() {
    let daemon = launch().start();
    for (ip, code) in [("127.0.0.1", 0), ("127.0.0.2", 77), ("127.0.0.3", 0)] {
        for listener in ["lab", "web"] {
            explain(listener, ip).expect(code, &[]);
        }
        let client = Client::connect_from(&daemon.endpoint("web"), ip);
        let served = client.try_send(b"x").is_ok() && client.read(&mut [0]).is_ok_and(|length| length == 1);
        assert_eq!(served, code == 0, "{ip}");
    }
}

const GUARDED: &str = "\
[[listener]]
name = \"it\"
protocol = \"udp\"
address = \"192.0.2.1:7\"
deny-source-ports = [\"reflectors\", \"4000-4009\"]
trusted = \"198.51.100.0/24\"
";

#[test]
fn the_guard_of_datagrams_is_asked() {
    for (from, code, step) in [
        ("224.0.0.1:9999", 77, "REFUSED source-address nobody asks from 224.0.0.1 here (by default)"),
        ("127.0.0.1:9999", 77, "REFUSED source-address nobody asks from 127.0.0.1 here (by default)"),
        ("203.0.113.7:0", 77, "REFUSED deny-source-ports port 0 cannot be answered (echod.toml:5)"),
        ("203.0.113.7:19", 77, "REFUSED deny-source-ports port 19 is in reflectors,4000-4009 (echod.toml:5)"),
        (
            "203.0.113.7:4005",
            77,
            "REFUSED deny-source-ports port 4005 is in reflectors,4000-4009 (echod.toml:5)",
        ),
        (
            "203.0.113.7:5353",
            0,
            "limit deny-source-ports port 5353, with others like it, is answered 10 times a second",
        ),
        (
            "203.0.113.7",
            0,
            "limit deny-source-ports depends on the port: refused are reflectors,4000-4009, and",
        ),
        ("203.0.113.7:9999", 0, "limit loop-breaker every answer of number 65536 in a row is withheld"),
        (
            "198.51.100.7:9999",
            0,
            "pass trusted 198.51.100.0/24 holds 198.51.100.7: answered without end (echod.toml:6)",
        ),
    ] {
        let finished =
            Launch::new().config(GUARDED).args(&["explain", "--listener", "it", "--from", from]).run();
        finished.expect(code, &[]);
        let found = steps(&finished).iter().any(|found| found.starts_with(step));
        assert!(found, "{from}: {step}\n{}", finished.stdout);
    }
}
