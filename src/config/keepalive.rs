//! Whether and when silent peers of a connection are probed, tcp(7).

use std::{fmt, ops::RangeInclusive, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    diagnostic::Diagnostic,
    keys::{Form, Notation},
    misfit::Found,
    quoted, synonyms, units,
};

/// Whether silent peers are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keepalive {
    /// Never.
    Off,
    /// After the kernel's default idle time.
    On,
    /// At these times.
    After(Probes),
}

/// When a silent peer is probed, and when it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// How long it is silent before the first probe (`TCP_KEEPIDLE`).
    pub idle: Duration,
    /// How long after one probe the next one is sent (`TCP_KEEPINTVL`).
    pub interval: Option<Duration>,
    /// How many probes without an answer end the connection (`TCP_KEEPCNT`).
    pub count: Option<u32>,
}

/// The kernel counts in seconds, and up to so many of them.
const SECONDS: RangeInclusive<u64> = 1..=32_767;

/// The probes that the kernel counts up to.
const COUNT: RangeInclusive<u32> = 1..=127;

/// A switch, an idle time, or all three numbers.
pub(super) const KEEPALIVE: Notation<Keepalive> = Notation {
    form: Form::Keepalive,
    read: |ask| {
        let text = match ask.found() {
            Found::Switch(true) | Found::Text("on") => return Ok(Keepalive::On),
            Found::Switch(false) | Found::Text("off") => return Ok(Keepalive::Off),
            Found::Text(text) => text,
            _ => return Err(ask.misfit()),
        };
        if synonyms::switch(text).is_some() && text != "0" && text != "1" {
            return Err(ask.misfit());
        }
        read(text).map(Keepalive::After)
    },
    write: |keepalive| Some(keepalive.to_string().into()),
};

/// Reads `60s`, `60s every 10s`, `60s, 3 times` or `60s every 10s, 3 times`.
fn read(text: &str) -> Result<Probes, Diagnostic> {
    let (times, count) = match text.rsplit_once(',') {
        Some((times, count)) => (times, Some(read_count(count.trim())?)),
        None => (text, None),
    };
    let (idle, interval) = match times.split_once(" every ") {
        Some((idle, interval)) => (idle.trim_end_matches(','), Some(read_seconds("interval", interval)?)),
        None => (times, None),
    };
    Ok(Probes { idle: read_seconds("idle time", idle)?, interval, count })
}

fn read_seconds(what: &str, text: &str) -> Result<Duration, Diagnostic> {
    let time = units::read_duration(text.trim())?;
    match SECONDS.contains(&time.as_secs()) && time.subsec_nanos() == 0 {
        true => Ok(time),
        false => Err(Diagnostic::new(
            format!("{} is no {what} for `keepalive`", quoted(text.trim())),
            "write whole seconds, from \"1s\" to \"32767s\"",
        )),
    }
}

fn read_count(text: &str) -> Result<u32, Diagnostic> {
    let number = text.strip_suffix("times").or_else(|| text.strip_suffix("time")).map(str::trim);
    let count = number.and_then(|number| number.parse().ok()).filter(|count| COUNT.contains(count));
    count.ok_or_else(|| {
        Diagnostic::new(
            format!("{} does not say how many probes `keepalive` sends", quoted(text)),
            "write from \"1 times\" to \"127 times\", for example \"60s every 10s, 3 times\"",
        )
    })
}

impl fmt::Display for Keepalive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Probes { idle, interval, count } = match self {
            Self::Off => return f.write_str("off"),
            Self::On => return f.write_str("on"),
            Self::After(probes) => probes,
        };
        f.write_str(&units::write_duration(*idle))?;
        if let Some(interval) = interval {
            write!(f, " every {}", units::write_duration(*interval))?;
        }
        match count {
            Some(count) => write!(f, ", {count} times"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_read_and_written() {
        let seconds = Duration::from_secs;
        for (text, idle, interval, count) in [
            ("1m 30s", 90, None, None),
            ("1m every 10s", 60, Some(10), None),
            ("1m, 3 times", 60, None, Some(3)),
            ("1m every 10s, 3 times", 60, Some(10), Some(3)),
            ("1s every 32767s, 127 times", 1, Some(32_767), Some(127)),
        ] {
            let probes = Probes { idle: seconds(idle), interval: interval.map(seconds), count };
            assert_eq!(read(text), Ok(probes), "{text}");
            assert_eq!(read(&Keepalive::After(probes).to_string()), Ok(probes), "{text}");
        }
        assert_eq!(read("60s, every 10s, 3 times"), read("60s every 10s, 3 times"));
        assert_eq!(read("60s, 1 time"), read("60s, 1 times"));
    }

    #[test]
    fn what_the_kernel_does_not_take_is_refused() {
        for (text, told) in [
            ("60s every 10ms", "`10ms` is no interval"),
            ("0s every 10s", "`0s` is no idle time"),
            ("60s every 10h, 3 times", "`10h` is no interval"),
            ("60s, 0 times", "`0 times` does not say how many"),
            ("60s, 128 times", "`128 times` does not say how many"),
            ("60s, 3", "`3` does not say how many"),
            ("60s every", "is not a duration"),
            ("60s 3 times", "is not a duration"),
        ] {
            let wrong = read(text).unwrap_err();
            assert!(wrong.title.contains(told), "{text}: {}", wrong.title);
        }
    }
}
