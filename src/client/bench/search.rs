//! `--search`: the highest rate at which a condition holds. It doubles the rate until the condition fails, then halves the
//! distance between what held and what failed; what it answers held in two rounds running.

use std::{fmt::Write, sync::atomic::Ordering::Relaxed, time::SystemTime};

use super::{
    super::{
        measurement::Measurement,
        options::Bench,
        report::{self, condition::Conditions},
        target::Target,
    },
    doubts::Doubts,
    measure::{conclude, open},
    progress::{Progress, ProgressStep},
    result::{result, summary},
    screen,
};
use crate::report::figures;
use crate::{
    report::error::{Exit, Failure},
    sys::stamps,
};

/// The first rate that is tried.
const FIRST: u64 = 1_000;

/// No higher rate is tried: no client holds it.
const HIGHEST: u64 = 10_000_000;

/// The answer is that exact: this part of it.
const EXACT: f64 = 0.02;

/// Steps at most: a server that is quick and slow by turns would be asked for ever.
const STEPS: usize = 60;

/// A step is lengthened up to so many times, if it has too few messages for the condition.
const LONGER: u32 = 16;

/// So many messages may be left out or lost at a rate that is held: one in a thousand.
const LOST: u64 = 1_000;

/// The condition of `--search`, if it is given.
///
/// # Errors
/// 64 if it cannot be read.
pub(super) fn condition(options: &Bench) -> Result<Option<Conditions>, Failure> {
    options.search.as_ref().map(|text| Conditions::read("--search", text)).transpose()
}

/// A rate that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    Held,
    Failed,
    /// There were too few messages for the condition: at a higher rate there are more.
    Unknown,
}

/// Which rate to try next. It knows nothing of how rates are tried.
#[derive(Clone, Debug)]
struct Ladder {
    /// No lower rate is tried: a step would have no message.
    lowest: u64,
    /// The rates that held, below all that failed, the highest last.
    held: Vec<u64>,
    /// The lowest that failed.
    failed: Option<u64>,
    /// The rate of the last round, if it held.
    last: Option<u64>,
}

impl Ladder {
    fn new(lowest: u64) -> Self {
        Self { lowest, held: Vec::new(), failed: None, last: None }
    }

    /// The next rate, if there is one to try.
    fn next(&self) -> Option<u64> {
        Some(match (self.held.last().copied(), self.failed) {
            (None, None) => FIRST.max(self.lowest),
            (Some(held), None) => (held * 2).min(HIGHEST),
            (None, Some(failed)) if failed <= self.lowest => return None,
            (None, Some(failed)) => (failed / 2).max(self.lowest),
            (Some(held), Some(failed)) if (failed - held) as f64 > (held as f64 * EXACT).max(1.0) => {
                held.midpoint(failed)
            }
            (Some(held), Some(_)) => held,
        })
    }

    /// Notes what became of a rate. Returns it if it has held in two rounds running.
    fn note(&mut self, rate: u64, verdict: Trial) -> Option<u64> {
        let before = self.last.take();
        match verdict {
            Trial::Held => {
                self.last = Some(rate);
                if self.held.last() != Some(&rate) {
                    self.held.push(rate);
                }
            }
            // With too few messages at a rate at which more were wanted, a lower one has fewer.
            Trial::Unknown if self.failed.is_none() && rate < HIGHEST => self.held.push(rate),
            Trial::Unknown | Trial::Failed => {
                self.failed = Some(rate);
                self.held.retain(|held| *held < rate);
            }
        }
        (verdict == Trial::Held && before == Some(rate)).then_some(rate)
    }
}

/// Searches for the highest rate at which `conditions` hold, and prints each step and the last two rounds. `fail_if` decides about
/// these rounds as about any others.
///
/// # Errors
/// 1 if no rate holds; else as [`report::conclude`].
pub(super) fn run(
    target: &Target,
    options: &Bench,
    (conditions, fail_if): (&Conditions, &Conditions),
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let started = SystemTime::now();
    let offset = stamps::clock_offset();
    let mut runs = open(std::slice::from_ref(target), options, progress)?;
    let mut steps = String::new();
    let lowest = (1.0 / options.duration.as_secs_f64()).ceil() as u64;
    let (mut ladder, mut answer, mut last) = (Ladder::new(lowest), None, 0);
    let mut lasts = options.duration;
    let shown = options.search.as_deref().unwrap_or_default();
    let run = &mut runs[0];
    run.warm_up(&Bench { rate: Some(FIRST), ..options.clone() }, progress)?;
    for _ in 0..STEPS {
        let Some(rate) = ladder.next() else { break };
        let step = ProgressStep { what: figures::rate(rate as f64), lasts };
        let outcome = run.round(options, Some(rate), &step, progress)?;
        let is_stopped = progress.stop().load(Relaxed);
        if is_stopped && !run.outcomes.is_empty() {
            break;
        }
        if last != rate {
            run.outcomes.clear();
        }
        run.outcomes.push(outcome.clone());
        last = rate;
        if is_stopped {
            break;
        }
        let result = result(target.clone(), None, vec![outcome]);
        let measurement = summary(&at(rate, options), vec![result], Vec::new(), started);
        let verdict = judge(&measurement, conditions);
        let _ = writeln!(steps, "{}", line(rate, verdict, &measurement, conditions));
        if verdict == Trial::Unknown && ladder.failed.is_some() && lasts < options.duration * LONGER {
            lasts *= 2;
            continue;
        }
        answer = ladder.note(rate, verdict);
        if answer.is_some() {
            break;
        }
    }
    let doubts = Doubts { options, clock_moved: stamps::clock_offset() - offset };
    let rounds = run.outcomes.len() as u32;
    let measurement = conclude(runs, &Bench { rounds, ..at(last, options) }, started, &doubts);
    let end = match answer {
        Some(rate) => {
            format!(
                "highest rate at which {shown} held in two rounds running: {}",
                figures::rate(rate as f64)
            )
        }
        None => format!("no rate was found at which {shown} held in two rounds running"),
    };
    let text = format!("search {shown}\n{steps}{end}\n\n{}", screen::text(&measurement));
    report::conclude(&measurement, &options.common, fail_if, &text)?;
    answer.map(|_| ()).ok_or_else(|| Failure::new(Exit::ConditionTrue, end))
}

/// The options of one step.
fn at(rate: u64, options: &Bench) -> Bench {
    Bench { rate: Some(rate), rounds: 1, ..options.clone() }
}

/// Whether the condition holds, and the rate was one.
fn judge(measurement: &Measurement, conditions: &Conditions) -> Trial {
    let Some(target) = measurement.targets.first() else { return Trial::Unknown };
    let fates = &target.fates;
    let missing = fates.skipped + fates.unsent + fates.lost + fates.refused;
    if missing * LOST > fates.planned {
        return Trial::Failed;
    }
    match conditions.is_true(measurement, target) {
        Some(true) => Trial::Held,
        Some(false) => Trial::Failed,
        None => Trial::Unknown,
    }
}

/// A step as people read it.
fn line(rate: u64, verdict: Trial, measurement: &Measurement, conditions: &Conditions) -> String {
    let word = match verdict {
        Trial::Held => "held",
        Trial::Failed => "failed",
        Trial::Unknown => "too few",
    };
    let mut line = format!("  {:>14}  {word:<8}", figures::rate(rate as f64));
    for target in &measurement.targets {
        for condition in &conditions.all {
            let _ = write!(line, "{condition} ({})  ", condition.reading(measurement, target));
        }
        let fates = &target.fates;
        for (word, number) in [
            ("skipped", fates.skipped),
            ("unsent", fates.unsent),
            ("lost", fates.lost),
            ("refused", fates.refused),
        ] {
            if number > 0 {
                let _ = write!(line, "{word} {}  ", figures::count(number));
            }
        }
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer of a search on a server for which `holds` says what it can, and how many steps it took.
    fn search(mut holds: impl FnMut(u64) -> Trial) -> (Option<u64>, usize) {
        let mut ladder = Ladder::new(1);
        for steps in 1..=STEPS {
            let Some(rate) = ladder.next() else { return (None, steps) };
            if let Some(answer) = ladder.note(rate, holds(rate)) {
                return (Some(answer), steps);
            }
        }
        (None, STEPS)
    }

    fn up_to(limit: u64) -> impl FnMut(u64) -> Trial {
        move |rate| if rate <= limit { Trial::Held } else { Trial::Failed }
    }

    #[test]
    fn the_highest_rate_is_found() {
        for limit in [1, 2, 9, 999, 1_000, 1_001, 12_345, 150_000, 9_999_999] {
            let (answer, steps) = search(up_to(limit));
            let answer = answer.unwrap();
            assert!(
                answer <= limit && (limit - answer) as f64 <= (limit as f64 * 2.0 * EXACT).max(1.0),
                "{answer} of {limit}"
            );
            assert!(steps < 30, "{steps}");
        }
        assert_eq!(search(up_to(0)).0, None);
        assert_eq!(search(up_to(u64::MAX)).0, Some(HIGHEST));
    }

    #[test]
    fn a_search_ends() {
        let mut turn = 0;
        let (_, steps) = search(|_| {
            turn += 1;
            if turn % 2 == 0 { Trial::Held } else { Trial::Failed }
        });
        assert!(steps <= STEPS);
        assert_eq!(search(|_| Trial::Unknown).0, None);
        let (answer, _) = search(|rate| match rate {
            ..4_000 => Trial::Unknown,
            4_000..30_000 => Trial::Held,
            _ => Trial::Failed,
        });
        assert!(answer.is_some_and(|answer| (28_000..30_000).contains(&answer)), "{answer:?}");
    }
}
