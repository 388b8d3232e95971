//! A run: connections, warm-up, rounds, and what they come to.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    sync::atomic::Ordering::Relaxed,
    time::SystemTime,
};

use super::{
    super::{histogram::Histogram, measurement::Measurement, options::Bench, probe::Probes, target::Target},
    channel::LoopState,
    crowd::{self, Crowd},
    datagram::Datagram,
    doubts::Doubts,
    engine::{Engine, Load, RoundOutcome},
    pace::{Pace, Plan},
    progress::{Progress, ProgressStep},
    result::{result, summary},
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
    let mut runs = open(targets, options, progress)?;
    for run in &mut runs {
        run.warm_up(options, progress)?;
    }
    let started = SystemTime::now();
    let offset = stamps::clock_offset();
    for number in 1..=options.rounds {
        for run in &mut runs {
            run.measured_round(options, number, progress)?;
        }
    }
    let doubts = Doubts { options, clock_moved: stamps::clock_offset() - offset };
    Ok(conclude(runs, options, started, &doubts))
}

/// Connects to all targets.
pub(super) fn open(
    targets: &[Target],
    options: &Bench,
    progress: &dyn Progress,
) -> Result<Vec<TargetRun>, Failure> {
    targets.iter().try_for_each(|target| check(target, options))?;
    let idle = options.idle.first().copied().unwrap_or_default();
    let each = u64::from(options.connections) + u64::from(idle);
    crowd::allow(each * targets.len() as u64)?;
    targets.iter().map(|target| TargetRun::open(target, options, idle, progress)).collect()
}

/// Puts together what the rounds found out.
pub(super) fn conclude(
    runs: Vec<TargetRun>,
    options: &Bench,
    started: SystemTime,
    doubts: &Doubts<'_>,
) -> Measurement {
    let mut warnings = Vec::new();
    let mut results = Vec::new();
    for run in runs {
        warnings.extend(doubts.of(&run.target, &run.outcomes));
        warnings.extend(doubts.sockets(&run.target, run.load.sockets(), &run.idle));
        results.push(result(run.target, Some(run.connect), run.outcomes));
    }
    warnings.extend(doubts.clock());
    summary(options, results, warnings, started)
}

/// Whether the options fit the target.
fn check(target: &Target, options: &Bench) -> Result<(), Failure> {
    let usage = |what: &str| Err(Failure::new(Exit::Usage, format!("cannot bench {}: {what}", target.url)));
    let is_stream = target.protocol.is_stream();
    let largest = match target.protocol {
        // The loop receives into a buffer of fixed length.
        Protocol::UnixDatagram => target.longest().min(65_535),
        _ => target.longest(),
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
pub(super) struct TargetRun {
    target: Target,
    load: Box<dyn Load>,
    connect: Histogram,
    /// Silent connections.
    idle: Vec<socket2::Socket>,
    pub(super) outcomes: Vec<RoundOutcome>,
    /// Nothing came back at all.
    is_silent: bool,
}

impl TargetRun {
    fn open(
        target: &Target,
        options: &Bench,
        idle: u32,
        progress: &dyn Progress,
    ) -> Result<TargetRun, Failure> {
        let (common, stop) = (&options.common, progress.stop());
        let silent = Crowd::open(target, common, 0, idle as usize, stop)?;
        let connections = options.connections as usize;
        let crowd = Crowd::open(target, common, silent.sockets.len(), connections, stop)?;
        let run = RandomState::new().hash_one(clock::now()) as u32;
        let timeout = options.timeout.as_nanos() as u64;
        let state = LoopState::new(Probes::new(run, options.size), timeout, clock::now());
        let load: io::Result<Box<dyn Load>> = match target.protocol.is_stream() {
            true => {
                Engine::<Stream>::new(crowd.sockets, state, 0, options.spin).map(|load| Box::new(load) as _)
            }
            false => Engine::<Datagram>::new(crowd.sockets, state, REMEMBERED, options.spin)
                .map(|load| Box::new(load) as _),
        };
        Ok(TargetRun {
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
            let step = ProgressStep { what: "warm-up".to_owned(), lasts: options.warm_up };
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
        let step =
            ProgressStep { what: format!("round {number} of {}", options.rounds), lasts: options.duration };
        let outcome = self.round(options, options.rate, &step, progress)?;
        self.outcomes.push(outcome);
        Ok(())
    }

    /// Sends for the time of `step`: on a plan, if there is a rate.
    pub(super) fn round(
        &mut self,
        options: &Bench,
        rate: Option<u64>,
        step: &ProgressStep,
        progress: &mut dyn Progress,
    ) -> Result<RoundOutcome, Failure> {
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
}

fn failed(error: &io::Error) -> Failure {
    Failure::new(Exit::System, format!("cannot wait for answers: {}", error_text(error)))
}
