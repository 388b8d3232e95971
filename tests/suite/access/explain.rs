//! `echod explain`: the decisions about a source, and the lines of the file that make them. What it says is what the
//! daemon does.

use nix::unistd::{Uid, User};

use crate::harness::{Client, Finished, Launch};

const FILE: &str = "\
[defaults]
deny-include = \"blocked\"
[[listener]]
name = \"lab\"
protocol = \"udp\"
address = \"[::]:0\"
allow = [
    \"127.0.0.0/8\",
    \"2001:db8::/32\",
]
rate-per-source = \"1000/s\"
[[listener]]
name = \"web\"
protocol = \"tcp\"
address = \"0.0.0.0:0\"
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
    let here = FILE.replace("[::]:0", "127.0.0.1:0").replace("0.0.0.0:0", "127.0.0.1:0");
    let launch = Launch::new().config(&here);
    std::fs::write(launch.dir().join("blocked"), BLOCKED).unwrap();
    let daemon = launch.start();
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

const FAR: &str = "\
[[listener]]
name = \"near\"
protocol = \"tcp\"
address = [\"127.0.0.1:7\", \"localhost:8\"]
[[listener]]
name = \"v4\"
protocol = \"udp\"
address = \"192.0.2.1:7\"
[[listener]]
name = \"v6\"
protocol = \"tcp\"
address = \"[::]:7\"
v6-only = true
";

/// Nobody is let in who cannot even get here.
#[test]
fn an_address_that_cannot_be_reached_is_told() {
    for (listener, from, code, words) in [
        ("near", "203.0.113.7", 77, "only this machine reaches 127.0.0.1:7, localhost:8"),
        ("near", "127.0.0.9", 0, ""),
        ("v4", "2001:db8::7", 77, "192.0.2.1:7 is not reached over IPv6"),
        ("v4", "203.0.113.7", 0, ""),
        ("v6", "203.0.113.7", 77, "[::]:7 is not reached over IPv4"),
        ("v6", "2001:db8::7", 0, ""),
    ] {
        let args = ["explain", "--listener", listener, "--from", from];
        let finished = Launch::new().config(FAR).args(&args).run();
        finished.expect(code, &[words]);
        assert_eq!(finished.stdout.contains("NO WAY   address"), code == 77, "{}", finished.stdout);
    }
}

const PROXIED: &str = "\
[[listener]]
name = \"required\"
protocol = \"tcp\"
address = \"127.0.0.1:0\"
proxy-protocol = \"required\"
trusted-proxies = [\"127.0.0.2\", \"127.0.0.4\"]
allow = \"198.51.100.0/24\"
[[listener]]
name = \"optional\"
protocol = \"tcp\"
address = \"127.0.0.1:0\"
proxy-protocol = \"optional\"
trusted-proxies = \"127.0.0.2\"
deny = [\"127.0.0.4\", \"203.0.113.0/24\"]
[[listener]]
name = \"plain\"
protocol = \"tcp\"
address = \"127.0.0.1:0\"
";

fn explain_proxied(listener: &str, from: &str, proxy: Option<&str>) -> Finished {
    let args = ["explain", "--listener", listener, "--from", from];
    let proxy = proxy.map(|proxy| ["--proxy", proxy]);
    Launch::new().config(PROXIED).args(&args).args(proxy.as_ref().map_or(&[], |proxy| proxy)).run()
}

#[test]
fn a_proxy_is_judged_before_whom_it_speaks_for() {
    let untrusted = explain_proxied("required", "198.51.100.5", Some("127.0.0.1"));
    untrusted.expect(77, &["refuses 127.0.0.1 (untrusted-proxy)"]);
    assert_eq!(
        steps(&untrusted)[0],
        "REFUSED trusted-proxies no network in it holds 127.0.0.1 (echod.toml:6)"
    );
    let trusted = explain_proxied("required", "198.51.100.5", Some("127.0.0.4"));
    trusted.expect(0, &[]);
    assert!(trusted.stdout.contains("from 198.51.100.5 through 127.0.0.4"), "{}", trusted.stdout);
    assert_eq!(
        steps(&trusted)[..2],
        [
            "pass trusted-proxies 127.0.0.4/32 holds 127.0.0.4: its header is believed (echod.toml:6)",
            "pass allow 198.51.100.0/24 is the longest that holds 198.51.100.5 (echod.toml:7)",
        ]
    );
    explain_proxied("required", "127.0.0.1", None).expect(77, &["(not-allowed)"]);
    let some = explain_proxied("required", "198.51.100.5", None);
    some.expect(0, &[]);
    assert!(some.stdout.ends_with("let in through a trusted proxy, as far as the limits allow\n"));
    assert!(
        steps(&some)[0]
            .starts_with("limit proxy-protocol only through a proxy of 127.0.0.2/32, 127.0.0.4/32")
    );
    explain_proxied("plain", "127.0.0.1", Some("127.0.0.2")).expect(64, &["`proxy-protocol` is off"]);
}

/// With real clients and real headers.
#[test]
fn the_daemon_treats_proxies_as_it_is_explained() {
    let daemon = Launch::new().config(PROXIED).start();
    let (inside, outside) = ("198.51.100.5", "203.0.113.7");
    for (listener, from, proxy) in [
        ("required", inside, Some("127.0.0.2")),
        ("required", outside, Some("127.0.0.2")),
        ("required", inside, Some("127.0.0.1")),
        ("optional", inside, Some("127.0.0.2")),
        ("optional", outside, Some("127.0.0.2")),
        ("optional", inside, Some("127.0.0.4")),
        ("optional", "127.0.0.2", None),
        ("optional", "127.0.0.3", None),
        ("optional", "127.0.0.4", None),
        ("plain", "127.0.0.4", None),
    ] {
        let explained = explain_proxied(listener, from, proxy);
        let client = Client::connect_from(&daemon.endpoint(listener), proxy.unwrap_or(from));
        let header = proxy.map_or(String::new(), |_| format!("PROXY TCP4 {from} 192.0.2.1 4711 7\r\n"));
        let served = client.try_send((header + "x").as_bytes()).is_ok()
            && client.read(&mut [0]).is_ok_and(|length| length == 1);
        assert_eq!(explained.status.success(), served, "{listener} {from} {proxy:?}\n{}", explained.stdout);
    }
}

#[test]
fn a_proxy_of_a_unix_listener_is_a_user() {
    let toml = "[[listener]]\nname = \"it\"\nprotocol = \"unix\"\naddress = \"it.sock\"\nproxy-protocol = \"required\"\n\
                allow-users = \"root\"\nallow = \"198.51.100.0/24\"\n";
    for (from, proxy, code, word) in [
        ("198.51.100.5", Some("root"), 0, ""),
        ("198.51.100.5", Some("4242"), 77, "refuses user 4242 (user)"),
        ("203.0.113.7", Some("root"), 77, "(not-allowed)"),
        ("203.0.113.7", None, 77, "(not-allowed)"),
        ("198.51.100.5", None, 0, ""),
        ("root", None, 0, ""),
        ("4242", None, 77, "(user)"),
        ("root", Some("root"), 64, "a proxy tells an address"),
    ] {
        let proxy = proxy.map(|proxy| ["--proxy", proxy]);
        let args = ["explain", "--listener", "it", "--from", from];
        let launch = Launch::new().config(toml).args(&args);
        launch.args(proxy.as_ref().map_or(&[], |proxy| proxy)).run().expect(code, &[word]);
    }
}

/// What is refused by its length is no matter of the client.
#[test]
fn a_short_request_to_whoami_is_told() {
    let url = "udp://127.0.0.1:7?name=it&service=whoami";
    for (more, told) in [
        (
            "",
            "limit service whoami answers a datagram that is as long as its answer, and refuses a shorter one (unpadded): pad it to 1,200 bytes",
        ),
        ("&allow-amplification=true", "pass allow-amplification whoami answers a datagram of any length"),
    ] {
        let asked = Launch::new()
            .args(&["explain", "-l", &format!("{url}{more}"), "--listener", "it", "--from", "127.0.0.1"])
            .run();
        asked.expect(0, &[]);
        assert!(steps(&asked).iter().any(|step| step.starts_with(told)), "{}", asked.stdout);
    }
}
