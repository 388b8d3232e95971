//! The limits of single values, whatever stands around them.

use std::{borrow::Borrow, fmt, path::PathBuf, time::Duration};

use nix::unistd::{Group, User};

use crate::config::{
    Keepalive, Owner, Rate, SourceRate, Workers,
    diagnostic::{Faults, Place, Trouble},
    file::{Scalar, Written},
    forms, misfit, quoted, rate, synonyms, units,
};

/// Reads a value of `[daemon]` or `[log]`, which are in the first source only.
pub(super) fn head<T: Borrow<U>, U: ?Sized, V>(
    written: &Written<T>,
    read: impl Fn(&U) -> Result<V, Trouble>,
    faults: &mut Faults,
) -> Option<V> {
    let written = written.as_ref()?;
    read(written.get_ref().borrow())
        .map_err(|trouble| faults.push(Place::new(0, written.span()), trouble))
        .ok()
}

/// A value that is right as it is.
pub(super) fn as_written(value: &bool) -> Result<bool, Trouble> {
    Ok(*value)
}

pub(super) fn duration(text: &str) -> Result<Duration, Trouble> {
    units::read_duration(text)
}

/// The path of a file.
pub(super) fn path(text: &str) -> Result<PathBuf, Trouble> {
    match text {
        "" => Err(Trouble::new("a path cannot be empty", "name a file, or leave the key out")),
        text if text.contains('\0') => Err(Trouble::new("a path cannot hold a zero byte", "take it out")),
        text => Ok(text.into()),
    }
}

/// A duration, or `off`.
fn optional_duration(text: &str) -> Result<Option<Duration>, Trouble> {
    match text {
        "off" => Ok(None),
        text if synonyms::means_off(text) => {
            Err(Trouble::new(format!("{} is not a duration", quoted(text)), "write \"off\""))
        }
        text => units::read_duration(text).map(Some),
    }
}

pub(super) fn exit_idle_time(text: &str) -> Result<Option<Duration>, Trouble> {
    match optional_duration(text)? {
        None => Ok(None),
        Some(duration) => match duration {
            Duration::ZERO => Err(Trouble::new(
                "`exit-idle-time` of zero would exit at once",
                "write \"off\", or how long to wait for a client",
            )),
            duration => Ok(Some(duration)),
        },
    }
}

/// Shorter ones are slips of the pen; the kernel's timers are not much finer either.
const SHORTEST_LIMIT: Duration = Duration::from_millis(1);

/// A header is one packet, which a network may lose a few times.
const LONGEST_HEADER: Duration = Duration::from_secs(60);

/// How long a connection may be idle, or live.
pub(super) fn time_limit(key: &str, text: &str) -> Result<Option<Duration>, Trouble> {
    match optional_duration(text)? {
        None => Ok(None),
        Some(time) => match time {
            time if time < SHORTEST_LIMIT => Err(Trouble::new(
                format!("{} is no time for `{key}`", quoted(text)),
                "write \"off\", or a time from \"1ms\" on such as \"10m\"",
            )),
            time => Ok(Some(time)),
        },
    }
}

/// How long the header of a proxy may take. It always has an end, or silent clients would use up all places.
pub(super) fn proxy_header_timeout(text: &str) -> Result<Duration, Trouble> {
    match units::read_duration(text)? {
        time if (SHORTEST_LIMIT..=LONGEST_HEADER).contains(&time) => Ok(time),
        _ => Err(Trouble::new(
            format!("{} is no time for `proxy-header-timeout`", quoted(text)),
            "write a time from \"1ms\" to \"1m\"",
        )),
    }
}

/// How many bytes a connection may send; 0 is no limit.
pub(super) fn max_bytes(value: &Scalar) -> Result<u64, Trouble> {
    let number = match value {
        Scalar::Number(number) => u64::try_from(*number).ok(),
        Scalar::Text(text) if text == "off" => Some(0),
        Scalar::Text(text) if synonyms::means_off(text) => None,
        Scalar::Text(text) => Some(units::read_bytes(text)?),
        Scalar::Switch(_) => None,
    };
    number.ok_or_else(|| misfit::scalar("max-bytes", value))
}

/// Looking longer than this for something to do is a mistake of the unit.
const LONGEST_BUSY_POLL: Duration = Duration::from_secs(1);

pub(super) fn busy_poll(text: &str) -> Result<Option<Duration>, Trouble> {
    match optional_duration(text)? {
        None => Ok(None),
        Some(duration) => match duration {
            duration if duration.is_zero() || duration > LONGEST_BUSY_POLL => Err(Trouble::new(
                format!("{} is no time for `busy-poll`", quoted(text)),
                "write \"off\", or a time up to \"1s\" such as \"50us\"",
            )),
            duration => Ok(Some(duration)),
        },
    }
}

pub(super) fn name(text: &str) -> Result<String, Trouble> {
    if text.is_empty() {
        return Err(Trouble::new("a name cannot be empty", "write a name, or leave `name` out"));
    }
    match text.chars().any(char::is_control) {
        true => Err(Trouble::new("a name cannot have control characters", "use letters, digits and signs")),
        false => Ok(text.to_owned()),
    }
}

/// A number of threads or processes, or how to choose it.
pub(in crate::config) fn workers(value: &Scalar) -> Result<Workers, Trouble> {
    match value {
        Scalar::Text(word) if word == "per-request" => Ok(Workers::PerRequest),
        Scalar::Text(word) if word == "auto" => Ok(Workers::Auto),
        Scalar::Number(number @ 1..=1024) => Ok(Workers::Count(*number as u32)),
        other => Err(misfit::scalar("workers", other)),
    }
}

/// A whole number, within the limits of `key`.
pub(super) fn number(key: &str, number: i64) -> Result<u32, Trouble> {
    let fits = forms::range(key).is_some_and(|range| range.contains(number));
    u32::try_from(number).ok().filter(|_| fits).ok_or_else(|| misfit::number(key, number))
}

/// A whole number within the limits of `key`, or `off`, which is 0.
pub(super) fn limit(key: &str, value: &Scalar) -> Result<u64, Trouble> {
    let number = match value {
        Scalar::Number(number) => forms::range(key).filter(|range| range.contains(*number)).map(|_| *number),
        Scalar::Text(text) if text == "off" => Some(0),
        Scalar::Text(_) | Scalar::Switch(_) => None,
    };
    number.and_then(|number| u64::try_from(number).ok()).ok_or_else(|| misfit::scalar(key, value))
}

pub(super) fn connection_rate(text: &str) -> Result<Option<Rate>, Trouble> {
    match text {
        "off" => Ok(None),
        text => match rate::read(text)? {
            rate if rate.bytes => Err(Trouble::new(
                format!("{} counts bytes, not connections", quoted(text)),
                "write for example \"50/s\"",
            )),
            rate => Ok(Some(rate)),
        },
    }
}

pub(super) fn source_rate(text: &str) -> Result<SourceRate, Trouble> {
    rate::read_source_rate(text)
}

/// It is sent at once or not at all, so it must fit the smallest send buffer.
pub(super) fn refusal(text: &str) -> Result<String, Trouble> {
    match text.len() <= 1000 && !text.is_empty() {
        true => Ok(text.to_owned()),
        false => Err(Trouble::new(
            format!("a refusal of {} bytes", text.len()),
            "write a line of 1 to 1000 bytes, to which a line end is added",
        )),
    }
}

pub(super) fn loop_breaker(value: &Scalar) -> Result<u32, Trouble> {
    match limit("loop-breaker", value)? {
        1 => Err(Trouble::new(
            "`loop-breaker` of 1 would withhold every answer",
            "write \"off\" to withhold none, or a number from 2 to 1000000000",
        )),
        number => Ok(number as u32),
    }
}

pub(super) fn size(value: &Scalar) -> Result<u32, Trouble> {
    match value {
        Scalar::Number(number) => units::size_in_bytes(*number),
        Scalar::Text(text) => units::read_size(text),
        other => {
            Err(Trouble::new(format!("a size cannot be {other}"), "write bytes, or for example \"64KiB\""))
        }
    }
}

/// Whether and when silent peers are probed. The kernel counts in seconds, and up to 32767 of them, tcp(7).
pub(in crate::config) fn keepalive(value: &Scalar) -> Result<Keepalive, Trouble> {
    let text = match value {
        Scalar::Switch(true) => return Ok(Keepalive::On),
        Scalar::Switch(false) => return Ok(Keepalive::Off),
        Scalar::Text(text) if text == "on" => return Ok(Keepalive::On),
        Scalar::Text(text) if text == "off" => return Ok(Keepalive::Off),
        Scalar::Text(text) => text,
        Scalar::Number(_) => return Err(misfit::scalar("keepalive", value)),
    };
    if synonyms::switch(text).is_some() && text != "0" && text != "1" {
        return Err(misfit::scalar("keepalive", value));
    }
    let idle = units::read_duration(text)?;
    match (1..=32_767).contains(&idle.as_secs()) && idle.subsec_nanos() == 0 {
        true => Ok(Keepalive::After(idle)),
        false => Err(Trouble::new(
            format!("{} is no idle time for `keepalive`", quoted(text)),
            "write whole seconds, from \"1s\" to \"32767s\"",
        )),
    }
}

/// RFC 865: shorter than 512 characters, with the line end that the service adds.
pub(super) fn quote(text: &str) -> Result<String, Trouble> {
    if text.len() > 510 {
        return Err(Trouble::new(
            format!("the quote is too long, {} bytes", text.len()),
            "use at most 510 bytes, the service adds a line end",
        ));
    }
    match text.chars().any(|c| c.is_control() && c != '\n' && c != '\r') {
        true => Err(Trouble::new(
            "a quote cannot have control characters",
            "use printable characters and line ends",
        )),
        false => Ok(text.to_owned()),
    }
}

/// A name fits IFNAMSIZ with its final zero, netdevice(7).
pub(super) fn device(text: &str) -> Result<String, Trouble> {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    match text.len() <= 15 && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(Trouble::new(
            format!("{} is not the name of a network interface", quoted(text)),
            "use at most 15 letters, digits and signs, for example \"eth0\"",
        )),
    }
}

pub(super) fn socket_mode(text: &str) -> Result<u32, Trouble> {
    units::read_mode(text)
}

pub(super) fn user(value: &Scalar) -> Result<Owner, Trouble> {
    owner(value, "user", |name| User::from_name(name).map(|found| found.map(|user| user.uid.as_raw())))
}

pub(super) fn group(value: &Scalar) -> Result<Owner, Trouble> {
    owner(value, "group", |name| Group::from_name(name).map(|found| found.map(|group| group.gid.as_raw())))
}

/// A number is taken as it is: it need not have a name on this machine.
fn owner(
    value: &Scalar,
    kind: &str,
    look_up: impl Fn(&str) -> nix::Result<Option<u32>>,
) -> Result<Owner, Trouble> {
    let name = match value {
        Scalar::Text(text) => text.clone(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Switch(_) => {
            let cure = format!("write the name in quotes, or the number of a {kind} of this machine");
            return Err(Trouble::new(format!("a {kind} cannot be {value}"), cure));
        }
    };
    // The highest number means "leave as it is" to chown(2).
    let number = name.parse::<u32>().ok().filter(|id| *id != u32::MAX);
    let unknown = |what: &dyn fmt::Display| {
        Trouble::new(
            format!("there is no {kind} {}{what}", quoted(&name)),
            format!("write the name or number of a {kind} of this machine"),
        )
    };
    // A zero byte cannot be looked up, and would end the daemon in nix.
    if name.is_empty() || name.contains('\0') {
        return Err(unknown(&""));
    }
    match number.map_or_else(|| look_up(&name), |id| Ok(Some(id))) {
        Ok(Some(id)) => Ok(Owner { name, id }),
        Ok(None) => Err(unknown(&"")),
        Err(errno) => Err(unknown(&format_args!(": {}", errno.desc()))),
    }
}
