//! What came of the conditions, and with which code the command exits.

use std::fmt;

use super::{
    condition::{Condition, Conditions},
    quantity::Reading,
};
use crate::{
    client::measurement::{Measurement, TargetResult},
    report::error::{Exit, Failure},
};

/// What came of all conditions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Each condition for each target.
    pub outcomes: Vec<Outcome>,
    /// Whether there are several targets.
    is_of_several: bool,
}

/// What came of one condition for one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The condition.
    pub condition: Condition,
    /// The target: its URL, and in a comparison the mode and the number of idle connections.
    pub subject: String,
    /// What was compared.
    pub reading: Reading,
}

impl Outcome {
    /// Whether the condition is true; `None` if it cannot be told.
    pub fn is_true(&self) -> Option<bool> {
        self.condition.is_true(&self.reading)
    }
}

impl Verdict {
    /// Compares what was measured with the conditions.
    pub fn of(conditions: &Conditions, measurement: &Measurement) -> Verdict {
        let mut outcomes = Vec::new();
        for target in &measurement.targets {
            outcomes.extend(conditions.all.iter().map(|condition| Outcome {
                condition: condition.clone(),
                subject: subject(target),
                reading: condition.reading(measurement, target),
            }));
        }
        Verdict { outcomes, is_of_several: measurement.targets.len() > 1 }
    }

    /// Whether a condition is true.
    pub fn has_failed(&self) -> bool {
        self.outcomes.iter().any(|outcome| outcome.is_true() == Some(true))
    }

    /// A line for each outcome. It states what holds: a condition that is not true is told as its contrary.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.outcomes.iter().map(|outcome| {
            let Outcome { condition, subject, reading } = outcome;
            let told = match outcome.is_true() {
                Some(false) => format!("ok: {} ({reading})", condition.negated()),
                Some(true) => format!("failed: {condition} ({reading})"),
                None => format!("cannot tell: {condition} ({reading})"),
            };
            if self.is_of_several { format!("{told}  {subject}") } else { told }
        })
    }

    /// The lines as a list in Markdown.
    pub fn markdown(&self) -> String {
        let lines: String = self.lines().map(|line| format!("- {line}\n")).collect();
        if lines.is_empty() { lines } else { format!("\n{lines}") }
    }

    /// The exit code of a run. That a condition is true comes first: conditions are there to decide.
    ///
    /// # Errors
    /// Everything but 0.
    pub fn result(&self, measurement: &Measurement, is_strict: bool) -> Result<(), Failure> {
        if self.has_failed() {
            // The verdict was printed with the report.
            return Err(Failure::new(Exit::ConditionTrue, ""));
        }
        let silent: Vec<_> = measurement.targets.iter().filter(|target| is_silent(target)).collect();
        if let Some(target) = silent.first() {
            return Err(Failure::new(Exit::Unavailable, no_answer(target, silent.len())));
        }
        if let Some(outcome) = self.outcomes.iter().find(|outcome| outcome.is_true().is_none()) {
            let text = format!(
                "cannot tell whether {}: {}; measure for longer, or ask for what was measured",
                outcome.condition, outcome.reading
            );
            return Err(Failure::new(Exit::TryAgain, text));
        }
        let doubtful = measurement.warnings.iter().find(|warning| warning.is_fatal && is_strict);
        doubtful.map_or(Ok(()), |warning| {
            let text = format!("the measurement is not valid: {} ({})", warning.text, warning.id);
            Err(Failure::new(Exit::TryAgain, text))
        })
    }
}

/// How a target is named among several.
pub fn subject(target: &TargetResult) -> String {
    match &target.server {
        Some(server) => format!("{}, {} idle", server.mode, server.idle),
        None => target.target.url.clone(),
    }
}

fn is_silent(target: &TargetResult) -> bool {
    target.fates.ok + target.fates.late == 0
}

fn no_answer(target: &TargetResult, of: usize) -> String {
    let url = target.target.url.escape_debug();
    let others = if of > 1 { format!(" and {} others", of - 1) } else { String::new() };
    let why = match (&target.fates, target.replies.corrupt + target.replies.stray) {
        (_, 1..) => "it answered, but not with what was sent; is its service echo (RFC 862)?",
        (fates, _) if fates.sent() == 0 => "no probe could be sent",
        (fates, _) if fates.refused > 0 => "nothing listens there, or a firewall refuses it",
        _ => "is it up, does a firewall drop the probes, and does it admit this client?",
    };
    format!("no answer from {url}{others}: {why}")
}

/// The lines, for people.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{measurement::Warning, report::sample};

    fn verdict(measurement: &Measurement, conditions: &[&str]) -> Verdict {
        let conditions: Vec<_> = conditions.iter().map(|text| (*text).to_owned()).collect();
        Verdict::of(&Conditions::parse(&conditions).unwrap(), measurement)
    }

    fn exit(measurement: &Measurement, conditions: &[&str], is_strict: bool) -> Option<Exit> {
        verdict(measurement, conditions).result(measurement, is_strict).err().map(|failure| failure.exit)
    }

    #[test]
    fn an_outcome_is_told_as_what_holds() {
        let verdict = verdict(&sample::measurement(1000), &["p99>2ms", "loss>0 || p50<1ms", "p99.9>1s"]);
        let expected = "ok: p99<=2ms (990 µs)\nok: loss<=0 (0)\nfailed: p50<1ms (500 µs)\n\
            cannot tell: p99.9>1s (it needs 10,000 times, and there are 1,000)\n";
        assert_eq!(verdict.to_string(), expected);
        assert!(verdict.has_failed());
    }

    #[test]
    fn the_exit_code_says_what_matters_most() {
        let good = sample::measurement(1000);
        assert_eq!(exit(&good, &[], true), None);
        assert_eq!(exit(&good, &["p99>2ms"], true), None);
        assert_eq!(exit(&good, &["p99>1us"], true), Some(Exit::ConditionTrue));
        assert_eq!(exit(&good, &["p99.9>1us"], false), Some(Exit::TryAgain));
        assert_eq!(exit(&good, &["p99.9>1us", "p50>1us"], false), Some(Exit::ConditionTrue));

        let mut silent = sample::measurement(0);
        silent.targets[0].fates.lost = 5;
        assert_eq!(exit(&silent, &[], false), Some(Exit::Unavailable));
        assert_eq!(exit(&silent, &["p99>2ms"], false), Some(Exit::Unavailable));
        assert_eq!(exit(&silent, &["loss>5%"], false), Some(Exit::ConditionTrue));
        // One of several that did not answer is enough.
        silent.targets.extend(sample::measurement(9).targets);
        assert_eq!(exit(&silent, &[], false), Some(Exit::Unavailable));

        let mut doubtful = good.clone();
        let warning = |is_fatal| Warning { id: "client-limited", text: "CPU 99 %".to_owned(), is_fatal };
        doubtful.warnings.push(warning(false));
        assert_eq!(exit(&doubtful, &[], true), None);
        doubtful.warnings.push(warning(true));
        assert_eq!((exit(&doubtful, &[], false), exit(&doubtful, &[], true)), (None, Some(Exit::TryAgain)));
    }

    #[test]
    fn why_nothing_answered_is_told() {
        let told = |change: fn(&mut TargetResult)| {
            let mut measurement = sample::measurement(0);
            change(&mut measurement.targets[0]);
            verdict(&measurement, &[]).result(&measurement, false).unwrap_err().message
        };
        assert!(told(|t| t.fates.lost = 1).ends_with("does it admit this client?"));
        assert!(told(|t| t.fates.refused = 1).contains("nothing listens there"));
        assert!(told(|t| t.fates.unsent = 1).ends_with("no probe could be sent"));
        assert!(told(|t| (t.fates.lost, t.replies.stray) = (1, 1)).contains("RFC 862"));
    }
}
