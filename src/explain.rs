//! `echod explain`: every decision about a source, in the order in which they are made, each with the line of the
//! configuration that makes it. It asks the same rules as the daemon.

use std::fmt::{self, Display, Write};

use crate::{
    cli,
    config::{self, Listener, Loaded, Origins},
    error::{Exit, Failure},
    reason::Reason,
};

mod guards;
mod limits;
mod who;

pub use who::Visitor;

/// What is asked: may this visitor use this listener?
pub struct Case<'a> {
    /// The listener.
    pub settings: &'a Listener,
    /// Where its values are written.
    pub origins: &'a Origins,
    /// Who comes.
    pub visitor: Visitor,
}

/// One decision.
pub struct Step {
    /// The key that decides.
    key: &'static str,
    outcome: Outcome,
    /// What it says, for people.
    text: String,
    /// Where that is written, if anywhere.
    place: Option<String>,
}

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is in the way.
    Pass,
    /// It depends on what else comes and goes.
    Limit,
    /// Refused.
    Refused(Reason),
}

impl Case<'_> {
    /// A decision by `key`.
    pub fn step(&self, key: &'static str, outcome: Outcome, text: impl Display) -> Step {
        let place = self.origins.of(key);
        Step { key, outcome, text: text.to_string(), place }
    }
}

/// The chain: each link adds the steps that it decides, in the order of the road.
const CHAIN: [fn(&Case<'_>, &mut Vec<Step>); 6] =
    [guards::source, who::networks, who::users, guards::port, limits::limits, guards::run];

/// The answer to a question.
pub struct Answer {
    /// The whole chain, a line for each decision.
    pub text: String,
    /// A refusal is a failure, so that scripts can ask too.
    pub refusal: Option<Failure>,
}

/// Explains what `question` asks.
///
/// # Errors
/// If there is no such listener, or nobody can come to it from there.
pub fn explain(loaded: &Loaded, question: &cli::Explain) -> Result<Answer, Failure> {
    let case = case(loaded, question)?;
    let mut steps = Vec::new();
    CHAIN.iter().for_each(|link| link(&case, &mut steps));
    let mut text = format!("listener \"{}\": {}\n", case.settings.name, Coming(&case));
    let mut refusal = None;
    for step in &steps {
        let word = match step.outcome {
            Outcome::Pass => "pass",
            Outcome::Limit => "limit",
            Outcome::Refused(_) if refusal.is_some() => "refused",
            Outcome::Refused(reason) => {
                refusal = Some(reason);
                "REFUSED"
            }
        };
        let place = step.place.as_deref().unwrap_or("by default");
        // A String takes whatever is written.
        let _ = writeln!(text, "  {word:<8} {:<26} {} ({place})", step.key, step.text);
    }
    let refusal = refusal.map(|reason| {
        let (name, visitor, line) = (&case.settings.name, &case.visitor, reason.line());
        let told = format!("listener \"{name}\" refuses {visitor} ({reason}): {line}");
        Failure::new(Exit::NoPermission, told)
    });
    if refusal.is_none() {
        text.push_str("let in, as far as the limits allow\n");
    }
    Ok(Answer { text, refusal })
}

fn case<'a>(loaded: &'a Loaded, question: &cli::Explain) -> Result<Case<'a>, Failure> {
    let usage = |text: String| Failure::new(Exit::Usage, text);
    let name = question.listener.as_str();
    let mut all = loaded.config.listeners.iter().zip(&loaded.origins);
    let (settings, origins) = all.find(|(listener, _)| listener.name == name).ok_or_else(|| {
        let names: Vec<_> = loaded.config.listeners.iter().map(|l| format!("\"{}\"", l.name)).collect();
        let name = name.escape_debug();
        usage(format!(
            "cannot explain listener \"{name}\": there is none; choose one of {}",
            names.join(", ")
        ))
    })?;
    let visitor = Visitor::read(&question.from, settings.protocol)
        .map_err(|told| usage(format!("cannot explain listener \"{name}\": {told}")))?;
    Ok(Case { settings, origins, visitor })
}

/// Who comes, and how.
struct Coming<'a>(&'a Case<'a>);

impl Display for Coming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { settings: config::Listener { protocol, .. }, visitor, .. } = self.0;
        let what = if protocol.is_stream() { "a connection" } else { "a datagram" };
        write!(f, "{what} over {protocol} from {visitor}")
    }
}
