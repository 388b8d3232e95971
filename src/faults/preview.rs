//! Decisions of a plan before anything has happened.

use std::{fmt, net::IpAddr, time::Duration};

use serde::Serialize;

use super::{
    decision::{Decisions, Question, SourceDecisions},
    fate::{Change, Fate, is_in_burst, late},
};
use crate::config::{FaultPlan, embedded::plain, everybody};

/// Where datagrams or connections come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultSource {
    /// An address, and for datagrams a port.
    Address(IpAddr, Option<u16>),
    /// A unix socket, by its `sun_path`.
    Name(Vec<u8>),
}

/// What the plan decides about one datagram or one connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Foretold {
    /// The running number, from 1 on.
    pub number: u64,
    /// The fault, if there is one: `drop`, `corrupt`, `truncate`, `duplicate`, `reorder` or `reset-now`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
    /// What belongs to it: the length that is left, or how many replies go first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<u32>,
    /// How late the reply is, or what the first read of a connection brings, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ns: Option<u64>,
}

/// The decisions about the first `count` datagrams from a source, or the first connections; `None` if the plan does not hit it.
pub fn preview(
    plan: &FaultPlan,
    listener: &str,
    is_stream: bool,
    source: &FaultSource,
    count: u64,
) -> Option<Vec<Foretold>> {
    let decisions = Decisions::new(plan, listener);
    let of_source = match source {
        FaultSource::Address(ip, _) if !plan.from.iter().any(|network| network.contains(&plain(*ip))) => {
            return None;
        }
        FaultSource::Name(_) if plan.from != everybody() => return None,
        FaultSource::Address(ip, _) if is_stream => decisions.of_address(*ip, None),
        FaultSource::Name(_) if is_stream => decisions.of_name(b""),
        FaultSource::Address(ip, port) => decisions.of_address(*ip, *port),
        FaultSource::Name(name) => decisions.of_name(name),
    };
    let decide = if is_stream { connections } else { datagrams };
    Some(decide(plan, of_source, count))
}

fn datagrams(plan: &FaultPlan, source: SourceDecisions, count: u64) -> Vec<Foretold> {
    let mut burst = false;
    let decide = |number| {
        burst = is_in_burst(plan, source, number, burst);
        let Fate { change, delay } = Fate::new(plan, source, number, burst);
        let by = match change {
            Some(Change::Truncate(by) | Change::Reorder(by)) => Some(by),
            _ => None,
        };
        let fault = change.map(|change| change.kind().word());
        Foretold { number, fault, by, delay_ns: delay.map(nanoseconds) }
    };
    (1..=count).map(decide).collect()
}

fn connections(plan: &FaultPlan, source: SourceDecisions, count: u64) -> Vec<Foretold> {
    let decide = |number| {
        let connection = source.within(number);
        let is_reset = plan.reset_now.hits(connection.draw(0, Question::ResetNow));
        let delay = plan.delay.filter(|_| !is_reset);
        let delay = delay.map(|delay| late(delay, connection.draw(1, Question::Delay)));
        Foretold {
            number,
            fault: is_reset.then_some("reset-now"),
            by: None,
            delay_ns: delay.map(nanoseconds),
        }
    };
    (1..=count).map(decide).collect()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A line: `3 reorder by 3, delay 21.342 ms`, or `4 ok`.
impl fmt::Display for Foretold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)?;
        match (self.fault, self.by) {
            (Some(fault @ "truncate"), Some(to)) => write!(f, " {fault} to {to} bytes")?,
            (Some(fault), Some(by)) => write!(f, " {fault} by {by}")?,
            (Some(fault), None) => write!(f, " {fault}")?,
            (None, _) if self.delay_ns.is_none() => f.write_str(" ok")?,
            (None, _) => {}
        }
        match self.delay_ns {
            Some(delay) => {
                let comma = if self.fault.is_some() { "," } else { "" };
                write!(f, "{comma} delay {:.3} ms", delay as f64 / 1e6)
            }
            None => Ok(()),
        }
    }
}
