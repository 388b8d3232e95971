//! A run: connections, warm-up, rounds, and what they come to.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, SystemTime},
};

use nix::sys::prctl::set_timerslack;

use super::{
    super::{
        histogram::Histogram,
        measurement::{Measurement, Model, Round, Settings, TargetResult},
        options::Bench,
        probe::Probes,
        target::Target,
    },
    channel::Shared,
    crowd::{self, Crowd},
    datagram::Datagram,
    doubts::{Doubts, closed_loop},
    engine::{Engine, Load, Outcome},
    pace::{Pace, Plan},
    progress::{Progress, Step},
    stream::Stream,
};
use crate::{
    config::Protocol,
    report::error::{Exit, Failure},
    socket::resolve::error_text,
    sys::{clock, stamps},
};

/// Datagrams that are remembered until they are answered, over all sockets of a target: 5 s of 200,000 a second.
const REMEMBERED: usize = 1 << 20;

/// The longest datagram over IPv4 (65,535 bytes with the headers of IP and UDP).
const LARGEST_UDP: usize = 65_507;

/// The longest message of a stream: one must be compared while others wait.
const LARGEST: usize = 16 << 20;

/// Measures `targets`, in turn in each round. Only the first number of `--idle` is looked at; `--search`, `--compare` and what is
/// printed are for the caller. Stopped early, it returns what there is.
///
/// # Errors
/// 64 if the options do not fit the targets, 69 if one of these cannot be reached, 71 if the system does not give the sockets.
pub fn measure(
    targets: &[Target],
    options: &Bench,
    progress: &mut dyn Progress,
) -> Result<Measurement, Failure> {
    let mut sessions = open(targets, options, progress)?;
    for session in &mut sessions {
        session.warm_up(options, progress)?;
    }
    let started = SystemTime::now();
    let offset = stamps::clock_offset();
    for number in 1..=options.rounds {
        for session in &mut sessions {
            session.measured_round(options, number, progress)?;
        }
    }
    let doubts = Doubts { options, clock_moved: stamps::clock_offset() - offset };
    Ok(conclude(sessions, options, started, &doubts))
}

/// Connects to all targets.
pub(super) fn open(
    targets: &[Target],
    options: &Bench,
    progress: &dyn Progress,
) -> Result<Vec<Session>, Failure> {
    targets.iter().try_for_each(|target| check(target, options))?;
    let idle = options.idle.first().copied().unwrap_or_default();
    let each = u64::from(options.connections) + u64::from(idle);
    crowd::allow(each * targets.len() as u64)?;
    // Waits end when they should, and not up to 50 microseconds later (prctl(2), PR_SET_TIMERSLACK).
    let _ = set_timerslack(1);
    targets.iter().map(|target| Session::open(target, options, idle, progress)).collect()
}

/// Puts together what the rounds found out.
pub(super) fn conclude(
    sessions: Vec<Session>,
    options: &Bench,
    started: SystemTime,
    doubts: &Doubts<'_>,
) -> Measurement {
    let mut warnings = Vec::new();
    let mut results = Vec::new();
    for session in sessions {
        let result = session.result(doubts, &mut warnings);
        results.push(result);
    }
    warnings.extend(doubts.clock());
    let is_open = options.rate.is_some() || options.search.is_some();
    if !is_open {
        warnings.push(closed_loop());
    }
    let of_one = |result: &TargetResult| result.rounds.iter().map(|round| round.duration).sum();
    Measurement {
        kind: "bench",
        started,
        duration: results.iter().map(of_one).max().unwrap_or_default(),
        warm_up: options.warm_up,
        timestamps: "user",
        settings: Settings {
            size: options.size,
            timeout: options.timeout,
            interval: None,
            rate: options.rate,
            connections: options.connections,
            window: (!is_open).then_some(options.window),
            rounds: options.rounds,
            idle: options.idle.first().copied().unwrap_or_default(),
        },
        targets: results,
        warnings,
    }
}

/// Whether the options fit the target.
fn check(target: &Target, options: &Bench) -> Result<(), Failure> {
    let usage = |what: &str| Err(Failure::new(Exit::Usage, format!("cannot bench {}: {what}", target.url)));
    let is_stream = target.protocol.is_stream();
    let largest = match target.protocol {
        Protocol::Udp => LARGEST_UDP,
        Protocol::UnixDatagram => 65_535,
        _ => LARGEST,
    };
    if options.size > largest {
        return usage(&format!("a message of {} bytes is too long; the longest has {largest}", options.size));
    }
    if options.size == 0 && (is_stream || options.rate.is_some() || options.window > 1) {
        return usage(
            "empty messages cannot be told apart; only datagrams may be empty, in a closed loop with --window 1",
        );
    }
    if !is_stream && options.idle.iter().any(|idle| *idle > 0) {
        return usage("--idle holds connections, and datagrams have none; leave it out, or name a stream");
    }
    if options.duration.is_zero() {
        return usage("a round of no time measures nothing; give -d a time such as 3s");
    }
    super::super::socket::check(target, &options.common)
}

/// A target with its sockets, and what was found out so far.
pub(super) struct Session {
    target: Target,
    load: Box<dyn Load>,
    connect: Histogram,
    /// Silent connections.
    idle: Vec<socket2::Socket>,
    pub(super) outcomes: Vec<Outcome>,
    /// Nothing came back at all.
    is_silent: bool,
}

impl Session {
    fn open(
        target: &Target,
        options: &Bench,
        idle: u32,
        progress: &dyn Progress,
    ) -> Result<Session, Failure> {
        let (common, stop) = (&options.common, progress.stop());
        let silent = Crowd::open(target, common, 0, idle as usize, stop)?;
        let connections = options.connections as usize;
        let crowd = Crowd::open(target, common, silent.sockets.len(), connections, stop)?;
        let run = RandomState::new().hash_one(clock::now()) as u32;
        let timeout = options.timeout.as_nanos() as u64;
        let shared = Shared::new(Probes::new(run, options.size), timeout, clock::now());
        let load: io::Result<Box<dyn Load>> = match target.protocol.is_stream() {
            true => {
                Engine::<Stream>::new(crowd.sockets, shared, 0, options.spin).map(|load| Box::new(load) as _)
            }
            false => Engine::<Datagram>::new(crowd.sockets, shared, REMEMBERED, options.spin)
                .map(|load| Box::new(load) as _),
        };
        Ok(Session {
            target: target.clone(),
            load: load.map_err(|error| failed(&error))?,
            connect: crowd.connect,
            idle: silent.sockets,
            outcomes: Vec::new(),
            is_silent: false,
        })
    }

    pub(super) fn warm_up(&mut self, options: &Bench, progress: &mut dyn Progress) -> Result<(), Failure> {
        if !options.warm_up.is_zero() {
            let step = Step { what: "warm-up".to_owned(), lasts: options.warm_up };
            self.round(options, options.rate, &step, progress)?;
        }
        Ok(())
    }

    /// One of several rounds. One that was answered by nothing is the last one.
    fn measured_round(
        &mut self,
        options: &Bench,
        number: u32,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        if (self.is_silent || progress.stop().load(Relaxed)) && !self.outcomes.is_empty() {
            return Ok(());
        }
        let step = Step { what: format!("round {number} of {}", options.rounds), lasts: options.duration };
        let outcome = self.round(options, options.rate, &step, progress)?;
        self.outcomes.push(outcome);
        Ok(())
    }

    /// Sends for the time of `step`: on a plan, if there is a rate.
    pub(super) fn round(
        &mut self,
        options: &Bench,
        rate: Option<u64>,
        step: &Step,
        progress: &mut dyn Progress,
    ) -> Result<Outcome, Failure> {
        progress.begin(step);
        let (start, lasts) = (clock::now(), step.lasts.as_nanos() as u64);
        let pace = match rate {
            Some(rate) => Pace::Open(Plan::new(start, rate, lasts)),
            None => Pace::Closed { window: options.window, until: start + lasts },
        };
        let outcome = self.load.round(pace, progress.stop());
        progress.end();
        let outcome = outcome.map_err(|error| failed(&error))?;
        self.is_silent = outcome.tally.fates.ok + outcome.tally.fates.late == 0;
        Ok(outcome)
    }

    fn result(
        self,
        doubts: &Doubts<'_>,
        warnings: &mut Vec<super::super::measurement::Warning>,
    ) -> TargetResult {
        let is_open = self.outcomes.iter().any(|outcome| outcome.tally.open.is_some());
        let mut result = TargetResult::new(self.target, if is_open { Model::Open } else { Model::Closed });
        if self.connect.count() > 0 {
            result.connect = Some(self.connect);
        }
        warnings.extend(doubts.of(&result.target, &self.outcomes));
        warnings.extend(doubts.sockets(&result.target, self.load.sockets(), &self.idle));
        for Outcome { tally, duration, busy, .. } in self.outcomes {
            result.fates.add(&tally.fates);
            result.replies.add(&tally.replies);
            result.service.add(&tally.service);
            for (word, count) in tally.errors {
                *result.errors.entry(word).or_default() += count;
            }
            let response = tally.open.map(|open| {
                result.schedule_error.get_or_insert_default().add(&open.schedule_error);
                result.response.get_or_insert_default().add(&open.response);
                open.response
            });
            result.rounds.push(Round {
                duration: Duration::from_nanos(duration),
                fates: tally.fates,
                response,
                service: tally.service,
                cpu: Duration::from_nanos(busy),
            });
        }
        result
    }
}

fn failed(error: &io::Error) -> Failure {
    Failure::new(Exit::System, format!("cannot wait for answers: {}", error_text(error)))
}
