//! The words of other programs for our keys and values.

/// The key that `word` stands for elsewhere.
pub(super) fn key(word: &str) -> Option<&'static str> {
    Some(match word {
        "port" | "ports" | "host" | "hostname" | "listen" | "bind" | "ip" | "addr" | "address-family"
        | "addresses" | "listen-address" | "bind-address" | "endpoint" | "url" | "path" | "socket"
        | "socket-path" | "interface-address" => "address",
        "type" | "proto" | "kind" | "transport" | "socket-type" | "family" => "protocol",
        "interface" | "iface" | "nic" | "bind-device" => "device",
        "threads" | "processes" | "pool" | "worker" | "thread" | "num-workers" | "worker-processes"
        | "nproc" => "workers",
        "concurrency" | "model" | "strategy" | "engine" | "backend" => "mode",
        "timeout" | "read-timeout" | "client-timeout" | "idle" => "idle-timeout",
        "max-clients" | "maxclients" | "maxconn" | "connections" | "clients" | "limit" | "max-conns" => {
            "max-connections"
        }
        "lifetime" | "max-age" => "max-lifetime",
        "whitelist" | "allowlist" | "allow-list" | "allow-from" | "only-from" | "permit" => "allow",
        "blacklist" | "blocklist" | "denylist" | "block" | "no-access" | "deny-from" => "deny",
        "rate" | "rate-limit" | "limit-rate" | "cps" => "rate-per-source",
        "per-source" => "max-connections-per-source",
        "permissions" | "perms" | "chmod" | "mode-bits" | "umask" => "socket-mode",
        "owner" | "uid" => "user",
        "gid" => "group",
        "message" | "banner" => "refusal",
        "text" => "quote",
        "proxy" | "send-proxy" | "accept-proxy" => "proxy-protocol",
        "ipv6-only" | "ipv6only" | "v6only" => "v6-only",
        "df" | "dont-frag" | "mtu-discover" | "pmtu-discovery" => "dont-fragment",
        "tos" | "tclass" | "traffic-class" | "ip-tos" | "qos" => "dscp",
        "hops" | "hop-limit" | "unicast-hops" | "ip-ttl" | "time-to-live" => "ttl",
        "multipath" | "multipath-tcp" | "ipproto-mptcp" => "mptcp",
        "so-reuseport" | "reuseport" => "reuse-port",
        "so-reuseaddr" | "reuseaddr" => "reuse-address",
        "tcp-nodelay" => "nodelay",
        "rcvbuf" | "so-rcvbuf" | "recv-buffer" => "receive-buffer",
        "sndbuf" | "so-sndbuf" => "send-buffer",
        "tcp-keepalive" | "so-keepalive" => "keepalive",
        "disabled" | "disable" | "active" => "enabled",
        "handler" | "app" | "action" => "service",
        "pid" | "pidfile" | "lock-file" => "pid-file",
        "grace" | "shutdown-timeout" | "stop-timeout" | "grace-period" => "drain-timeout",
        "exit-idle" | "idle-exit" => "exit-idle-time",
        "seccomp" | "landlock" | "chroot" | "jail" => "sandbox",
        "loglevel" | "log-level" | "verbosity" | "verbose" | "debug" => "level",
        "log-format" | "json" => "format",
        "output" | "destination" | "log-target" | "facility" | "syslog" => "target",
        "logfile" | "log-file" => "file",
        _ => return None,
    })
}

/// The table that `word` stands for elsewhere.
pub(super) fn table(word: &str) -> Option<&'static str> {
    Some(match word {
        "server" | "servers" | "listeners" | "service" | "services" | "listen" | "socket" | "sockets"
        | "bind" | "tcp" | "udp" | "unix" | "echo" | "echod" => "[[listener]]",
        "logging" | "logs" | "logger" => "[log]",
        "global" | "general" | "main" | "process" | "core" | "settings" => "[daemon]",
        "default" => "[defaults]",
        "metrics" | "prometheus" | "health" | "status" | "http" | "admin" | "monitoring" | "stats" => {
            "[observe]"
        }
        _ => return None,
    })
}

/// The word of the choice `what` that `word` stands for elsewhere.
pub(super) fn value(what: &str, word: &str) -> Option<&'static str> {
    Some(match (what, word) {
        (
            "protocol",
            "stream" | "tcp4" | "tcp6" | "inet" | "inet6" | "http" | "https" | "tls" | "ssl" | "telnet"
            | "ws",
        ) => "tcp",
        ("protocol", "dgram" | "datagram" | "udp4" | "udp6" | "quic" | "dtls") => "udp",
        ("protocol", "local" | "uds" | "unix-stream" | "file" | "socket" | "ipc") => "unix",
        ("protocol", "seqpacket" | "unix-seq" | "unixpacket" | "unix-packet") => "unix-seqpacket",
        ("protocol", "unixgram" | "unix-dgram" | "unixdatagram") => "unix-datagram",
        ("mode", "sync" | "blocking" | "single" | "sequential" | "serial" | "one") => "iterative",
        ("mode", "thread-per-connection" | "multithreaded" | "thread-pool" | "pool") => "threading",
        ("mode", "process" | "processes" | "prefork" | "multiprocess") => "forking",
        ("mode", "async" | "event" | "event-loop" | "events" | "auto" | "default") => "epoll",
        ("mode", "uring" | "iouring" | "aio") => "io-uring",
        ("when-full", "drop" | "close" | "reject" | "deny" | "reset") => "refuse",
        ("when-full", "queue" | "block" | "backlog") => "wait",
        ("when-full", "tell" | "busy" | "answer") => "message",
        ("payload", "on" | "yes" | "ascii" | "utf8" | "utf-8" | "plain" | "true") => "text",
        (
            "payload" | "proxy-protocol" | "fallback" | "sandbox" | "level" | "dont-fragment",
            "none" | "no" | "false" | "never" | "disabled",
        ) => "off",
        ("level", "verbose" | "fine") => "debug",
        ("level", "notice" | "information") => "info",
        ("level", "warning") => "warn",
        ("level", "critical" | "fatal" | "crit" | "alert" | "emerg") => "error",
        ("level", "all" | "max") => "trace",
        ("target", "stdout" | "console" | "tty" | "-" | "terminal") => "stderr",
        ("target", "journal" | "systemd") => "journald",
        ("target", "default") => "auto",
        ("proxy-protocol", "on" | "yes" | "v1" | "v2" | "true" | "strict") => "required",
        ("sandbox" | "dont-fragment", "yes" | "true" | "strict" | "enabled") => "on",
        ("dont-fragment", "default" | "want") => "auto",
        ("service", "repeat" | "reflect" | "mirror") => "echo",
        ("service", "uppercase" | "toupper" | "caps") => "upper",
        ("service", "sink" | "null" | "drop") => "discard",
        ("service", "quote") => "qotd",
        ("service", "date") => "daytime",
        ("service", "who" | "who-am-i" | "whoareyou" | "info") => "whoami",
        _ => return None,
    })
}

/// What a word says of a switch.
pub(super) fn switch(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "enabled" | "enable" | "y" => Some(true),
        "false" | "no" | "off" | "0" | "disabled" | "disable" | "n" | "none" | "never" => Some(false),
        _ => None,
    }
}

/// Whether a word says that there is no limit.
pub(super) fn means_off(word: &str) -> bool {
    let words = [
        "none",
        "never",
        "no",
        "false",
        "unlimited",
        "infinite",
        "infinity",
        "inf",
        "forever",
        "disabled",
        "nolimit",
    ];
    words.contains(&word.to_ascii_lowercase().as_str())
}

/// The whole number that is written as `1e6`, `100k`, `2.0` or `1_000`.
pub(super) fn number(text: &str) -> Option<i64> {
    let text = text.replace(['_', ','], "");
    let (digits, factor) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 1e3),
        (at, 'm' | 'M') => (&text[..at], 1e6),
        _ => (text.as_str(), 1.0),
    };
    let number = digits.trim().parse::<f64>().ok()? * factor;
    (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_recognised() {
        for (text, number) in [("1e6", 1_000_000), ("100k", 100_000), ("2.0", 2), ("1_000", 1000), ("-3", -3)]
        {
            assert_eq!(self::number(text), Some(number), "{text}");
        }
        for text in ["", "k", "1.5", "many", "1e99", "inf", "nan"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
