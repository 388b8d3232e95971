//! What a condition may ask of a run, and what the run has to say to it.

use std::{fmt, time::Duration};

use crate::client::{
    histogram::Histogram,
    measurement::{Flow, Measurement, TargetResult},
};
use crate::report::figures;

/// The percentiles that are told, where there are enough times for them.
pub const QUANTILES: [f64; 7] = [0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999];

/// Something that a condition compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantity {
    /// A figure of a distribution of times.
    Time(Times, Statistic),
    /// How many probes or replies were so, or which part of those sent.
    Number(Number),
    /// Echoes a second.
    Rate,
    /// Flows without any answer.
    DeadFlows,
}

/// A distribution of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// From the planned moment in an open loop, else from the send.
    Main,
    /// From the planned moment.
    Response,
    /// From the send.
    Service,
    /// To connect.
    Connect,
    /// To close.
    Close,
    /// Differences of successive times.
    Ipdv,
}

/// A figure of a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// The shortest.
    Min,
    /// The mean.
    Mean,
    /// The longest.
    Max,
    /// The time that this part of all does not exceed.
    Quantile(f64),
}

/// A number of probes or replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Number {
    Loss,
    Late,
    Refused,
    Duplicate,
    Reordered,
    Corrupt,
}

/// The value of a quantity.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// A time in nanoseconds.
    Time(f64),
    /// A number.
    Count(u64),
    /// A part of the probes that were sent.
    Share(f64),
    /// Echoes a second.
    Rate(f64),
    /// It cannot be told, and why.
    Untold(String),
}

/// The names before the dot.
const DISTRIBUTIONS: [(&str, Times); 5] = [
    ("response.", Times::Response),
    ("service.", Times::Service),
    ("connect.", Times::Connect),
    ("close.", Times::Close),
    ("ipdv.", Times::Ipdv),
];

const NUMBERS: [(&str, Number); 6] = [
    ("loss", Number::Loss),
    ("late", Number::Late),
    ("refused", Number::Refused),
    ("duplicate", Number::Duplicate),
    ("reordered", Number::Reordered),
    ("corrupt", Number::Corrupt),
];

/// What may be asked, with its meaning, in the order in which it is told. The last word says what units there are.
pub const KNOWN: [(&str, &str, &str); 13] = [
    (
        "min, mean, max",
        "the shortest time, the mean, the longest; from the planned moment of the send in an open loop, else from the send",
        "ns us ms s",
    ),
    ("p50 ... p99.999", "the time that so many percent of all do not exceed", "ns us ms s"),
    (
        "response.p99, service.p99",
        "the same from the planned moment, and from the send; .min, .mean, .max and every percentile likewise",
        "ns us ms s",
    ),
    ("connect.p99, close.p99", "the same of the time to connect, and to close", "ns us ms s"),
    (
        "ipdv.p99",
        "the same of the differences of successive times, without their sign (RFC 3393)",
        "ns us ms s",
    ),
    ("loss", "probes without an answer: lost or refused", "% or a number"),
    ("late", "probes answered after the time-out", "% or a number"),
    ("refused", "probes for which the target's host said that nothing listens", "% or a number"),
    ("duplicate", "second answers to a probe", "% or a number"),
    ("reordered", "answers that came after that to a later probe", "% or a number"),
    ("corrupt", "answers with other bytes than were sent", "% or a number"),
    ("rate", "echoes a second", "/s"),
    ("flows-dead", "source ports whose probes all remained without an answer", "a number"),
];

impl Quantity {
    /// The quantity of this name.
    pub fn from_name(name: &str) -> Option<Quantity> {
        if let Some((_, number)) = NUMBERS.iter().find(|(known, _)| *known == name) {
            return Some(Quantity::Number(*number));
        }
        match name {
            "rate" => return Some(Quantity::Rate),
            "flows-dead" => return Some(Quantity::DeadFlows),
            _ => {}
        }
        let prefixed =
            DISTRIBUTIONS.iter().find_map(|(prefix, times)| Some((*times, name.strip_prefix(prefix)?)));
        let (times, statistic) = prefixed.unwrap_or((Times::Main, name));
        let statistic = match statistic {
            "min" => Statistic::Min,
            "mean" => Statistic::Mean,
            "max" => Statistic::Max,
            _ => Statistic::Quantile(quantile(statistic.strip_prefix('p')?)?),
        };
        Some(Quantity::Time(times, statistic))
    }

    /// Its value for a target; `as_share` asks for a number as a part of the probes that were sent.
    pub fn reading(self, measurement: &Measurement, target: &TargetResult, as_share: bool) -> Reading {
        match self {
            Quantity::Time(times, statistic) => time(times.of(target), times, statistic),
            Quantity::Rate => rate(measurement, target),
            Quantity::DeadFlows => Reading::Count(dead_flows(target)),
            Quantity::Number(number) => {
                let (number, sent) = (number.of(target), target.fates.sent());
                match (as_share, sent) {
                    (false, _) => Reading::Count(number),
                    (true, 0) => Reading::Untold("no probe was sent".to_owned()),
                    // Duplicates may be more than were sent.
                    (true, sent) => Reading::Share((number as f64 / sent as f64).min(1.0)),
                }
            }
        }
    }
}

/// `99.9` in percent as a part of 1. The digits are read as they stand: 0.999 is not 99.9 / 100 to the last bit.
fn quantile(percent: &str) -> Option<f64> {
    let (whole, fraction) = percent.split_once('.').unwrap_or((percent, ""));
    let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    let is_right =
        (1..=2).contains(&whole.len()) && fraction.len() <= 4 && is_number(whole) && is_number(fraction);
    if !is_right || percent.ends_with('.') {
        return None;
    }
    let quantile: f64 = format!("0.{whole:0>2}{fraction}").parse().ok()?;
    (quantile > 0.0).then_some(quantile)
}

impl Times {
    fn of(self, target: &TargetResult) -> Option<&Histogram> {
        match self {
            Times::Main => Some(times(target)),
            Times::Response => target.response.as_ref(),
            Times::Service => Some(&target.service),
            Times::Connect => target.connect.as_ref(),
            Times::Close => target.close.as_ref(),
            Times::Ipdv => target.ipdv.as_ref(),
        }
    }

    fn missing(self) -> &'static str {
        match self {
            Times::Main | Times::Service => "nothing was measured",
            Times::Response => "there is no plan of sends: only an open loop (--rate) has one",
            Times::Connect => "no time to connect was measured",
            Times::Close => "no time to close was measured",
            Times::Ipdv => "no differences of successive times were measured",
        }
    }
}

/// The times by which a target is judged: from the planned moment where there is a plan, else from the send.
pub fn times(target: &TargetResult) -> &Histogram {
    target.response.as_ref().unwrap_or(&target.service)
}

fn time(times: Option<&Histogram>, of: Times, statistic: Statistic) -> Reading {
    let Some(times) = times else { return Reading::Untold(of.missing().to_owned()) };
    let found = match statistic {
        Statistic::Min => times.min().map(|time| time as f64),
        Statistic::Mean => times.mean(),
        Statistic::Max => times.max().map(|time| time as f64),
        Statistic::Quantile(q) => times.quantile(q).map(|time| time as f64),
    };
    let why = || match (statistic, times.count()) {
        (Statistic::Quantile(q), n @ 1..) => {
            // A hair less: 1 - 0.99999 is not exactly 0.00001.
            let needed = (10.0 / (1.0 - q) * (1.0 - 1e-9)).ceil() as u64;
            format!("it needs {} times, and there are {}", figures::count(needed), figures::count(n))
        }
        _ => of.missing().to_owned(),
    };
    found.map_or_else(|| Reading::Untold(why()), Reading::Time)
}

impl Number {
    fn of(self, target: &TargetResult) -> u64 {
        match self {
            Number::Loss => target.fates.lost + target.fates.refused,
            Number::Late => target.fates.late,
            Number::Refused => target.fates.refused,
            Number::Duplicate => target.replies.duplicate,
            Number::Reordered => target.replies.reordered,
            Number::Corrupt => target.replies.corrupt,
        }
    }
}

/// For how long a target was measured: all its rounds together.
pub fn duration(measurement: &Measurement, target: &TargetResult) -> Duration {
    match target.rounds.as_slice() {
        [] => measurement.duration,
        rounds => rounds.iter().map(|round| round.duration).sum(),
    }
}

/// Echoes a second, if it was measured for any time.
pub fn rate_of(measurement: &Measurement, target: &TargetResult) -> Option<f64> {
    let seconds = duration(measurement, target).as_secs_f64();
    (seconds > 0.0).then(|| target.fates.ok as f64 / seconds)
}

fn rate(measurement: &Measurement, target: &TargetResult) -> Reading {
    rate_of(measurement, target)
        .map_or_else(|| Reading::Untold("nothing was measured".to_owned()), Reading::Rate)
}

fn dead_flows(target: &TargetResult) -> u64 {
    let is_dead = |flow: &&Flow| flow.sent > 0 && flow.ok == 0;
    match target.flows.as_slice() {
        // Without flows of its own a target is one.
        [] => u64::from(target.fates.sent() > 0 && target.fates.ok + target.fates.late == 0),
        flows => flows.iter().filter(is_dead).count() as u64,
    }
}

/// As the verdict tells it.
impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reading::Time(time) => f.write_str(&figures::time(*time)),
            Reading::Count(count) => f.write_str(&figures::count(*count)),
            Reading::Share(share) => f.write_str(&figures::percent(*share)),
            Reading::Rate(rate) => f.write_str(&figures::rate(*rate)),
            Reading::Untold(why) => f.write_str(why),
        }
    }
}
