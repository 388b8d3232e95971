//! What a run leaves behind: the report in the form that was asked for, the files, the warnings, and the exit code.
//!
//! In: a `Measurement`, the options that `ping` and `bench` share, and the text for people. Out: standard output, files, and what
//! `main` exits with.
//!
//! Read `condition` with `quantity` (what `--fail-if` may say of a run) and `verdict` (what came of it), `fields` (every field of
//! the JSON report, with its meaning) over `shape` and `json` (how a table of fields becomes an object and its schema), `columns`
//! (CSV and Markdown), `warnings` (what makes figures doubtful), `jsonl` (a line for each probe), and `hdr` and `file` (what is
//! saved).

use std::io::{self, ErrorKind, Write};

use super::{
    measurement::Measurement,
    options::{Common, Output},
};
use crate::report::{
    error::{Exit, Failure},
    logging,
};

pub mod columns;
pub mod condition;
pub mod fields;
mod file;
mod hdr;
pub mod json;
pub mod jsonl;
pub mod quantity;
pub mod shape;
pub mod verdict;
pub mod warnings;

#[cfg(test)]
pub(crate) mod sample;

pub use self::file::{try_out, write as save};
use self::{condition::Conditions, fields::Report, verdict::Verdict};

/// What `--save` and `--hdr` write.
const REPORT: &str = "the report";
const DISTRIBUTION: &str = "the distribution of times";

/// Finds out before anything is sent whether the options of the report are right, and returns the conditions of `--fail-if`.
///
/// # Errors
/// 64: a condition is wrong, or `--hdr` would have to hold several distributions. 74: a file cannot be written.
pub fn prepare(common: &Common) -> Result<Conditions, Failure> {
    if common.hdr.is_some() && common.targets.len() > 1 {
        let text = "cannot write the distributions of several targets to one file: give --hdr with one URL, or use --save";
        return Err(Failure::new(Exit::Usage, text));
    }
    let conditions = Conditions::parse(&common.fail_if)?;
    for (path, what) in [(&common.save, REPORT), (&common.hdr, DISTRIBUTION)] {
        path.as_deref().map_or(Ok(()), |path| try_out(path, what))?;
    }
    Ok(conditions)
}

/// Prints the report of a run, of which `text` is the form for people, and saves what is to be saved.
///
/// # Errors
/// The exit code of the run, if it is not 0: 1 if a condition of `--fail-if` is true, 69 if a target did not answer, 74 if a file
/// cannot be written, 75 if a condition cannot be told or, with `--strict`, if the measurement is not valid.
pub fn conclude(
    measurement: &Measurement,
    common: &Common,
    conditions: &Conditions,
    text: &str,
) -> Result<(), Failure> {
    let verdict = Verdict::of(conditions, measurement);
    let report = Report { measurement, verdict: &verdict };
    let json = || fields::report().json(&report).to_string() + "\n";
    let shown = match common.output {
        Output::Text => format!("{text}{verdict}"),
        Output::Json | Output::Jsonl => json(),
        Output::Csv => columns::csv(measurement),
        Output::Markdown => format!("{}{}", columns::markdown(measurement), verdict.markdown()),
    };
    let printed = print(&shown);
    if !common.quiet {
        let said = |warning: &super::measurement::Warning| {
            format!("echod: warning: {} ({})", warning.text, warning.id)
        };
        measurement.warnings.iter().for_each(|warning| logging::print_error(&said(warning)));
        if common.output == Output::Csv {
            verdict.lines().for_each(|line| logging::print_error(&format!("echod: {line}")));
        }
    }
    printed?;
    if let Some(path) = &common.save {
        file::write(path, REPORT, json().as_bytes())?;
    }
    if let (Some(path), Some(target)) = (&common.hdr, measurement.targets.first()) {
        file::write(path, DISTRIBUTION, hdr::text(quantity::times(target)).as_bytes())?;
    }
    verdict.result(measurement, common.strict)
}

/// Writes to standard output. A reader that has gone away does not change the exit code.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let text = format!("cannot print the report: {}", crate::socket::resolve::error_text(&error));
            Err(Failure::new(Exit::InputOutput, text))
        }
        _ => Ok(()),
    }
}
