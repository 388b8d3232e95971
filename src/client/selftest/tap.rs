//! The Test Anything Protocol, version 14: a plan, a line for each check, and below it what is wrong as YAML.

use std::io::{self, Write};

use super::{
    Check,
    complaint::{Complaint, Finding},
};

/// A report that is being written.
pub(super) struct Tap<W> {
    out: W,
    number: usize,
    wrong: usize,
    planned: usize,
}

impl<W: Write> Tap<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, number: 0, wrong: 0, planned: 0 }
    }

    pub(super) fn plan(&mut self, checks: usize) -> io::Result<()> {
        self.planned = checks;
        writeln!(self.out, "TAP version 14\n1..{checks}")?;
        self.out.flush()
    }

    pub(super) fn comment(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "# {}", text.escape_debug())
    }

    pub(super) fn outcome(
        &mut self,
        url: &str,
        check: &Check,
        outcome: &Result<(), Complaint>,
    ) -> io::Result<()> {
        self.number += 1;
        let is_ok = matches!(outcome, Ok(()) | Err(Complaint::Skipped(_)));
        let word = if is_ok { "ok" } else { "not ok" };
        write!(
            self.out,
            "{word} {} - {}: {} ({})",
            self.number,
            escaped(url),
            escaped(check.claim),
            check.rule
        )?;
        match outcome {
            Ok(()) => writeln!(self.out)?,
            Err(Complaint::Skipped(reason)) => writeln!(self.out, " # SKIP {}", escaped(reason))?,
            Err(Complaint::Wrong(finding) | Complaint::Nobody(finding)) => {
                self.wrong += 1;
                self.finding(finding)?;
            }
        }
        // A reader at the other end of a pipe sees each check as it ends.
        self.out.flush()
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        writeln!(self.out, "\n  ---")?;
        for (key, text) in
            [("expected", &finding.expected), ("found", &finding.found), ("cure", &finding.cure)]
        {
            // A string of JSON is one of YAML.
            writeln!(self.out, "  {key}: {}", serde_json::Value::from(text.as_str()))?;
        }
        writeln!(self.out, "  ...")
    }

    /// What is wrong in all, for standard error.
    pub(super) fn summary(&self) -> String {
        format!(
            "selftest: {} of {} checks not ok; each says what was expected and what came",
            self.wrong, self.planned
        )
    }
}

/// Text in which no `#` begins a directive, on one line.
fn escaped(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        match c {
            '\\' | '#' => line.extend(['\\', c]),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_tap_reads_it() {
        let check = Check { claim: "a claim", rule: "RFC 862", run: |_| Ok(()) };
        let mut tap = Tap::new(Vec::new());
        tap.plan(3).unwrap();
        tap.comment("unix:@x: echo").unwrap();
        tap.outcome("unix:@x#y", &check, &Ok(())).unwrap();
        tap.outcome("unix:@x", &check, &Err(Complaint::Skipped("no # here".to_owned()))).unwrap();
        tap.outcome("unix:@x", &check, &Err(Complaint::wrong("\"yes\"", "no\n", "mend it"))).unwrap();
        let expected = "TAP version 14\n1..3\n# unix:@x: echo\n\
            ok 1 - unix:@x\\#y: a claim (RFC 862)\n\
            ok 2 - unix:@x: a claim (RFC 862) # SKIP no \\# here\n\
            not ok 3 - unix:@x: a claim (RFC 862)\n  ---\n  expected: \"\\\"yes\\\"\"\n  found: \"no\\n\"\n  cure: \"mend it\"\n  ...\n";
        assert_eq!(String::from_utf8(tap.out.clone()).unwrap(), expected);
        assert!(tap.summary().contains("1 of 3 checks"), "{}", tap.summary());
    }
}
