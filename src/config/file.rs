//! The file as written: flat shapes in which every value knows its place. Whether a value makes sense is decided in
//! `validate`, so a word, a duration or an address is still text here.

use std::{fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use toml::{Spanned, de::DeValue};

use super::parse::{Reader, Shape};

/// A value that may be there, and where.
pub(super) type Written<T> = Option<Spanned<T>>;

/// A table that knows which of its keys are written.
pub(super) trait Keys {
    /// The keys that are there, each with the place of its value.
    fn written(&self) -> impl Iterator<Item = (&'static str, Range<usize>)>;
}

/// Defines a table and its keys together, so that no list of them can forget one.
macro_rules! shape {
    ($(#[$about:meta])* $name:ident { $($field:ident: $type:ty = $key:literal,)* }) => {
        $(#[$about])*
        #[derive(Default)]
        pub(super) struct $name {
            $(pub(super) $field: Written<$type>,)*
        }

        impl Shape for $name {
            const KEYS: &'static [&'static str] = &[$($key),*];

            fn read(&mut self, key: &str, value: Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> bool {
                match key {
                    $($key => self.$field = reader.value(key, value),)*
                    _ => return false,
                }
                true
            }
        }

        impl Keys for $name {
            fn written(&self) -> impl Iterator<Item = (&'static str, Range<usize>)> {
                [$(($key, self.$field.as_ref().map(Spanned::span))),*]
                    .into_iter()
                    .filter_map(|(key, span)| span.map(|span| (key, span)))
            }
        }
    };
}

/// The whole file.
#[derive(Default)]
pub(super) struct File {
    pub(super) daemon: Daemon,
    pub(super) log: Log,
    pub(super) defaults: Listener,
    pub(super) listener: Vec<Spanned<Listener>>,
}

impl Shape for File {
    const KEYS: &'static [&'static str] = &["daemon", "log", "defaults", "listener"];

    fn read(&mut self, key: &str, value: Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> bool {
        match key {
            "daemon" => self.daemon = reader.table(key, value).map(Spanned::into_inner).unwrap_or_default(),
            "log" => self.log = reader.table(key, value).map(Spanned::into_inner).unwrap_or_default(),
            "defaults" => {
                self.defaults = reader.table(key, value).map(Spanned::into_inner).unwrap_or_default();
            }
            "listener" => self.listener = reader.tables(key, value),
            _ => return false,
        }
        true
    }
}

shape! {
    /// `[daemon]`.
    Daemon {
        drain_timeout: String = "drain-timeout",
        exit_idle_time: String = "exit-idle-time",
        pid_file: String = "pid-file",
        user: Scalar = "user",
        group: Scalar = "group",
        sandbox: String = "sandbox",
    }
}

shape! {
    /// `[log]`.
    Log {
        level: String = "level",
        format: String = "format",
        target: String = "target",
        file: String = "file",
    }
}

shape! {
    /// A `[[listener]]`, or `[defaults]`.
    Listener {
        name: String = "name",
        enabled: bool = "enabled",
        protocol: String = "protocol",
        address: Texts = "address",
        optional: bool = "optional",
        mode: String = "mode",
        workers: Scalar = "workers",
        trigger: String = "trigger",
        fallback: String = "fallback",
        busy_poll: String = "busy-poll",
        service: String = "service",
        quote: String = "quote",
        allow: Texts = "allow",
        allow_include: Texts = "allow-include",
        deny: Texts = "deny",
        deny_include: Texts = "deny-include",
        allow_users: Texts = "allow-users",
        allow_groups: Texts = "allow-groups",
        max_connections: i64 = "max-connections",
        when_full: String = "when-full",
        refusal: String = "refusal",
        max_connections_per_source: Scalar = "max-connections-per-source",
        connection_rate: String = "connection-rate",
        rate_per_source: String = "rate-per-source",
        cool_down: String = "cool-down",
        source_prefix: i64 = "source-prefix",
        max_requests: Scalar = "max-requests",
        idle_timeout: String = "idle-timeout",
        max_lifetime: String = "max-lifetime",
        max_bytes: Scalar = "max-bytes",
        proxy_protocol: String = "proxy-protocol",
        trusted_proxies: Texts = "trusted-proxies",
        proxy_header_timeout: String = "proxy-header-timeout",
        payload: String = "payload",
        allow_amplification: bool = "allow-amplification",
        deny_source_ports: Ports = "deny-source-ports",
        allow_multicast: bool = "allow-multicast",
        loop_breaker: Scalar = "loop-breaker",
        trusted: Texts = "trusted",
        kernel_filter: bool = "kernel-filter",
        gso: bool = "gso",
        v6_only: bool = "v6-only",
        backlog: i64 = "backlog",
        reuse_address: bool = "reuse-address",
        reuse_port: bool = "reuse-port",
        nodelay: bool = "nodelay",
        keepalive: Scalar = "keepalive",
        receive_buffer: Scalar = "receive-buffer",
        send_buffer: Scalar = "send-buffer",
        device: String = "device",
        socket_mode: String = "socket-mode",
        socket_user: Scalar = "socket-user",
        socket_group: Scalar = "socket-group",
    }
}

/// `"a"` or `["a", "b"]`.
pub(super) enum Texts {
    /// One string: its place is that of the whole value.
    One(String),
    /// A list.
    Many(Vec<Spanned<String>>),
}

/// `"a"`, `7`, or a list of such.
pub(super) struct Ports(pub(super) Vec<Scalar>);

/// A word or a plain value, for keys that take either.
#[derive(Debug, PartialEq)]
pub(super) enum Scalar {
    /// A string.
    Text(String),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Switch(bool),
}

// An untagged enum would try each shape on a copy that has lost its places; these visitors look once.
impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;

        impl<'de> Visitor<'de> for Shape {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Texts, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Texts::Many)
            }
        }

        deserializer.deserialize_any(Shape)
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;

        impl<'de> Visitor<'de> for Shape {
            type Value = Ports;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word, a port or a list of ports")
            }

            fn visit_str<E>(self, text: &str) -> Result<Ports, E> {
                Ok(Ports(vec![Scalar::Text(text.to_owned())]))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Ports, E> {
                Ok(Ports(vec![Scalar::Number(number)]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Ports, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Ports)
            }
        }

        deserializer.deserialize_any(Shape)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;

        impl Visitor<'_> for Shape {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a number")
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                // Every key has a limit far below.
                Ok(Scalar::Number(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            fn visit_bool<E>(self, switch: bool) -> Result<Scalar, E> {
                Ok(Scalar::Switch(switch))
            }
        }

        deserializer.deserialize_any(Shape)
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&super::quoted(text)),
            Self::Number(number) => write!(f, "`{number}`"),
            Self::Switch(switch) => write!(f, "`{switch}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{diagnostic::Faults, parse};

    #[test]
    fn every_value_knows_its_place() {
        let text = "[[listener]]\nname = 'a'\naddress = ['x', 'y']\nworkers = 4\nkeepalive = true\n";
        let mut faults = Faults::default();
        let file = parse::parse(text, 0, &mut faults);
        assert!(faults.is_empty());
        let listener = &file.listener[0];
        assert_eq!(&text[listener.span()], "[[listener]]");
        let written: Vec<_> = listener.get_ref().written().map(|(key, span)| (key, &text[span])).collect();
        let expected = [("name", "'a'"), ("address", "['x', 'y']"), ("workers", "4"), ("keepalive", "true")];
        assert_eq!(written, expected);
        let Some(Texts::Many(list)) = listener.get_ref().address.as_ref().map(Spanned::get_ref) else {
            panic!("a list was written");
        };
        assert_eq!(list.iter().map(|address| &text[address.span()]).collect::<Vec<_>>(), ["'x'", "'y'"]);
    }
}
