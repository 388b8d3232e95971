//! What is printed while probes run: a line for each thing that happens, for people, or a line of JSON for each probe.

use std::{
    fmt::Write as _,
    io::{self, Write},
    time::Duration,
};

use super::event::{Event, Wrong};
use crate::client::{
    options::{Common, Output},
    report::jsonl::{ProbeLine, ProbeLines},
    target::Target,
};

/// How one target is named in its lines.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    /// What each line begins with, if there are several targets.
    pub(super) prefix: String,
    /// Where answers come from.
    pub(super) peer: String,
    size: usize,
    timeout: Duration,
    has_flows: bool,
    lines: ProbeLines,
    /// When the run began.
    start: u64,
}

impl Naming {
    /// For one of several targets, or the only one.
    pub(super) fn new(
        target: &Target,
        is_one_of_several: bool,
        size: usize,
        timeout: Duration,
        flows: u16,
    ) -> Self {
        Self {
            prefix: if is_one_of_several { format!("{}: ", target.url) } else { String::new() },
            peer: target.to_string(),
            size,
            timeout,
            has_flows: flows > 1,
            lines: ProbeLines::new(&target.url),
            start: crate::sys::clock::now(),
        }
    }
}

/// Standard output, as long as somebody reads it.
#[derive(Debug)]
pub(super) struct Screen {
    output: Output,
    is_quiet: bool,
    /// Why nothing can be printed any more.
    pub(super) failed: Option<io::Error>,
}

impl Screen {
    /// As the user asked.
    pub(super) fn new(common: &Common) -> Self {
        Self { output: common.output, is_quiet: common.quiet, failed: None }
    }

    /// Prints a line for people.
    pub(super) fn say(&mut self, line: &str) {
        if self.output == Output::Text && !self.is_quiet {
            self.write(line.as_bytes());
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
            self.failed.get_or_insert(error);
        }
    }

    /// Tells of what has happened to the probes of a target.
    pub(super) fn tell(&mut self, naming: &mut Naming, events: &mut Vec<Event>) {
        match self.output {
            Output::Text if !self.is_quiet => {
                let mut text = String::new();
                events.drain(..).for_each(|event| naming.describe(&event, &mut text));
                if !text.is_empty() {
                    self.write(text.as_bytes());
                }
            }
            Output::Jsonl => {
                let mut out = io::stdout().lock();
                for event in events.drain(..) {
                    let written = naming.write_line(&event, &mut out);
                    if let Err(error) = written {
                        self.failed.get_or_insert(error);
                    }
                }
            }
            _ => events.clear(),
        }
    }
}

impl Naming {
    fn describe(&self, event: &Event, text: &mut String) {
        let from = format!("{}{} bytes from {}", self.prefix, self.size, self.peer);
        let name = |sequence: u64, flow: u16| match self.has_flows {
            true => format!("seq={sequence} flow={}", flow + 1),
            false => format!("seq={sequence}"),
        };
        let hops = |ttl: Option<u8>| ttl.map(|ttl| format!(" ttl={ttl}")).unwrap_or_default();
        let prefix = &self.prefix;
        // Writing to a string does not fail.
        let _ = match event {
            Event::Answered { sequence, flow, time, is_late, is_reordered, ttl, ttl_before, .. } => {
                let flow = if self.has_flows { format!(" flow={}", flow + 1) } else { String::new() };
                let late = if *is_late { " (late)" } else { "" };
                let reordered = if *is_reordered { " (reordered)" } else { "" };
                let path =
                    ttl_before.map(|ttl| format!(" (ttl was {ttl}: another path)")).unwrap_or_default();
                let (ttl, time) = (hops(*ttl), milliseconds(*time));
                writeln!(text, "{from}: seq={sequence}{ttl}{flow} time={time} ms{late}{reordered}{path}")
            }
            Event::Exchanged { sequence, connect, time, close, is_late, .. } => {
                let [connect, time] = [connect, time].map(|time| milliseconds(*time));
                let close =
                    close.map_or_else(|| "-".to_owned(), |close| format!("{} ms", milliseconds(close)));
                let late = if *is_late { " (late)" } else { "" };
                writeln!(
                    text,
                    "{from}: seq={sequence} connect={connect} ms time={time} ms close={close}{late}"
                )
            }
            Event::Duplicate { sequence, flow, time, ttl } => {
                let flow = if self.has_flows { format!(" flow={}", flow + 1) } else { String::new() };
                let (ttl, time) = (hops(*ttl), milliseconds(*time));
                writeln!(text, "{from}: seq={sequence}{ttl}{flow} time={time} ms (DUP!)")
            }
            Event::Corrupt { sequence, flow, wrong } => {
                let of =
                    sequence.map(|sequence| format!(" for {}", name(sequence, *flow))).unwrap_or_default();
                let how = match wrong {
                    Wrong::Length(length) if *length > self.size => {
                        format!("it is longer than {} bytes", self.size)
                    }
                    Wrong::Length(length) => format!("{length} bytes instead of {}", self.size),
                    Wrong::Bytes(Some(at)) => format!("byte {at} is not as sent"),
                    Wrong::Bytes(None) => "its bytes are not as sent".to_owned(),
                };
                writeln!(text, "{prefix}corrupt answer{of}: {how}")
            }
            Event::Stray { length, .. } => {
                writeln!(text, "{prefix}stray: {length} bytes from {} are no answer to a probe", self.peer)
            }
            Event::Lost { sequence, flow, .. } => {
                let within = seconds(self.timeout);
                writeln!(text, "{prefix}no answer for {} within {within}", name(*sequence, *flow))
            }
            Event::Refused { sequence, flow, why, .. } => {
                writeln!(text, "{prefix}refused: {}: {why}", name(*sequence, *flow))
            }
            Event::Unsent { sequence, flow, why, .. } => {
                writeln!(text, "{prefix}not sent: {}: {why}", name(*sequence, *flow))
            }
            Event::Skipped { first, count: 1, .. } => {
                writeln!(text, "{prefix}skipped: seq={first}: its time had passed")
            }
            Event::Skipped { first, count, .. } => {
                writeln!(text, "{prefix}skipped: seq={first} to {}: their time had passed", first + count - 1)
            }
            Event::Retransmitted { count } => {
                writeln!(text, "{prefix}the connection had to send {count} segments again")
            }
            Event::Note(what) => writeln!(text, "{prefix}{what}"),
        };
    }

    fn write_line(&mut self, event: &Event, to: &mut impl Write) -> io::Result<()> {
        let after_start = |time: u64| time.saturating_sub(self.start);
        let numbered = |flow: u16| self.has_flows.then(|| u32::from(flow) + 1);
        let probe = |fate, sequence, flow, sent| ProbeLine {
            sequence,
            fate,
            sent: after_start(sent),
            flow: numbered(flow),
            ..ProbeLine::default()
        };
        let fate = |is_late| if is_late { "late" } else { "ok" };
        let line = match *event {
            Event::Answered { sequence, flow, sent, time, is_late, ttl, .. } => {
                ProbeLine { service: Some(time), ttl, ..probe(fate(is_late), sequence, flow, sent) }
            }
            Event::Exchanged { sequence, sent, connect, time, close, is_late } => ProbeLine {
                service: Some(time),
                connect: Some(connect),
                close,
                ..probe(fate(is_late), sequence, 0, sent)
            },
            Event::Lost { sequence, flow, sent } => probe("lost", sequence, flow, sent),
            Event::Refused { sequence, flow, sent, .. } => probe("refused", sequence, flow, sent),
            Event::Unsent { sequence, flow, sent, .. } => probe("unsent", sequence, flow, sent),
            Event::Skipped { first, count, planned } => {
                for sequence in first..first + count {
                    let line = probe("skipped", sequence, 0, planned);
                    self.lines.write(&line, to)?;
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.lines.write(&line, to)
    }
}

/// `11.82`, with as many decimals as a time of that size deserves.
pub(super) fn milliseconds(time: u64) -> String {
    let time = time as f64 / 1e6;
    match time {
        ..1.0 => format!("{time:.3}"),
        ..100.0 => format!("{time:.2}"),
        _ => format!("{time:.1}"),
    }
}

/// `1 s`, `250 ms`.
pub(super) fn seconds(time: Duration) -> String {
    let nanoseconds = time.as_nanos() as f64;
    match nanoseconds {
        ..1e6 => format!("{} µs", nanoseconds / 1e3),
        ..1e9 => format!("{} ms", nanoseconds / 1e6),
        _ => format!("{} s", nanoseconds / 1e9),
    }
}
