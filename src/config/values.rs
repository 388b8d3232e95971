//! The notations of single values and their limits, whatever stands around them.

use std::{fmt, path::PathBuf, time::Duration};

use ipnet::IpNet;

use super::{
    Address, Rate, SourcePorts, SourceRate, Workers,
    diagnostic::{Diagnostic, Diagnostics},
    keys::{Ask, Codec, Form, List, Notation, Range, Raw},
    misfit::Found,
    networks, ports, quoted, rate, synonyms, units,
};

pub(super) const SWITCH: Notation<bool> = Notation {
    form: Form::Switch,
    read: |ask| match ask.found() {
        Found::Switch(switch) => Ok(switch),
        _ => Err(ask.misfit()),
    },
    write: |switch| Some((*switch).into()),
};

fn shown(value: &impl fmt::Display) -> Option<toml::Value> {
    Some(value.to_string().into())
}

/// The path of a file.
pub(super) const fn path(example: &'static str) -> Notation<Option<PathBuf>> {
    Notation {
        form: Form::Text(example),
        read: |ask| match ask.text()? {
            "" => Err(Diagnostic::new("a path cannot be empty", "name a file, or leave the key out")),
            text if text.contains('\0') => {
                Err(Diagnostic::new("a path cannot hold a zero byte", "take it out"))
            }
            text => Ok(Some(text.into())),
        },
        write: |path| path.as_ref()?.to_str().map(Into::into),
    }
}

fn duration(time: &Duration) -> Option<toml::Value> {
    Some(units::write_duration(*time).into())
}

fn duration_or_off(time: &Option<Duration>) -> Option<toml::Value> {
    time.as_ref().map_or_else(|| Some("off".into()), duration)
}

pub(super) const DURATION: Notation<Duration> =
    Notation { form: Form::Duration("s"), read: |ask| units::read_duration(ask.text()?), write: duration };

/// A duration, or `off`.
fn optional_duration(text: &str) -> Result<Option<Duration>, Diagnostic> {
    match text {
        "off" => Ok(None),
        text if synonyms::means_off(text) => {
            Err(Diagnostic::new(format!("{} is not a duration", quoted(text)), "write \"off\""))
        }
        text => units::read_duration(text).map(Some),
    }
}

pub(super) const EXIT_IDLE_TIME: Notation<Option<Duration>> = Notation {
    form: Form::OptionalDuration("s"),
    read: |ask| match optional_duration(ask.text()?)? {
        Some(Duration::ZERO) => Err(Diagnostic::new(
            "`exit-idle-time` of zero would exit at once",
            "write \"off\", or how long to wait for a client",
        )),
        time => Ok(time),
    },
    write: duration_or_off,
};

/// Shorter ones are slips of the pen; the kernel's timers are not much finer either.
const SHORTEST_LIMIT: Duration = Duration::from_millis(1);

/// How long a connection may be idle, or live.
pub(super) const TIME_LIMIT: Notation<Option<Duration>> = Notation {
    form: Form::OptionalDuration("s"),
    read: |ask| match optional_duration(ask.text()?)? {
        Some(time) if time < SHORTEST_LIMIT => Err(Diagnostic::new(
            format!("{} is no time for `{}`", quoted(ask.text()?), ask.key),
            "write \"off\", or a time from \"1ms\" on such as \"10m\"",
        )),
        time => Ok(time),
    },
    write: duration_or_off,
};

/// A header is one packet, which a network may lose a few times.
const LONGEST_HEADER: Duration = Duration::from_secs(60);

/// How long the header of a proxy may take. It always has an end, or silent clients would use up all places.
pub(super) const PROXY_HEADER_TIMEOUT: Notation<Duration> = Notation {
    form: Form::Duration("s"),
    read: |ask| match units::read_duration(ask.text()?)? {
        time if (SHORTEST_LIMIT..=LONGEST_HEADER).contains(&time) => Ok(time),
        _ => Err(Diagnostic::new(
            format!("{} is no time for `proxy-header-timeout`", quoted(ask.text()?)),
            "write a time from \"1ms\" to \"1m\"",
        )),
    },
    write: duration,
};

/// How many bytes a connection may send; 0 is no limit.
pub(super) const MAX_BYTES: Notation<u64> = Notation {
    form: Form::SizeLimit,
    read: |ask| match ask.found() {
        Found::Text("off") => Ok(0),
        Found::Text(text) if !synonyms::means_off(text) => units::read_bytes(text),
        _ => ask.raw.as_integer().and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(|| ask.misfit()),
    },
    write: |bytes| i64::try_from(*bytes).ok().map(toml::Value::Integer),
};

/// Looking longer than this for something to do is a mistake of the unit.
const LONGEST_BUSY_POLL: Duration = Duration::from_secs(1);

pub(super) const BUSY_POLL: Notation<Option<Duration>> = Notation {
    form: Form::OptionalDuration("us"),
    read: |ask| match optional_duration(ask.text()?)? {
        Some(time) if time.is_zero() || time > LONGEST_BUSY_POLL => Err(Diagnostic::new(
            format!("{} is no time for `busy-poll`", quoted(ask.text()?)),
            "write \"off\", or a time up to \"1s\" such as \"50us\"",
        )),
        time => Ok(time),
    },
    write: duration_or_off,
};

pub(super) const NAME: Notation<String> = Notation {
    form: Form::Text("web"),
    read: |ask| match ask.text()? {
        "" => Err(Diagnostic::new("a name cannot be empty", "write a name, or leave `name` out")),
        text if text.chars().any(char::is_control) => {
            Err(Diagnostic::new("a name cannot have control characters", "use letters, digits and signs"))
        }
        text => Ok(text.to_owned()),
    },
    write: shown,
};

/// A number of threads or processes, or how to choose it.
pub(super) const WORKERS: Notation<Workers> = Notation {
    form: Form::Workers,
    read: |ask| match (ask.found(), ask.raw.as_integer()) {
        (Found::Text("per-request"), _) => Ok(Workers::PerRequest),
        (Found::Text("auto"), _) => Ok(Workers::Auto),
        (_, Some(number @ 1..=1024)) => Ok(Workers::Count(number as u32)),
        _ => Err(ask.misfit()),
    },
    write: |workers| match workers {
        Workers::Count(count) => Some(toml::Value::Integer((*count).into())),
        word => shown(word),
    },
};

pub(super) const CONNECTION_RATE: Notation<Option<Rate>> = Notation {
    form: Form::Rate,
    read: |ask| match ask.text()? {
        "off" => Ok(None),
        text => match rate::read(text)? {
            rate if rate.bytes => Err(Diagnostic::new(
                format!("{} counts bytes, not connections", quoted(text)),
                "write for example \"50/s\"",
            )),
            rate => Ok(Some(rate)),
        },
    },
    write: |rate| rate.as_ref().map_or_else(|| Some("off".into()), shown),
};

pub(super) const SOURCE_RATE: Notation<SourceRate> =
    Notation { form: Form::Rate, read: |ask| rate::read_source_rate(ask.text()?), write: shown };

/// It is sent at once or not at all, so it must fit the smallest send buffer.
pub(super) const REFUSAL: Notation<String> = Notation {
    form: Form::Text("too many"),
    read: |ask| match ask.text()? {
        text if (1..=1000).contains(&text.len()) => Ok(text.to_owned()),
        text => Err(Diagnostic::new(
            format!("a refusal of {} bytes", text.len()),
            "write a line of 1 to 1000 bytes, to which a line end is added",
        )),
    },
    write: shown,
};

/// How many answers in a row make a loop; 0 breaks none.
pub(super) const LOOP_BREAKER: Notation<u32> = Notation {
    form: Form::Limit(Range(0, 1_000_000_000)),
    read: |ask| match (ask.found(), ask.raw.as_integer()) {
        (Found::Text("off"), _) => Ok(0),
        (_, Some(1)) => Err(Diagnostic::new(
            "`loop-breaker` of 1 would withhold every answer",
            "write \"off\" to withhold none, or a number from 2 to 1000000000",
        )),
        (_, Some(number @ 0..=1_000_000_000)) => Ok(number as u32),
        _ => Err(ask.misfit()),
    },
    write: |number| Some(toml::Value::Integer((*number).into())),
};

/// The size of a buffer.
pub(super) const SIZE: Notation<u32> = Notation {
    form: Form::Size,
    read: |ask| match (ask.found(), ask.raw.as_integer()) {
        (Found::Text(text), _) => units::read_size(text),
        (_, Some(number)) => units::size_in_bytes(number),
        (Found::Switch(switch), _) => Err(Diagnostic::new(
            format!("a size cannot be `{switch}`"),
            "write bytes, or for example \"64KiB\"",
        )),
        _ => Err(ask.misfit()),
    },
    write: |size| Some(toml::Value::Integer((*size).into())),
};

/// RFC 865: shorter than 512 characters, with the line end that the service adds.
pub(super) const QUOTE: Notation<String> = Notation {
    form: Form::Text("a text"),
    read: |ask| match ask.text()? {
        text if text.len() > 510 => Err(Diagnostic::new(
            format!("the quote is too long, {} bytes", text.len()),
            "use at most 510 bytes, the service adds a line end",
        )),
        text if text.chars().any(|c| c.is_control() && c != '\n' && c != '\r') => Err(Diagnostic::new(
            "a quote cannot have control characters",
            "use printable characters and line ends",
        )),
        text => Ok(text.to_owned()),
    },
    write: shown,
};

/// The name of a network interface fits IFNAMSIZ with its final zero, netdevice(7).
pub(super) const DEVICE: Notation<String> = Notation {
    form: Form::Text("eth0"),
    read: |ask| {
        let text = ask.text()?;
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
        match text.len() <= 15 && text.bytes().all(fits) {
            true => Ok(text.to_owned()),
            false => Err(Diagnostic::new(
                format!("{} is not the name of a network interface", quoted(text)),
                "use at most 15 letters, digits and signs, for example \"eth0\"",
            )),
        }
    },
    write: shown,
};

/// Permission bits.
pub(super) const PERMISSIONS: Notation<u32> = Notation {
    form: Form::Permissions,
    read: |ask| units::read_mode(ask.text()?),
    write: |mode| Some(format!("{mode:04o}").into()),
};

pub(super) const SOURCE_PORTS: Notation<SourcePorts> =
    Notation { form: Form::Ports, read: ports::read, write: shown };

/// The addresses of a listener. Its protocol says how to read them, so that is done once that is known.
pub(super) struct Addresses;

impl Codec<Vec<Address>> for Addresses {
    fn form(&self) -> Form {
        Form::List("127.0.0.1:7")
    }

    fn read(&self, key: &str, raw: &Raw<'_>, to: &mut Diagnostics) -> Option<Vec<Address>> {
        for element in &raw.elements() {
            if let Err(diagnostic) = (Ask { key, form: self.form(), raw: element }).text() {
                to.push(element.at.clone(), diagnostic);
            }
        }
        None
    }

    fn write(&self, addresses: &Vec<Address>) -> Option<toml::Value> {
        Some(
            addresses
                .iter()
                .map(|address| toml::Value::String(address.to_string()))
                .collect::<Vec<_>>()
                .into(),
        )
    }
}

pub(super) const NETWORKS: List<IpNet> =
    List { example: "192.0.2.0/24", read: networks::read, write: ToString::to_string, empty: None };

/// Files of listeners.
pub(super) const INCLUDE: List<String> = paths("conf.d/*.toml");

/// Files of networks.
pub(super) const FILES: List<String> = paths("networks.txt");

/// Paths as they are written.
const fn paths(example: &'static str) -> List<String> {
    List { example, read: |path| Ok(path.to_owned()), write: String::clone, empty: None }
}
