//! Where the kernel cannot echo, or must not: `auto` says so in one line and serves, `on` fails with the cure.

use super::{auto, echo, network::in_two_namespaces, on, udp};
use crate::harness::{Echod, Launch, Patient, is_root, netns::sh, skipped};

const KEYS: [(&str, &str); 9] = [
    ("max-requests = 5", "max-requests"),
    ("payload = \"text\"", "payload"),
    ("reuse-port = true", "reuse-port"),
    ("rate-per-source = \"1000/s\"", "rate-per-source"),
    ("mode = \"forking\"", "mode"),
    ("dscp = 46", "dscp"),
    ("ttl = 5", "ttl"),
    ("dont-fragment = \"off\"", "dont-fragment"),
    ("[log]\nlevel = \"debug\"", "level"),
];

#[test]
fn keys_that_the_kernel_cannot_hold_are_named() {
    for (line, key) in KEYS {
        let with = |offload: &str| udp("it", "127.0.0.1:0", &format!("offload = \"{offload}\"\n{line}"));
        let insists = Launch::new().config(&with("on")).args(&["--check"]).run();
        assert_eq!(insists.status.code(), Some(0), "{}", insists.stderr);
        let told = format!("listener \"it\": offload: `{key}` is in the way");
        assert!(
            insists.stderr.contains(&told) && insists.stderr.contains("will not start"),
            "{}",
            insists.stderr
        );
        let asks = Launch::new().config(&with("auto")).args(&["--check"]).run();
        assert!(
            asks.stderr.contains(&told) && asks.stderr.contains("its socket serves it"),
            "{}",
            asks.stderr
        );
        let daemon = Echod::start(&with("auto"));
        daemon.wait_log(|line| {
            line.contains("the kernel does not echo for it: ")
                && (line.contains(key) || line.contains("CAP_BPF"))
        });
        echo(&Patient::udp("127.0.0.1:0"), daemon.endpoint("it").inet(), b"by the socket");
        let failed = Launch::new().config(&with("on")).try_start().err().unwrap();
        assert!(matches!(failed.status.code(), Some(69 | 77)), "{}", failed.stderr);
        assert!(failed.stderr.contains("the kernel cannot echo for it: "), "{}", failed.stderr);
    }
}

#[test]
fn only_the_echo_over_udp_may_ask() {
    for (protocol, more) in [("tcp", ""), ("udp", "service = \"upper\"\n")] {
        let toml = format!(
            "[[listener]]\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:0\"\n{more}offload = \"auto\"\n"
        );
        Launch::new().config(&toml).args(&["--check"]).run().expect(78, &["`offload` does not fit"]);
    }
    let defaults =
        "[defaults]\noffload = \"auto\"\n[[listener]]\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n";
    Launch::new().config(defaults).args(&["--check"]).run().expect(0, &[]);
}

/// Without privileges, and without the two capabilities as a container is.
#[test]
fn without_capabilities_the_socket_serves() {
    if !is_root() {
        return;
    }
    let drop = "exec setpriv --bounding-set -bpf,-net_admin,-sys_admin --inh-caps -bpf,-net_admin,-sys_admin \"$0\" \"$@\"";
    if sh("setpriv --bounding-set -bpf true").is_err() {
        return skipped("there is no setpriv");
    }
    for script in ["exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\" \"$@\"", drop] {
        let launch = |offload: &str| {
            let launch = Launch::new().config(&udp("it", "127.0.0.1:0", &format!("offload = \"{offload}\"")));
            // The user that it becomes must reach it.
            sh(&format!("chmod 777 {0}; chmod 666 {0}/echod.toml", launch.dir().display())).unwrap();
            launch.shell(script)
        };
        let daemon = launch("auto").start();
        let line = daemon.wait_log(|line| line.contains("the kernel does not echo for it"));
        assert!(line.contains("this process does not have CAP_BPF and CAP_NET_ADMIN"), "{line}");
        echo(&Patient::udp("127.0.0.1:0"), daemon.endpoint("it").inet(), b"by the socket");
        let failed = launch("on").try_start().err().unwrap();
        assert_eq!(failed.status.code(), Some(77), "{}", failed.stderr);
        assert!(failed.stderr.contains("start echod as root, or give them to its unit"), "{}", failed.stderr);
    }
}

/// The kernel tells another version to a process with the personality UNAME26.
#[test]
fn an_older_kernel_leaves_it_to_the_socket() {
    if sh("setarch --uname-2.6 true").is_err() {
        return skipped("there is no setarch");
    }
    let launch = |offload: &str| {
        let launch = Launch::new().config(&udp("it", "127.0.0.1:0", &format!("offload = \"{offload}\"")));
        launch.shell("exec setarch --uname-2.6 \"$0\" \"$@\"")
    };
    let daemon = launch("auto").start();
    daemon.wait_log(|line| {
        line.contains("the kernel does not echo for it: it takes Linux 6.6, and this is 2.6.")
    });
    echo(&Patient::udp("127.0.0.1:0"), daemon.endpoint("it").inet(), b"by the socket");
    let failed = launch("on").try_start().err().unwrap();
    assert_eq!(failed.status.code(), Some(69), "{}", failed.stderr);
    assert!(failed.stderr.contains("use another kernel"), "{}", failed.stderr);
}

#[test]
fn the_packet_filter_is_bypassed_only_on_demand() {
    in_two_namespaces(|_| {
        if sh("nft add table inet t && nft 'add chain inet t c { type filter hook input priority 0; }'")
            .is_err()
        {
            return skipped("there is no nft");
        }
        let daemon = Echod::start(&auto("127.0.0.1:7007"));
        daemon.wait_log(|line| line.contains("does not echo for it: it bypasses the rules"));
        echo(&Patient::udp("127.0.0.1:0"), "127.0.0.1:7007".parse().unwrap(), b"by the socket");
        daemon.wait_state("it", |state| ["offloaded", "served"].map(|key| state[key]) == [0, 1]);
        drop(daemon);
        let daemon = Echod::start(&on("127.0.0.1:7007", ""));
        daemon.wait_log(|line| line.contains("WARN") && line.contains("it bypasses the rules"));
        echo(&Patient::udp("127.0.0.1:0"), "127.0.0.1:7007".parse().unwrap(), b"by the kernel");
        daemon.wait_state("it", |state| ["offloaded", "served"].map(|key| state[key]) == [1, 1]);
        // A chain that nothing hooks in, or that only sees what is routed, is not in the way.
        sh("nft flush ruleset; nft add table inet t && nft add chain inet t d").unwrap();
        sh("nft 'add chain inet t c { type filter hook forward priority 0; }'").unwrap();
        drop(daemon);
        let daemon = Echod::start(&auto("127.0.0.1:7007"));
        daemon.wait_log(|line| line.contains("the kernel echoes for it on lo"));
    });
}

#[test]
fn policies_of_ipsec_are_bypassed_only_on_demand() {
    in_two_namespaces(|_| {
        let policy = "ip xfrm policy add dir in src 10.77.0.2/32 dst 10.77.0.1/32 action block";
        if sh(policy).is_err() {
            return skipped("there is no IPsec");
        }
        let start = || Echod::start(&auto("127.0.0.1:7007"));
        let is_refused =
            |line: &str| line.contains("does not echo for it: it bypasses this machine's policies of IPsec");
        start().wait_log(is_refused);
        let daemon = Echod::start(&on("127.0.0.1:7007", ""));
        daemon.wait_log(|line| line.contains("WARN") && line.contains("it bypasses this machine's policies"));
        drop(daemon);
        sh("ip xfrm policy flush").unwrap();
        start().wait_log(|line| line.contains("the kernel echoes for it on lo"));
        // What no policy is for may be blocked, too.
        if sh("ip xfrm policy setdefault in block").is_err() {
            return skipped("ip(8) or the kernel has no defaults for IPsec");
        }
        start().wait_log(is_refused);
    });
}

/// Each of the tables has an end, which is said before the start where that can be known.
#[test]
fn more_than_the_tables_hold_is_told() {
    in_two_namespaces(|_| {
        let many = |count: u16, offload: &str| {
            let listener = |at| {
                udp(&format!("l{at}"), &format!("0.0.0.0:{}", 7000 + at), &format!("offload = \"{offload}\""))
            };
            (0..count).map(listener).collect::<String>()
        };
        let told = "it echoes for 63 listeners at most";
        let check = Launch::new().config(&many(64, "on")).args(&["--check"]).run();
        check.expect(0, &["listener \"l63\"", told, "echod will not start"]);
        let failed = Launch::new().config(&many(64, "on")).try_start().err().unwrap();
        failed.expect(69, &["listener \"l63\"", told, "ask for it in fewer"]);
        let daemon = Echod::start(&many(64, "auto"));
        daemon.wait_log(|line| line.contains(told));
        daemon.wait_log(|line| line.contains("listener \"l62\": the kernel echoes for it on lo, va"));
        drop(daemon);
        let addresses =
            (0..140).map(|at| format!("ip address add 10.80.0.{at}/32 dev va")).collect::<Vec<_>>();
        sh(&addresses.join(" && ")).unwrap();
        let failed = Launch::new().config(&many(63, "on")).try_start().err().unwrap();
        failed.expect(69, &["the addresses of its listeners are too many for its table"]);
    });
}

#[test]
fn a_listener_that_insists_and_comes_to_nothing_is_warned_of() {
    in_two_namespaces(|_| {
        let daemon = Echod::start(&on("0.0.0.0:7007", ""));
        daemon.reload(&on("10.99.99.99:7007", "freebind = true"));
        daemon
            .wait_log(|line| line.contains(" WARN ") && line.contains("does not echo for it: no interface"));
    });
}

#[test]
fn an_address_on_no_interface_that_is_served_is_told() {
    in_two_namespaces(|_| {
        let made = "ip link add link va name d0 type macvlan && ip address add 10.78.0.1/24 dev d0";
        if sh(&format!("{made} && ip link set d0 up")).is_err() {
            return skipped("there is no macvlan");
        }
        let failed = Launch::new().config(&on("10.78.0.1:7007", "")).try_start().err().unwrap();
        assert_eq!(failed.status.code(), Some(69), "{}", failed.stderr);
        assert!(failed.stderr.contains("no interface that it serves has one"), "{}", failed.stderr);
        let daemon = Echod::start(&auto("10.78.0.1:7007"));
        daemon.wait_log(|line| line.contains("the kernel does not echo for it: no interface that it serves"));
        echo(&Patient::udp("10.78.0.1:0"), "10.78.0.1:7007".parse().unwrap(), b"by the socket");
    });
}

/// After the start it is too late to load a program.
#[test]
fn a_reload_cannot_begin_it() {
    in_two_namespaces(|_| {
        let plain = udp("it", "127.0.0.1:7007", "");
        let daemon = Echod::start(&plain);
        std::fs::write(daemon.path("echod.toml"), on("127.0.0.1:7007", "")).unwrap();
        daemon.signal(nix::sys::signal::Signal::SIGHUP);
        let line = daemon.wait_log(|line| line.contains("the kernel cannot echo for it"));
        assert!(line.contains("restart echod"), "{line}");
        daemon.wait_log(|line| line.contains("not reloaded"));
        daemon.reload(&auto("127.0.0.1:7007"));
        daemon.wait_log(|line| {
            line.contains("does not echo for it: no listener asked for it when echod was started")
        });
        echo(&Patient::udp("127.0.0.1:0"), "127.0.0.1:7007".parse().unwrap(), b"by the socket");
    });
}
