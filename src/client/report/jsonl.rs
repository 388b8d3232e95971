//! A line of JSON for each probe (`--output jsonl`), written when its fate is known.

use std::io::{self, Write};

use super::json::Json;

/// What is told of one probe.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProbeLine {
    /// The number of the probe.
    pub sequence: u64,
    /// Its fate: `ok`, `late`, `lost`, `refused`, `unsent` or `skipped`.
    pub fate: &'static str,
    /// When it was sent, in nanoseconds after the start of the run.
    pub sent: u64,
    /// From the planned moment to the answer.
    pub response: Option<u64>,
    /// From the send to the answer.
    pub service: Option<u64>,
    /// Time to connect.
    pub connect: Option<u64>,
    /// Time to close.
    pub close: Option<u64>,
    /// The number of its flow.
    pub flow: Option<u32>,
    /// The TTL or hop limit of the answer.
    pub ttl: Option<u8>,
}

/// Writes the lines of one target. Its buffer is used again, so a line allocates nothing.
#[derive(Clone, Debug)]
pub struct ProbeLines {
    line: Vec<u8>,
    /// What all lines begin with.
    start: usize,
}

impl ProbeLines {
    /// For the target that was written as `url`.
    pub fn new(url: &str) -> ProbeLines {
        let line = format!("{{\"probe\":{{\"url\":{},\"seq\":", Json::from(url)).into_bytes();
        ProbeLines { start: line.len(), line }
    }

    /// Writes a line by one call, so that a reader has each probe at once.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&mut self, probe: &ProbeLine, to: &mut impl Write) -> io::Result<()> {
        self.line.truncate(self.start);
        self.number(probe.sequence);
        self.line.extend_from_slice(b",\"fate\":\"");
        self.line.extend_from_slice(probe.fate.as_bytes());
        self.line.push(b'"');
        self.field("sent_ns", Some(probe.sent));
        self.field("response_ns", probe.response);
        self.field("service_ns", probe.service);
        self.field("connect_ns", probe.connect);
        self.field("close_ns", probe.close);
        self.field("flow", probe.flow.map(u64::from));
        self.field("ttl", probe.ttl.map(u64::from));
        self.line.extend_from_slice(b"}}\n");
        to.write_all(&self.line)?;
        to.flush()
    }

    fn field(&mut self, name: &str, value: Option<u64>) {
        let Some(value) = value else { return };
        self.line.extend_from_slice(b",\"");
        self.line.extend_from_slice(name.as_bytes());
        self.line.extend_from_slice(b"\":");
        self.number(value);
    }

    fn number(&mut self, number: u64) {
        let mut digits = itoa::Buffer::new();
        self.line.extend_from_slice(digits.format(number).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_known() {
        let mut lines = ProbeLines::new("unix:a\"b");
        let mut out = Vec::new();
        let mut probe =
            ProbeLine { sequence: 7, fate: "lost", sent: 12, flow: Some(3), ..ProbeLine::default() };
        lines.write(&probe, &mut out).unwrap();
        (probe.sequence, probe.fate, probe.service, probe.ttl) = (8, "ok", Some(u64::MAX), Some(64));
        lines.write(&probe, &mut out).unwrap();
        let expected = "{\"probe\":{\"url\":\"unix:a\\\"b\",\"seq\":7,\"fate\":\"lost\",\"sent_ns\":12,\"flow\":3}}\n\
            {\"probe\":{\"url\":\"unix:a\\\"b\",\"seq\":8,\"fate\":\"ok\",\"sent_ns\":12,\"service_ns\":18446744073709551615,\"flow\":3,\"ttl\":64}}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
