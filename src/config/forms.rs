//! How the value of each key is written: what a URL needs to know to write it as a file does, and what an error says where
//! something else stands in its place.

use std::fmt;

use super::{
    Fallback, LogFormat, LogLevel, LogTarget, Mode, Payload, Protocol, ProxyProtocol, Sandbox, ServiceKind,
    Trigger, WhenFull, words,
};

/// The form of a value.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// Any text, such as this one.
    Text(&'static str),
    /// One of some words.
    Word(fn() -> &'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Number(Range),
    /// A whole number, or `off`, which is 0.
    Limit(Range),
    /// A number of threads or processes, or a word.
    Workers,
    /// Whether and when: a switch, a word or a duration.
    Keepalive,
    /// A duration, where a plain number most likely has this unit.
    Duration(&'static str),
    /// The same, or `off`.
    OptionalDuration(&'static str),
    /// A number of bytes.
    Size,
    /// A number of bytes, or `off`, which is 0.
    SizeLimit,
    /// So many in a time, or `off`.
    Rate,
    /// Octal permission bits.
    Permissions,
    /// The name or number of a user or a group.
    Owner,
    /// One text or several, such as this one.
    List(&'static str),
    /// Ports, ranges of them, and words.
    Ports,
}

/// The least and the most that a number may be.
#[derive(Clone, Copy)]
pub(super) struct Range(pub(super) i64, pub(super) i64);

/// The form of `key` of any table, `None` if there is no such key.
pub(super) fn form(key: &str) -> Option<Form> {
    let number = |least, most| Form::Number(Range(least, most));
    let limit = |least, most| Form::Limit(Range(least, most));
    Some(match key {
        // `[daemon]`.
        "drain-timeout" => Form::Duration("s"),
        "exit-idle-time" => Form::OptionalDuration("s"),
        "pid-file" => Form::Text("/run/echod.pid"),
        "user" | "group" | "socket-user" | "socket-group" => Form::Owner,
        "sandbox" => Form::Word(words::all::<Sandbox>),
        // `[log]`.
        "level" => Form::Word(words::all::<LogLevel>),
        "format" => Form::Word(words::all::<LogFormat>),
        "target" => Form::Word(words::all::<LogTarget>),
        "file" => Form::Text("/var/log/echod.log"),
        // `[[listener]]`.
        "name" => Form::Text("web"),
        "protocol" => Form::Word(words::all::<Protocol>),
        "address" => Form::List("127.0.0.1:7"),
        "mode" => Form::Word(words::all::<Mode>),
        "workers" => Form::Workers,
        "trigger" => Form::Word(words::all::<Trigger>),
        "fallback" => Form::Word(words::all::<Fallback>),
        "busy-poll" => Form::OptionalDuration("us"),
        "service" => Form::Word(words::all::<ServiceKind>),
        "quote" => Form::Text("a text"),
        "allow" | "deny" | "trusted" | "trusted-proxies" => Form::List("192.0.2.0/24"),
        "allow-include" | "deny-include" => Form::List("networks.txt"),
        "allow-users" => Form::List("root"),
        "allow-groups" => Form::List("adm"),
        "max-connections" => number(1, 1_000_000),
        "when-full" => Form::Word(words::all::<WhenFull>),
        "refusal" => Form::Text("too many"),
        "max-connections-per-source" => limit(0, 1_000_000),
        "connection-rate" | "rate-per-source" => Form::Rate,
        "cool-down" | "proxy-header-timeout" => Form::Duration("s"),
        "source-prefix" => number(1, 128),
        "max-requests" => limit(0, i64::MAX),
        "idle-timeout" | "max-lifetime" => Form::OptionalDuration("s"),
        "max-bytes" => Form::SizeLimit,
        "proxy-protocol" => Form::Word(words::all::<ProxyProtocol>),
        "payload" => Form::Word(words::all::<Payload>),
        "deny-source-ports" => Form::Ports,
        "loop-breaker" => limit(0, 1_000_000_000),
        // listen(2) takes an `int`.
        "backlog" => number(0, i32::MAX as i64),
        "enabled"
        | "optional"
        | "allow-amplification"
        | "allow-multicast"
        | "kernel-filter"
        | "gso"
        | "v6-only"
        | "reuse-address"
        | "reuse-port"
        | "nodelay" => Form::Switch,
        "keepalive" => Form::Keepalive,
        "receive-buffer" | "send-buffer" => Form::Size,
        "device" => Form::Text("eth0"),
        "socket-mode" => Form::Permissions,
        _ => return None,
    })
}

/// The limits of the number that `key` takes.
pub(super) fn range(key: &str) -> Option<Range> {
    match form(key)? {
        Form::Number(range) | Form::Limit(range) => Some(range),
        _ => None,
    }
}

impl Form {
    /// Whether it may hold several values.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Form::List(_) | Form::Ports)
    }

    /// Whether any text is right, whatever it looks like.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Form::Text(_))
    }

    /// What stands for `written`, text without quotes, in a file, if that is a number or a switch.
    pub(super) fn plain(self, written: &str) -> Option<String> {
        let number = || written.parse::<i64>().ok().map(|number| number.to_string());
        let switch = || matches!(written, "true" | "false").then(|| written.to_owned());
        match self {
            Form::Number(_) | Form::Limit(_) | Form::Workers => number(),
            Form::Switch | Form::Keepalive => switch(),
            _ => None,
        }
    }
}

impl Range {
    /// Whether `number` is within.
    pub(super) fn contains(self, number: i64) -> bool {
        (self.0..=self.1).contains(&number)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Range(least, i64::MAX) => write!(f, "a whole number from {least} on"),
            Range(least, most) => write!(f, "a whole number from {least} to {most}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        file::{Daemon, Listener, Log},
        parse::Shape,
    };

    #[test]
    fn every_key_has_a_form() {
        let keys = [Daemon::KEYS, Log::KEYS, Listener::KEYS].concat();
        let missing: Vec<_> = keys.into_iter().filter(|key| form(key).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
