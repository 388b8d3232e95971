//! The conditions of `--fail-if` and `--search`: `QUANTITY OP VALUE`, joined by `||`.

use std::fmt;

use super::quantity::{KNOWN, Quantity, Reading};
use crate::{
    client::measurement::{Measurement, TargetResult},
    report::error::{Exit, Failure},
};

/// Any number of conditions, of which each may be true.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    /// In the order in which they were written.
    pub all: Vec<Condition>,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    quantity: Quantity,
    operator: Operator,
    bound: Bound,
    /// The name and the value as they were written.
    written: (String, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
    Other,
}

/// What a quantity is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    /// Nanoseconds.
    Time(f64),
    Count(f64),
    /// A part of 1.
    Share(f64),
    /// Events a second.
    Rate(f64),
}

/// Longer ones first.
const OPERATORS: [(&str, Operator); 7] = [
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    ("==", Operator::Equal),
    ("!=", Operator::Other),
    (">", Operator::Above),
    ("<", Operator::Below),
    ("=", Operator::Equal),
];

/// What is wrong, and where.
struct Wrong {
    at: usize,
    length: usize,
    what: String,
}

impl Conditions {
    /// Reads what was given with `--fail-if`.
    ///
    /// # Errors
    /// 64: with the place that is wrong, and all that can be asked.
    pub fn parse(expressions: &[String]) -> Result<Conditions, Failure> {
        let each = expressions.iter().map(|expression| Conditions::read("--fail-if", expression));
        let all = each.collect::<Result<Vec<_>, _>>()?;
        Ok(Conditions { all: all.into_iter().flat_map(|conditions| conditions.all).collect() })
    }

    /// Reads the expression of `option`.
    ///
    /// # Errors
    /// As [`Conditions::parse`].
    pub fn read(option: &str, expression: &str) -> Result<Conditions, Failure> {
        let mut all = Vec::new();
        let mut at = 0;
        for part in expression.split("||") {
            all.push(condition(part, at).map_err(|wrong| wrong.told(option, expression))?);
            at += part.len() + 2;
        }
        Ok(Conditions { all })
    }

    /// Whether one of them is true for a target; `None` if none is, and one cannot be told.
    pub fn is_true(&self, measurement: &Measurement, target: &TargetResult) -> Option<bool> {
        let each = |condition: &Condition| condition.is_true(&condition.reading(measurement, target));
        let found: Vec<_> = self.all.iter().map(each).collect();
        match found.contains(&Some(true)) {
            true => Some(true),
            false => (!found.contains(&None)).then_some(false),
        }
    }
}

impl Condition {
    /// What the target has of its quantity.
    pub fn reading(&self, measurement: &Measurement, target: &TargetResult) -> Reading {
        self.quantity.reading(measurement, target, matches!(self.bound, Bound::Share(_)))
    }

    /// Whether it is true of that value; `None` if it cannot be told.
    pub fn is_true(&self, reading: &Reading) -> Option<bool> {
        let value = match *reading {
            Reading::Time(value) | Reading::Share(value) | Reading::Rate(value) => value,
            Reading::Count(count) => count as f64,
            Reading::Untold(_) => return None,
        };
        let (Bound::Time(bound) | Bound::Count(bound) | Bound::Share(bound) | Bound::Rate(bound)) =
            self.bound;
        Some(match self.operator {
            Operator::Above => value > bound,
            Operator::AtLeast => value >= bound,
            Operator::Below => value < bound,
            Operator::AtMost => value <= bound,
            Operator::Equal => value == bound,
            Operator::Other => value != bound,
        })
    }

    /// The condition that is true where this one is not.
    pub fn negated(&self) -> Condition {
        let operator = match self.operator {
            Operator::Above => Operator::AtMost,
            Operator::AtLeast => Operator::Below,
            Operator::Below => Operator::AtLeast,
            Operator::AtMost => Operator::Above,
            Operator::Equal => Operator::Other,
            Operator::Other => Operator::Equal,
        };
        Condition { operator, ..self.clone() }
    }
}

/// Without spaces: `p99>2ms`.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word =
            OPERATORS.iter().find(|(_, operator)| *operator == self.operator).map_or("", |(word, _)| word);
        write!(f, "{}{word}{}", self.written.0, self.written.1)
    }
}

/// Reads one comparison, which begins at `start` of the whole expression.
fn condition(text: &str, start: usize) -> Result<Condition, Wrong> {
    let wrong = |part: &str, what: String| {
        // Parts are slices of the text, so their distance is their place.
        let at = start + (part.as_ptr() as usize - text.as_ptr() as usize);
        Wrong { at, length: part.chars().count().max(1), what }
    };
    let found = text.find(['<', '>', '=', '!']);
    let Some(at) = found.filter(|_| !text.trim().is_empty()) else {
        let what = match text.trim() {
            "" => "a condition is missing here".to_owned(),
            _ => "there is no comparison here; write one such as p99>2ms".to_owned(),
        };
        return Err(wrong(text.trim(), what));
    };
    let (name, rest) = (text[..at].trim(), &text[at..]);
    let Some((word, operator)) = OPERATORS.iter().find(|(word, _)| rest.starts_with(word)) else {
        return Err(wrong(&rest[..1], "comparisons are > >= < <= == !=".to_owned()));
    };
    let value = rest[word.len()..].trim();
    let Some(quantity) = Quantity::from_name(name) else {
        let what = format!("`{}` is nothing that a run can tell", name.escape_debug());
        return Err(wrong(if name.is_empty() { &rest[..word.len()] } else { name }, what));
    };
    if value.contains("&&") {
        return Err(wrong(value, "only || joins conditions; give several --fail-if for the same".to_owned()));
    }
    let bound = bound(quantity, value).ok_or_else(|| {
        let wanted = match quantity {
            Quantity::Time(..) => "a time with its unit: ns, us, ms or s, such as 2ms",
            Quantity::Number(_) => "a part in %, such as 0.1%, or a number",
            Quantity::Rate => "a number a second, such as 20000/s or 20k/s",
            Quantity::DeadFlows => "a number",
        };
        let place = if value.is_empty() { &rest[..word.len()] } else { value };
        wrong(place, format!("{name} is compared with {wanted}"))
    })?;
    Ok(Condition { quantity, operator: *operator, bound, written: (name.to_owned(), value.to_owned()) })
}

fn bound(quantity: Quantity, value: &str) -> Option<Bound> {
    let digits = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
    let number: f64 = value[..digits].parse().ok()?;
    match (quantity, value[digits..].trim_start()) {
        (Quantity::Time(..), unit) => {
            let factor = match unit {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                _ => return None,
            };
            Some(Bound::Time(number * factor))
        }
        (Quantity::Number(_), "%") => Some(Bound::Share(number / 100.0)),
        (Quantity::Number(_) | Quantity::DeadFlows, "") => Some(Bound::Count(number)),
        (Quantity::Rate, unit) => {
            let factor = match unit.strip_suffix("/s").unwrap_or(unit).trim_end() {
                "" => 1.0,
                "k" | "K" => 1e3,
                "M" => 1e6,
                _ => return None,
            };
            Some(Bound::Rate(number * factor))
        }
        _ => None,
    }
}

impl Wrong {
    fn told(self, option: &str, expression: &str) -> Failure {
        let Wrong { at, length, what } = self;
        let indent = expression[..at].chars().count();
        let mut text =
            format!("cannot read {option}: {what}\n  {expression}\n  {:indent$}{:^<length$}", "", "");
        text.push_str("\nwhat can be asked, and in which unit:");
        let width = KNOWN.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        KNOWN.iter().for_each(|(name, _, unit)| text.push_str(&format!("\n  {name:width$}  {unit}")));
        Failure::new(Exit::Usage, text)
    }
}

#[cfg(test)]
mod tests;
