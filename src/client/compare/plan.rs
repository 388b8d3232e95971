//! What is compared: modes, numbers of idle connections, and the protocol.

use std::fmt;

use super::super::{bench, measurement::Settings, options::Bench, variant::Variant};
use crate::{
    config::{Mode, Protocol},
    report::error::{Exit, Failure},
};

/// What a mode needs beside the connections that are measured: some for the ones that end.
const SPARE: u32 = 64;

/// What is compared.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) protocol: Protocol,
    pub(super) variants: Vec<Variant>,
    pub(super) rows: Vec<Row>,
    /// The highest number of connections that a server has at once.
    pub(super) connections: u32,
    /// What cannot be compared, and why.
    pub(super) left_out: Vec<String>,
}

/// A mode with so many idle connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) variant: Variant,
    pub(super) idle: u32,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.idle {
            0 => write!(f, "{}", self.variant),
            idle => write!(f, "{} with {idle} idle", self.variant),
        }
    }
}

impl Plan {
    /// What the options ask for.
    ///
    /// # Errors
    /// 64 if they do not fit together.
    pub(super) fn of(options: &Bench) -> Result<Plan, Failure> {
        let usage = |text: String| Failure::new(Exit::Usage, text);
        let protocol = match options.common.targets.as_slice() {
            [] => Protocol::Tcp,
            [url] => protocol(url).ok_or_else(|| {
                usage(format!(
                    "cannot compare at {}: --compare starts its own servers; give no URL for tcp, or one of tcp:// udp:// unix: unix-seqpacket: unix-datagram:",
                    url.escape_debug()
                ))
            })?,
            _ => return Err(usage("--compare takes one protocol, such as udp://".to_owned())),
        };
        if !protocol.is_stream() && options.idle.iter().any(|idle| *idle > 0) {
            return Err(usage("--idle holds connections, and datagrams have none; leave it out".to_owned()));
        }
        if options.common.hdr.is_some() {
            return Err(usage(
                "--hdr holds one distribution, and a comparison has several; use --save".to_owned(),
            ));
        }
        let mut variants = options.compare.clone().unwrap_or_default();
        if variants.is_empty() {
            variants = Mode::ALL.map(Variant::from).to_vec();
        }
        if options.offload {
            if protocol != Protocol::Udp {
                return Err(usage(
                    "--offload compares the echo of datagrams in the kernel; it goes with udp://".to_owned(),
                ));
            }
            variants.push(Variant { offload: true, ..Mode::Epoll.into() });
        }
        let mut idle = if options.idle.is_empty() { vec![0] } else { options.idle.clone() };
        idle.sort_unstable();
        idle.dedup();
        let mut plan = Plan {
            protocol,
            variants: Vec::new(),
            rows: Vec::new(),
            connections: options.connections.saturating_add(idle.last().copied().unwrap_or(0)),
            left_out: Vec::new(),
        };
        for variant in variants {
            if !plan.variants.contains(&variant) {
                plan.add(variant, &idle, options.connections);
            }
        }
        Ok(plan)
    }

    fn add(&mut self, variant: Variant, idle: &[u32], connections: u32) {
        let most = if self.protocol.is_stream() { most(variant.mode) } else { None };
        let fits = |idle: &u32| most.is_none_or(|most| connections.saturating_add(*idle) <= most);
        let of = self.variants.len();
        for idle in idle {
            if fits(idle) {
                self.rows.push(Row { variant, idle: *idle });
                if self.variants.len() == of {
                    self.variants.push(variant);
                }
                continue;
            }
            let most = most.unwrap_or_default();
            let row = Row { variant, idle: *idle };
            self.left_out.push(format!(
                "{row}: this mode serves {most} connection{} at most at once",
                if most == 1 { "" } else { "s" }
            ));
        }
    }

    /// The limit of connections that a server is given.
    pub(super) fn limit(&self, mode: Mode) -> u32 {
        let wanted = self.connections.saturating_add(SPARE);
        most(mode).map_or(wanted, |most| wanted.min(most))
    }

    /// What was asked for, as the report tells it.
    pub(super) fn settings(&self, options: &Bench) -> Settings {
        Settings { idle: 0, ..bench::settings(options) }
    }
}

/// How many connections a mode can have at all.
fn most(mode: Mode) -> Option<u32> {
    match mode {
        Mode::Iterative | Mode::Select => Some(mode.default_max_connections()),
        _ => None,
    }
}

/// The protocol that a URL without a place names.
fn protocol(url: &str) -> Option<Protocol> {
    let scheme = url.strip_suffix("://").or_else(|| url.strip_suffix(':')).unwrap_or(url);
    Protocol::ALL.into_iter().find(|protocol| protocol.to_string() == scheme)
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn plan(line: &str) -> Result<Plan, Failure> {
        let command = Bench::augment_args(clap::Command::new("bench"));
        let matches = command.try_get_matches_from(line.split(' ')).unwrap();
        Plan::of(&Bench::from_arg_matches(&matches).unwrap())
    }

    #[test]
    fn a_row_is_a_mode_with_a_number_of_idle_connections() {
        let plan = plan("bench --compare epoll,select --idle 900,0,9000").unwrap();
        let rows: Vec<_> = plan.rows.iter().map(Row::to_string).collect();
        let expected =
            ["epoll", "epoll with 900 idle", "epoll with 9000 idle", "select", "select with 900 idle"];
        assert_eq!(rows, expected);
        assert_eq!(
            plan.left_out,
            ["select with 9000 idle: this mode serves 960 connections at most at once"]
        );
        assert_eq!((plan.limit(Mode::Epoll), plan.limit(Mode::Select)), (9065, 960));
    }

    #[test]
    fn all_modes_that_can_are_compared_if_none_is_named() {
        let one = plan("bench udp:// --compare").unwrap();
        assert_eq!((one.protocol, one.variants), (Protocol::Udp, Mode::ALL.map(Variant::from).to_vec()));
        let kernel = plan("bench udp:// --compare epoll --offload").unwrap();
        let rows: Vec<_> = kernel.rows.iter().map(Row::to_string).collect();
        assert_eq!(rows, ["epoll", "epoll-offload"]);
        let many = plan("bench --compare --connections 2").unwrap();
        assert_eq!(many.variants, Mode::ALL.map(Variant::from)[1..]);
        assert_eq!(many.left_out, ["iterative: this mode serves 1 connection at most at once"]);
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anything_starts() {
        for line in [
            "bench tcp://127.0.0.1:7 --compare",
            "bench tcp:// udp:// --compare",
            "bench udp:// --compare --idle 1",
            "bench --compare --hdr f",
            "bench --compare --offload",
        ] {
            assert_eq!(plan(line).unwrap_err().exit, Exit::Usage, "{line}");
        }
    }
}
