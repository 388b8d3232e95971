//! What values, keys and addresses may not be, case by case.

use super::{diagnostics, good, listener, try_load};

#[test]
fn values_have_limits() {
    for (protocol, key) in [
        ("tcp", "name = \"\""),
        ("tcp", "name = \"a\\nb\""),
        ("tcp", "workers = 0"),
        ("tcp", "workers = 1025"),
        ("tcp", "workers = \"many\""),
        ("tcp", "workers = true"),
        ("tcp", "max-connections = 0"),
        ("tcp", "max-connections = 1000001"),
        ("tcp", "max-requests = -1"),
        ("tcp", "idle-timeout = \"0s\""),
        ("tcp", "idle-timeout = \"999us\""),
        ("unix", "max-lifetime = \"never\""),
        ("tcp", "max-bytes = -1"),
        ("tcp", "max-bytes = true"),
        ("unix", "max-bytes = \"lots\""),
        ("tcp", "proxy-protocol = \"v2\""),
        ("tcp", "trusted-proxies = \"10.0.0.1/8\""),
        ("tcp", "proxy-header-timeout = \"off\""),
        ("unix", "proxy-header-timeout = \"0s\""),
        ("unix", "proxy-header-timeout = \"2m\""),
        ("tcp", "backlog = -1"),
        ("tcp", "backlog = 2147483648"),
        ("tcp", "keepalive = \"0s\""),
        ("tcp", "keepalive = \"1500ms\""),
        ("tcp", "keepalive = \"10h\""),
        ("tcp", "keepalive = 60"),
        ("tcp", "receive-buffer = \"64 pages\""),
        ("tcp", "send-buffer = -1"),
        ("tcp", "send-buffer = true"),
        ("tcp", "device = \"a-name-of-16-byt\""),
        ("tcp", "device = \"a b\""),
        ("tcp", "payload = \"txt\""),
        ("tcp", "service = \"ecko\""),
        ("tcp", "service = \"qotd\"\nquote = \"\\u001b[31m\""),
        ("udp", "loop-breaker = 1"),
        ("udp", "loop-breaker = -1"),
        ("udp", "loop-breaker = 1000000001"),
        ("udp", "deny-source-ports = \"echo\""),
        ("udp", "deny-source-ports = [7, 65536]"),
        ("udp", "trusted = \"192.0.2.1/24\""),
        ("unix", "socket-mode = \"10000\""),
        ("unix", "socket-mode = \"rw\""),
        ("unix", "socket-user = \"\""),
        ("unix", "socket-user = \"a\\u0000b\""),
        ("unix", "socket-user = true"),
        ("unix", "socket-user = -1"),
        ("unix", "socket-user = 4294967295"),
        ("unix", "socket-group = \"no such group\""),
    ] {
        let address = if protocol == "unix" { "/x" } else { "127.0.0.1:7" };
        let found = diagnostics(&listener(protocol, address, key));
        assert_eq!(found.len(), 1, "{key}: {found:?}");
        assert!(found[0].starts_with(['2', '3']) && !found[0].ends_with(": "), "{key}: {found:?}");
    }
    let quote = |length| {
        listener("tcp", "[::1]:7", &format!("service = \"qotd\"\nquote = \"{}\"", "x".repeat(length)))
    };
    assert_eq!(good(&quote(510)).config.listeners[0].quote.len(), 510);
    assert!(diagnostics(&quote(511))[0].starts_with("3:9 the quote is too long, 511 bytes"));
}

#[test]
fn keys_must_fit_their_listener() {
    for (protocol, address, key) in [
        ("udp", "127.0.0.1:7", "nodelay = true"),
        ("tcp", "127.0.0.1:7", "loop-breaker = 0"),
        ("tcp", "127.0.0.1:7", "trusted = []"),
        ("unix", "/x", "deny-source-ports = \"none\""),
        ("unix-datagram", "/x", "allow-multicast = true"),
        ("unix-datagram", "/x", "kernel-filter = false"),
        ("unix", "/x", "keepalive = \"off\""),
        ("udp", "127.0.0.1:7", "idle-timeout = \"off\""),
        ("unix-datagram", "/x", "max-lifetime = \"1h\""),
        ("udp", "127.0.0.1:7", "max-bytes = 0"),
        ("udp", "127.0.0.1:7", "proxy-protocol = \"off\""),
        ("unix-datagram", "/x", "proxy-header-timeout = \"1s\""),
        ("unix", "/x", "trusted-proxies = \"::1\""),
        ("udp", "127.0.0.1:7", "backlog = 0"),
        ("unix-datagram", "/x", "backlog = 0"),
        ("unix", "/x", "v6-only = false"),
        ("unix", "/x", "device = \"\""),
        ("unix", "/x", "reuse-port = true"),
        ("unix", "/x", "reuse-address = true"),
        ("tcp", "127.0.0.1:7", "socket-mode = \"0600\""),
        ("udp", "127.0.0.1:7", "socket-user = 0"),
        ("unix", "@x", "socket-group = 0"),
        ("tcp", "127.0.0.1:7", "allow-amplification = true"),
        ("unix-datagram", "@x", "gso = true"),
        ("unix-seqpacket", "/x", "nodelay = true"),
        ("unix-seqpacket", "/x", "proxy-protocol = \"off\""),
        ("unix-seqpacket", "@x", "allow = \"::1\""),
        ("unix-seqpacket", "@x", "socket-mode = \"0600\""),
        ("unix", "@x", "allow-amplification = false"),
        ("tcp", "127.0.0.1:7", "quote = \"x\""),
    ] {
        let found = diagnostics(&listener(protocol, address, key));
        let name = key.split(' ').next().unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("2:1 `{name}` does not fit ")), "{found:?}");
    }
    for key in ["workers = 2", "workers = \"auto\"", "max-connections = 2"] {
        let found = diagnostics(&listener("tcp", "127.0.0.1:7", &format!("mode = \"iterative\"\n{key}")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("does not fit mode `iterative`"), "{found:?}");
    }
    good(&listener("tcp", "127.0.0.1:7", "mode = \"iterative\"\nworkers = 1\nmax-connections = 1"));
}

#[test]
fn addresses_must_not_clash() {
    let two =
        |a: (&str, &str, &str), b: (&str, &str, &str)| listener(a.0, a.1, a.2) + &listener(b.0, b.1, b.2);
    for (a, b) in [
        (("tcp", "127.0.0.1:7", ""), ("tcp", "127.0.0.1:7", "")),
        (("tcp", "127.0.0.1:7-9", ""), ("tcp", "127.0.0.1:9-10", "")),
        (("tcp", "127.0.0.1:7", "reuse-port = true"), ("tcp", "127.0.0.1:7", "")),
        (("tcp", "localhost:7", ""), ("tcp", "LocalHost:7", "")),
        (("tcp", "0.0.0.0:7", ""), ("tcp", "127.0.0.1:7", "")),
        (("tcp", "[::]:7", ""), ("tcp", "127.0.0.1:7", "")),
        (("udp", "0.0.0.0:7", ""), ("udp", "[::]:7", "")),
        (("udp", "127.0.0.1:7", "device = \"lo\""), ("udp", "127.0.0.1:7", "")),
        (("udp", "0.0.0.0:7", ""), ("udp", "127.0.0.1:7", "")),
        (("udp", "127.0.0.1:7", ""), ("udp", "[::]:7", "")),
        (("udp", "127.0.0.1:7", "v6-only = true"), ("udp", "[::]:7", "")),
        (("tcp", "[::ffff:127.0.0.1]:7", ""), ("tcp", "127.0.0.1:7", "")),
        (("tcp", "[fe80::1%lo]:7", ""), ("tcp", "[fe80::1%1]:7", "")),
        (("tcp", "[fe80::1%eth0]:7", ""), ("tcp", "[::]:7", "")),
        (("unix", "/x", ""), ("unix", "/x", "")),
        (("unix", "/x", ""), ("unix-datagram", "/x", "")),
        (("unix", "/x", ""), ("unix-seqpacket", "/x", "")),
        (("unix", "x", ""), ("unix", "./x", "")),
        (("unix", "/dev/x", ""), ("unix", "/dev/../dev/./x", "")),
        (("unix", "@x", ""), ("unix", "@x", "")),
    ] {
        let found = diagnostics(&two(a, b));
        assert_eq!(found.len(), 1, "{a:?} {b:?} {found:?}");
        assert!(found[0].starts_with("8:11 "), "{found:?}");
    }
    for (a, b) in [
        (("tcp", "127.0.0.1:7", ""), ("udp", "127.0.0.1:7", "")),
        (("tcp", "127.0.0.1:0", ""), ("tcp", "127.0.0.1:0", "")),
        (("tcp", "127.0.0.1:7", "reuse-port = true"), ("tcp", "127.0.0.1:7", "reuse-port = true")),
        (("tcp", "127.0.0.1:7", "enabled = false"), ("tcp", "127.0.0.1:7", "")),
        (("udp", "0.0.0.0:7", "reuse-port = true"), ("udp", "127.0.0.1:7", "reuse-port = true")),
        (("udp", "0.0.0.0:7", ""), ("udp", "[::]:7", "v6-only = true")),
        (("tcp", "[fe80::1%eth0]:7", ""), ("tcp", "[::]:7", "device = \"eth1\"")),
        (("tcp", "0.0.0.0:7", ""), ("tcp", "[::1]:7", "")),
        (("udp", "127.0.0.1:7", "device = \"lo\""), ("udp", "127.0.0.1:7", "device = \"eth0\"")),
        (("unix", "@x", ""), ("unix-datagram", "@x", "")),
        (("unix", "@x", ""), ("unix-seqpacket", "@x", "")),
    ] {
        assert_eq!(good(&two(a, b)).config.listeners.len(), 2 - usize::from(a.2.starts_with("enabled")));
    }
    good("[[listener]]\nprotocol = \"tcp\"\naddress = [\"0.0.0.0:7\", \"[::]:7\"]\n");
    let beside = "[[listener]]\nprotocol = \"udp\"\naddress = [\"127.0.0.1:7\", \"[::]:7\"]\n";
    assert!(diagnostics(beside)[0].starts_with("3:27 udp://[::]:7 clashes with udp://127.0.0.1:7: "));
    let twice = "[[listener]]\nprotocol = \"tcp\"\naddress = [\"[::1]:7\", \"[::1]:7\"]\n";
    assert_eq!(
        diagnostics(twice),
        ["3:23 tcp://[::1]:7 is served twice: choose another port, or set `reuse-port = true` for both"]
    );
}

#[test]
fn files_must_not_be_one() {
    let head = "[daemon]\npid-file = \"x\"\n[log]\ntarget = \"file\"\nfile = \"./y\"\n";
    let toml = |address: &str| format!("{head}[[listener]]\nprotocol = \"unix\"\naddress = \"{address}\"\n");
    good(&toml("z"));
    assert_eq!(diagnostics(&toml("./x")), ["8:11 unix:./x is `pid-file`, too: choose another name"]);
    assert_eq!(diagnostics(&toml("y")), ["8:11 unix:y is `file` of the log, too: choose another name"]);
    let one = toml("z").replace("./y", "x");
    assert_eq!(diagnostics(&one), ["5:8 `file` of the log is `pid-file`, too: choose another name"]);
    good(&one.replace("target = \"file\"", ""));
}

#[test]
fn ipv4_is_not_served_by_ipv6_only() {
    let found = diagnostics(&listener("tcp", "[::ffff:127.0.0.1]:7", "v6-only = true"));
    assert!(found[0].contains("is an address of IPv4, and `v6-only` serves none"), "{found:?}");
    good(&listener("tcp", "[::ffff:127.0.0.1]:7", ""));
}

/// What `[defaults]` say must not undo what a listener says.
#[test]
fn a_number_of_workers_in_the_defaults_is_no_quiet_end_of_when_full() {
    let toml = |defaults: &str, keys: &str| {
        format!(
            "[defaults]\n{defaults}\n{}",
            listener("tcp", "127.0.0.1:7", &format!("when-full = \"refuse\"\n{keys}"))
        )
    };
    let found = diagnostics(&toml("workers = 4", "mode = \"threading\""));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("4:1 `when-full` `refuse` does not fit a fixed number of workers"),
        "{found:?}"
    );
    let drawn = try_load(&toml("workers = 4", "mode = \"threading\""), &[]).unwrap_err();
    assert!(drawn.plain().contains("2 | workers = 4\n  |           - the number of workers"), "{drawn:?}");
    for (defaults, keys) in [
        ("workers = 4", "mode = \"epoll\""),
        ("workers = 4", "mode = \"threading\"\nworkers = \"per-request\""),
        ("workers = \"per-request\"", "mode = \"threading\""),
    ] {
        let listeners = good(&toml(defaults, keys)).config.listeners;
        assert_eq!(listeners[0].when_full, crate::config::WhenFull::Refuse, "{defaults} {keys}");
    }
}

/// Clients of a unix listener have addresses only if a proxy tells them.
#[test]
fn a_unix_listener_behind_a_proxy_has_lists_of_networks() {
    let keys = "deny = \"192.0.2.0/24\"\nproxy-protocol = \"required\"";
    let listeners = good(&listener("unix", "/x", keys)).config.listeners;
    assert_eq!(listeners[0].deny.len(), 1);
    assert_eq!(diagnostics(&listener("unix", "/x", "deny = \"192.0.2.0/24\"")).len(), 1);
}

/// Whose headers are believed must be said, unless only this machine can connect.
#[test]
fn proxies_must_be_named() {
    let toml =
        |address: &str, more: &str| listener("tcp", address, &format!("proxy-protocol = \"required\"{more}"));
    for address in ["127.0.0.2:7", "[::1]:7", "localhost:7"] {
        assert_eq!(good(&toml(address, "")).config.listeners[0].trusted_proxies, crate::config::loopback());
    }
    for address in ["0.0.0.0:7", "[::]:7", "192.0.2.1:7", "[fe80::1%lo]:7", "proxy.example:7"] {
        let found = diagnostics(&toml(address, ""));
        assert_eq!(found.len(), 1, "{address}");
        assert!(found[0].starts_with("2:18 anybody could claim any address"), "{found:?}");
        let named = "\ntrusted-proxies = [\"192.0.2.0/24\", \"2001:db8::1\"]";
        let listeners = good(&toml(address, named)).config.listeners;
        let trusted = listeners[0].trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(trusted, ["192.0.2.0/24", "2001:db8::1/128"]);
    }
    good("[defaults]\nproxy-protocol = \"optional\"\n[[listener]]\nprotocol = \"unix\"\naddress = \"/x\"\n");
    let inherited =
        "[defaults]\nproxy-protocol = \"optional\"\n[[listener]]\nprotocol = \"tcp\"\naddress = \"[::]:7\"\n";
    assert!(diagnostics(inherited)[0].starts_with("2:18 anybody could claim any address"));
}
